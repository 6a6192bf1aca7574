"""Files as parameters of components, and weights in a file; keys contain the hash of their content."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from typing_extensions import Doc

from prunebench.api.errors import PrunebenchError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

PACKAGE = "package:"
"""Beginning of the path of a file that an installed package holds."""
_PINNED = re.compile(r"(?P<path>.+)@sha256:(?P<digest>[0-9a-f]{64})", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file as a parameter, `ticket: prunebench.File`. A suite has its path; keys contain the hash of its content.

    A relative path is resolved from the current folder; `package:NAME/PATH` is a file that the installed package NAME
    holds, by its path among the files of the package. `PATH@sha256:DIGEST` is accepted only if the file has this
    content; workers are passed files in this form. Two files with the same content are equal.
    """

    path: str = field(compare=False)
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}@sha256:{self.sha256}"

    @classmethod
    def at(cls, text: str) -> File:
        """The file at a path, which may end with `@sha256:DIGEST`. Raises ValueError if it is missing or differs."""
        pinned = _PINNED.fullmatch(text)
        path, expected = (pinned["path"], pinned["digest"]) if pinned else (text, "")
        found = _digest(path)
        if expected and found != expected:
            raise ValueError(f"{path!r} is not the expected file: its SHA-256 is {found}, not {expected}")
        return cls(path, found)

    @property
    def location(self) -> Path:
        """Where it is on this machine. Raises ValueError for a file in a package that is not installed."""
        return located(self.path)

    def read(self) -> bytes:
        """Return its content. Raises PrunebenchError if the file was removed or changed since the suite was read."""
        try:
            content = self.location.read_bytes()
        except OSError as error:
            raise PrunebenchError(f"{self.path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise PrunebenchError(str(error)) from None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise PrunebenchError(f"{self.path} was changed since the suite was read: run again")
        return content

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls.at,
            core_schema.str_schema(min_length=1, metadata={"pydantic_js_updates": {"format": "path"}}),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )


def located(text: str) -> Path:
    """The path that a text names: its own, or that of a file or folder in an installed package, `package:NAME/PATH`.

    Raises ValueError for a package that is not installed, or that holds nothing at that path.
    """
    if not text.startswith(PACKAGE):
        return Path(text)
    name, _, inside = text.removeprefix(PACKAGE).partition("/")
    try:
        found = Path(str(metadata.distribution(name).locate_file(inside)))
    except (metadata.PackageNotFoundError, ValueError):
        raise ValueError(f"{text!r} is in a package that is not installed: pip install {name or 'NAME'}") from None
    if not inside or not found.exists():
        files = sorted({str(one).partition("/")[0] for one in metadata.files(name) or () if ".." not in one.parts})
        holds = ", ".join(one for one in files if not one.endswith(".dist-info")) or "no files"
        raise ValueError(f"{text!r} does not exist: the package has {holds}")
    return found


def _digest(path: str) -> str:
    try:
        found = located(path)
        if not found.is_file():
            raise ValueError(f"{path!r} {'is not a file' if found.exists() else 'does not exist'}")
        with found.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror}") from None


def check_patterns(patterns: Iterable[str]) -> None:
    """Raise ValueError for what is not a regular expression."""
    for pattern in patterns:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # FutureWarning for syntax that later versions may read differently
                re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights from a file, which trials start from instead of from random ones.

    A safetensors file, or a state dict that torch.save wrote, alone or in a checkpoint; nothing in it is executed. Keys
    contain the hash of its content, not its path. Every parameter must be in the file in its shape, and everything in
    the file must be in the network, except for what these keys say.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    file: Annotated[File, Doc("its path")]
    prefix: Annotated[str, Doc("beginning of the names in the file, such as `model.`; other names are not read")] = ""
    fresh: Annotated[
        tuple[str, ...], Doc("regular expressions of the network's names that stay random, such as a new head")
    ] = ()
    ignore: Annotated[
        tuple[str, ...],
        Doc("regular expressions of names in the file that are not in the network, such as an old head"),
    ] = ()

    def __post_init__(self) -> None:
        check_patterns((*self.fresh, *self.ignore))
