"""`prunebench new`: a distribution with a working method."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

import click

from prunebench.api import __version__, plugins
from prunebench.api.errors import PluginError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 50
_PREFIX = "prunebench-"
"""Prefix of the distribution's name, so that it and its module do not clash with others."""

TARGETS: Mapping[str, str] = {
    "pyproject.toml.in": "pyproject.toml",
    "module.py.in": "$module.py",
    "test.py.in": "test_$module.py",
    "suite.yaml.in": "suite.yaml",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "workflow.yml.in": ".github/workflows/test.yml",
}
"""What each template becomes."""


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    metavar="DIR",
    help="Where the folder NAME is created; by default in the current folder.",
)
def command(name: str, directory: Path) -> None:
    """Write a package with a working method, its tests and a suite.

    NAME is the name of the method and of the folder: lower-case letters, digits and hyphens.
    """
    check_name(name)
    folder = directory / name
    write(folder, rendered(name))
    click.echo(f"written: {folder}")
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        click.echo(f"  {path}")
    click.echo(f"\nnext:\n  pip install -e {folder}\n  prunebench run {folder / 'suite.yaml'}")


def check_name(name: str) -> None:
    """Raise PluginError for a name that a new method, its distribution or its class cannot have."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise PluginError(
            f"{name!r} cannot be the name of a method: use lower-case letters, digits and single hyphens, "
            f"a letter first, at most {_LONGEST} of them"
        )
    if name.startswith(_PREFIX):
        raise PluginError(f"leave out {_PREFIX!r}: it is added to the name of the distribution")
    if keyword.iskeyword(class_name(name)):
        raise PluginError(f"{name!r} cannot be the name of a method: its class cannot be called {class_name(name)}")
    loaded = plugins.load(plugins.loose_files())
    if ("method", name) in loaded.conflicts:
        raise PluginError(loaded.conflicts["method", name])
    if name in loaded.names("method"):
        taken = loaded.origins[loaded.components["method"][name]]
        raise PluginError(f"the method {name!r} exists, from {taken.origin}; choose another name")
    if find_spec(module_name(name)):
        raise PluginError(f"the module {module_name(name)!r} exists; choose another name")


def module_name(name: str) -> str:
    """`my-method` as prunebench_my_method."""
    return (_PREFIX + name).replace("-", "_")


def class_name(name: str) -> str:
    """`my-method` as MyMethod."""
    return "".join(part.capitalize() for part in name.split("-"))


def rendered(name: str) -> dict[str, str]:
    """The files of the distribution of a method, by their paths in its folder."""
    words = {
        "name": name,
        "module": module_name(name),
        "class_name": class_name(name),
        "version": __version__,
    }
    templates = files("prunebench.cli") / "templates"
    return {
        Template(target).substitute(words): Template((templates / source).read_text("utf-8")).substitute(words)
        for source, target in TARGETS.items()
    }


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Write files into a new folder. Raises PluginError if that is not possible."""
    try:
        folder.mkdir(parents=True)
        for path, text in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    except FileExistsError:
        raise PluginError(f"{folder} exists; choose another name, or --directory DIR") from None
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error.strerror or error}") from None
