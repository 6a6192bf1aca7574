"""`prunebench suites`, and `prunebench suites show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunebench.api.errors import PrunebenchError, SuiteError
from prunebench.cli.shared import options, output
from prunebench.messages.suggestions import near
from prunebench.records.results import PROFILE
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
    """The listed facts of a suite and of its profiles."""
    from prunebench.suite.profiles import names

    found = {"name": name, **_facts(name, chosen)}
    if "error" not in found:
        found["profiles"] = {one: _facts(name, chosen, [f"{PROFILE}={one}"]) for one in names(name)}
    return found


def _facts(name: str, chosen: options.SuiteOptions, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Of a suite with some settings; or the error of one that needs packages or files that are not here."""
    try:
        return _facts_of(chosen.load(name, settings))
    except PrunebenchError as error:
        return {"error": str(error)}


def _facts_of(loaded: LoadedSuite) -> dict[str, Any]:
    from prunebench import session
    from prunebench.execution.estimates import duration
    from prunebench.store.entries import Store

    plan, suite = session.plan_suite(loaded, {}), loaded.suite
    return {
        "description": suite.description,
        "tasks": [task.label for task in suite.tasks],
        "methods": [entry.label for entry in suite.entries],
        "trials": len(loaded.trials),
        "seeds": len(suite.seeds),
        "seconds": {device: duration(plan, Store(NOWHERE), device).seconds for device in DEVICES},
    }


def _print(found: list[dict[str, Any]]) -> None:
    rows = output.table("suite", "size, time, and what it is about", widest=1)
    for one in found:
        rows.add_row(output.text(one["name"], style="bold"), output.text("\n".join(_about(one))))
    output.show(rows)


def _about(one: Mapping[str, Any]) -> list[str]:
    """The lines of a suite in the listing."""
    if "error" in one:
        return [_size(one)]
    profiles = [f"--profile {name}: {_size(facts)}" for name, facts in one["profiles"].items()]
    return [_size(one), one["description"], *profiles]


def _size(facts: Mapping[str, Any]) -> str:
    from prunebench.messages.durations import rounded

    if "error" in facts:
        return f"cannot be read here: {facts['error']}"
    times = [f"{rounded(facts['seconds'][device])} on one {name}" for device, name in DEVICES.items()]
    seeds = f"{facts['seeds']} seed{'s' if facts['seeds'] > 1 else ''}"
    return f"{facts['trials']:,} trials with {seeds}; about {', '.join(times)}"
