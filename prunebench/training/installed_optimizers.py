"""Optimizers of other installed distributions, which a suite names as `DISTRIBUTION:module.Class`.

Only code that somebody has installed is imported: the module must be a file of the distribution that is named, where
Python would find it. Modules of the standard library, of the working folder and of other distributions are refused.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import import_module, metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.messages.suggestions import shown

if TYPE_CHECKING:
    import torch

_NAME = re.compile(r"(?P<distribution>[A-Za-z0-9][A-Za-z0-9._-]{0,99}):(?P<module>[\w.]{1,200})\.(?P<cls>\w{1,100})")


def is_path(name: str) -> bool:
    """Whether a name is meant as that of a distribution's class; those of torch and timm have no colon."""
    return ":" in name


def version_of(name: str) -> str:
    """The distribution and its version, which are part of keys."""
    distribution = name.partition(":")[0]
    return f"{distribution} {metadata.version(distribution)}"


@cache
def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class of a name. Raises ValueError, with the reason, for what is not such a class or may not be imported."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{shown(name)} is not DISTRIBUTION:module.Class, such as lion-pytorch:lion_pytorch.Lion")
    _check_installed(found["distribution"], found["module"])
    import torch

    try:
        cls = getattr(import_module(found["module"]), found["cls"], None)
    except (Exception, SystemExit) as error:  # of the module's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{found['module']} of {found['distribution']} cannot be imported: {reason}") from None
    if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
        raise ValueError(f"{found['module']} has no optimizer {found['cls']!r}: it must be a torch.optim.Optimizer")
    return cls


def _is_top(parts: tuple[str, ...], module: str) -> bool:
    """Whether a file is what Python imports for a module: a package's first file, or a module of one file."""
    return parts == (module, "__init__.py") or (len(parts) == 1 and parts[0].partition(".")[0] == module)


def _check_installed(distribution: str, module: str) -> None:
    """Raise ValueError unless the file that Python would import is one of the distribution."""
    try:
        files = metadata.files(distribution)
    except metadata.PackageNotFoundError:
        raise ValueError(f"the distribution {distribution!r} is not installed") from None
    top = module.partition(".")[0]
    owned = {Path(str(file.locate())).resolve() for file in files or () if _is_top(file.parts, top)}
    if top in sys.stdlib_module_names or not owned:
        raise ValueError(f"{top!r} is not a module of the distribution {distribution!r}")
    try:
        spec = util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or Path(spec.origin).resolve() not in owned:
        raise ValueError(
            f"Python would import {top!r} from elsewhere than the distribution {distribution!r}: only code that is "
            "installed is used"
        )
