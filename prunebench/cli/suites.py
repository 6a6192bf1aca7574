"""`prunebench suites`, and `prunebench suites show`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunebench.api.errors import SuiteError
from prunebench.cli.shared import options, output
from prunebench.messages.suggestions import near
from prunebench.suite.shipped import shipped

if TYPE_CHECKING:
    from prunebench.session import LoadedSuite

DEVICES = {"cpu": "core", "cuda": "GPU"}
NOWHERE = Path("prunebench-no-store")
"""The name of a store that is never made: what a suite costs where nothing of it has run."""


@click.group(invoke_without_command=True)
@options.json
@options.plugin_names
@click.pass_context
def command(ctx: click.Context, as_json: bool, files: tuple[str, ...], blocked: tuple[str, ...]) -> None:
    """List the shipped suites, or print one to edit it.

    Of each suite it shows the size, how long it would take, and what it is about. The time is an estimate for one
    core, or one worker on a GPU, that has to run everything; `prunebench plan NAME` is more exact once something was
    measured. Every command that takes the file of a suite takes these names too.
    """
    if ctx.invoked_subcommand is not None:
        return
    chosen = options.SuiteOptions(files=files, blocked=blocked)
    found = [_listed(name, chosen) for name in shipped()]
    if as_json:
        output.show_json(found)
    else:
        _print(found)


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the YAML of a shipped suite: `prunebench suites show digits > mine.yaml`, to be edited and run."""
    from prunebench.suite.document import text_of

    files = shipped()
    if name not in files:
        raise SuiteError(f"no shipped suite is called {name!r}{near(name, list(files))}")
    click.echo(text_of(files[name]), nl=False)


def _listed(name: str, chosen: options.SuiteOptions) -> dict[str, Any]:
    """The listed facts of a suite; or the error of one that needs packages or files that are not here."""
    try:
        return _described(name, chosen.load(name))
    except SuiteError as error:
        return {"name": name, "error": str(error)}


def _described(name: str, loaded: LoadedSuite) -> dict[str, Any]:
    """The listed facts of a suite."""
    from prunebench import session
    from prunebench.execution.estimates import estimate
    from prunebench.store.entries import Store

    plan, suite = session.plan_suite(loaded, {}), loaded.suite
    seconds = {device: estimate(plan, Store(NOWHERE), device).seconds for device in DEVICES}
    return {
        "name": name,
        "description": suite.description,
        "tasks": [task.label for task in suite.tasks],
        "methods": [entry.label for entry in suite.entries],
        "trials": len(loaded.trials),
        "seeds": len(suite.seeds),
        "seconds": seconds,
    }


def _print(found: list[dict[str, Any]]) -> None:
    rows = output.table("suite", "size, time, and what it is about", widest=1)
    for one in found:
        said = f"cannot be read here: {one['error']}" if "error" in one else f"{_size(one)}\n{one['description']}"
        rows.add_row(output.text(one["name"], style="bold"), output.text(said))
    output.show(rows)


def _size(one: Mapping[str, Any]) -> str:
    from prunebench.messages.durations import rounded

    times = [f"{rounded(one['seconds'][device])} on one {name}" for device, name in DEVICES.items()]
    seeds = f"{one['seeds']} seed{'s' if one['seeds'] > 1 else ''}"
    return f"{one['trials']:,} trials with {seeds}; about {', '.join(times)}"
