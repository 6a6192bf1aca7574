"""`prunebench plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prunebench.cli import options, output


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@options.given("only", "store", "data", "json")
def command(
    suite: Path,
    given: options.Given,
    as_json: bool,
) -> None:
    """Show what a suite would run, and what it would cost.

    Runs nothing and touches no data. Stages of data that was never read here count as not in the store.
    """
    from prunebench import session
    from prunebench.execution.estimates import estimate
    from prunebench.store import Store

    loaded = given.load(suite)
    plan = session.plan_suite(loaded, session.prepared_already(loaded, given.data, given.store))
    found = estimate(plan, Store(given.store.resolve()))
    if as_json:
        output.show_json({"suite": loaded.suite.name, **found.as_json()})
        return
    click.echo(f"{loaded.suite.name}: {suite}\n")
    output.show(output.grid(_lines(found)))
    for reason, trials in found.skipped.items():
        click.echo(f"skipped: {len(trials)} trials, such as {trials[0]}: {reason}")


def _lines(found: Any) -> list[tuple[str, str]]:
    from prunebench.cli.progress import bytes_of
    from prunebench.durations import rounded

    saved = 1 - found.flops_shared / found.flops_alone if found.flops_alone else 0.0
    return [
        ("trials", f"{found.trials}, of which {found.cached} are in the store"),
        ("stages", f"{found.stages_alone} if each trial ran alone, {found.stages} with sharing"),
        ("to run", f"{found.jobs} jobs, {found.steps:,} optimizer steps"),
        ("training cost", f"{found.flops_alone:.3g} FLOPs alone, {found.flops_shared:.3g} shared: {saved:.0%} saved"),
        ("time", f"about {rounded(found.seconds)} of one worker ({found.basis})"),
        ("disk", f"about {bytes_of(found.bytes)}"),
    ]
