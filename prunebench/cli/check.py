"""`prunebench check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from prunebench.api.errors import PluginError
from prunebench.api.methods import Method
from prunebench.api.registry import Plugin, Registry
from prunebench.cli.shared import options, output

if TYPE_CHECKING:
    from prunebench.testing import Check, Report

_STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red", "skip": "dim"}


@click.command()
@click.argument("target", metavar="NAME|FILE")
@click.option(
    "--set", "settings", metavar="PARAMETER=VALUE", multiple=True, help="Set a parameter of the method, or preset=NAME."
)
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a report for a pull request to this file.",
)
@options.json
@options.plugin_names
def command(
    target: str,
    settings: tuple[str, ...],
    markdown: Path | None,
    as_json: bool,
    files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> None:
    """Run the conformance checks on a method, with small networks.

    NAME is the name of a method; FILE is a plugin file, of which all methods are checked. This takes a few seconds. The
    exit code is 1 if a check fails or if nothing could be run.
    """
    methods = _methods(target, settings, files, blocked)
    import torch

    from prunebench import testing

    torch.set_num_threads(1)
    with _watching() as watch:
        reports = [testing.conformance(method, watch=watch) for method in methods]
    if as_json:
        output.show_json([report.as_json() for report in reports])
    else:
        _show(reports)
    if markdown is not None:
        _write(markdown, testing.markdown(reports))
    if not reports:
        click.echo(f"nothing could be checked: {target} registers no methods", err=True)
    sys.exit(0 if reports and all(report.ok for report in reports) else 1)


def _methods(target: str, settings: Sequence[str], files: Sequence[str], blocked: Sequence[str]) -> list[Method]:
    """The methods to check, with their parameters."""
    if not (target.endswith(".py") or Path(target).is_file()):
        return [_method(options.load_plugins(files, blocked).registry, target, settings)]
    path, installed = Path(target).resolve(), options.load_plugins(files, blocked).registry
    plugin = _plugin(installed, path)
    registry = installed if plugin else options.load_plugins([*files, target], blocked).registry
    plugin = plugin or _plugin(registry, path)
    names = [] if plugin is None else [name for kind, _, name in map(_split, plugin.provides) if kind == "method"]
    if settings and len(names) > 1:
        raise PluginError(f"--set is for one method, and {target} has {', '.join(names)}: name one of them")
    return [_method(registry, name, settings) for name in names]


def _split(provided: str) -> tuple[str, str, str]:
    return provided.partition(" ")


def _plugin(registry: Registry, path: Path) -> Plugin | None:
    """The plugin of a file, if it is loaded; an installed plugin is not loaded a second time."""
    found = (one for one in registry.plugins if one.file and not one.error and Path(one.file).resolve() == path)
    return next(found, None)


def _method(registry: Registry, name: str, settings: Sequence[str]) -> Method:
    """A method with parameters as in a suite. Raises SuiteError with all errors in them."""
    from prunebench.suite import lookup, overrides
    from prunebench.suite.nodes import Location, Node, SuiteErrors

    errors = SuiteErrors()
    node = Node.of({"name": name}, Location(0, 0, 0, name))
    overrides.apply(settings, node, errors)
    method = lookup.part(Method, "method", node, registry, errors)
    errors.report()
    assert method is not None
    return method


@contextmanager
def _watching() -> Iterator[Callable[[Check], object] | None]:
    """Shows the current check on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status("") as status:
        yield lambda check: status.update(output.text(f"{check.method.name}: {check}"))


def _show(reports: Sequence[Report]) -> None:
    for report in reports:
        output.show(output.text(report.summary, style="bold"), output.text(), _matrix(report))
        for status, title in (("failed", "FAILED"), ("warned", "warning"), ("skipped", "skipped"), ("passed", "note")):
            for place, detail in report.details(status):  # type: ignore[arg-type]
                output.show(output.text(f"\n{title} {place}"), Padding(output.text(detail), (0, 0, 0, 2)))


def _matrix(report: Report) -> Table:
    table = output.table("check", "method", *report.networks)
    for name, *words in report.matrix():
        table.add_row(output.text(name), *(output.text(word, style=_STYLES.get(word, "")) for word in words))
    return table


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise PluginError(f"{path} cannot be written: {error.strerror or error}") from None
