"""The environment: versions and the machine, which are recorded with states; and the folder of data sets."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

from prunebench.api import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy")


def describe_environment(threads: int) -> dict[str, str]:
    """Versions of the software, the git commit of a checkout, and the machine."""
    return {
        "prunebench": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": machine(),
        "threads": str(threads),
    }


def data_folder(given: Path | None) -> Path | None:
    """The folder of data sets: `given`, or else PRUNEBENCH_DATA, or else None."""
    named = os.environ.get("PRUNEBENCH_DATA")
    return Path(named) if given is None and named else given


@cache
def installed() -> str:
    """Hash of the version of Python and of the names and versions of all installed packages."""
    places = [Path(place or ".") for place in sys.path]
    # A package may add its vendored packages to the path while it is imported, as setuptools does.
    own = [place for place in places if not (place.parent / "__init__.py").exists()]
    names = {folder.name for place in own for folder in place.glob("*.dist-info")}
    return hashlib.sha256(repr((platform.python_version(), sorted(names))).encode()).hexdigest()


def machine() -> str:
    """Processor, cores and system; without the host's name, which is private."""
    return f"{_processor()}, {cores()} cores, {platform.system()} {platform.machine()}"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def commit() -> str:
    """The git commit of this checkout, followed by `+` if files were changed since; empty if it is not a checkout."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return ""
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return answer.stdout.strip()
