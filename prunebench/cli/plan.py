"""`prunebench plan`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunebench.cli.shared import options, output, suite_argument
from prunebench.suite.shipped import origin

if TYPE_CHECKING:
    from prunebench.api.layers import Network

SHOWN = 3
"""Maximum number of weights that are named."""


@click.command()
@suite_argument.suite
@options.suite_options("only", "store", "data", "json")
def command(
    suite: Path,
    chosen: options.SuiteOptions,
    as_json: bool,
) -> None:
    """Show what a suite would run, and its cost.

    Nothing is run, and no data is read. Stages on data that was never read here count as missing from the store.
    """
    from prunebench import session
    from prunebench.execution.estimates import estimate
    from prunebench.plan.near_sparsities import near_sparsities
    from prunebench.store.entries import Store

    loaded = chosen.load(suite)
    plan = session.plan_suite(loaded, session.prepared_already(loaded, chosen.data, chosen.store))
    found, near = estimate(plan, Store(chosen.store.resolve())), near_sparsities(plan)
    networks = {planned.trial.task.label: planned.network for planned in plan.trials if planned.network is not None}
    if as_json:
        prunable = {label: _counts(network) for label, network in networks.items()}
        extra = {"prunable": prunable, "near_sparsities": [*map(asdict, near)]}
        output.show_json({"suite": loaded.suite.name, **found.as_json(), **extra})
        return
    click.echo(f"{loaded.suite.name}: {origin(suite)}\n")
    output.show(output.grid([*_lines(found), *(("prunable", _share(*one)) for one in networks.items())]))
    for one in near:
        click.echo(f"note: {one}")
    for status, reasons in (("skipped", found.skipped), ("fail", found.failed)):
        for reason, trials in reasons.items():
            click.echo(f"{status}: {len(trials)} trials, such as {trials[0]}: {reason}")


def _counts(network: Network) -> dict[str, Any]:
    return {
        "parameters_prunable": network.size,
        "parameters_total": network.parameters,
        "inference_flops_prunable": network.prunable_flops,
        "inference_flops_dense": network.flops,
        "left_out": [layer.name for layer in network.left_out],
    }


def _share(label: str, network: Network) -> str:
    """The share of the network of a task that is prunable, and the large weights that are not."""
    names = [layer.name for layer in network.left_out]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    left_out = f"; not prunable: {', '.join(names[:SHOWN])}{more}" if names else ""
    flops = network.prunable_flops / network.flops if network.flops else 0.0
    return (
        f"{label}: {network.size:,} weights, {network.size / network.parameters:.1%} of all parameters and "
        f"{flops:.1%} of the FLOPs{left_out}"
    )


def _lines(found: Any) -> list[tuple[str, str]]:
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.messages.durations import rounded

    saved = 1 - found.flops_shared / found.flops_alone if found.flops_alone else 0.0
    return [
        ("trials", f"{found.trials}, of which {found.cached} are in the store"),
        ("stages", f"{found.stages_alone} if each trial ran alone, {found.stages} with sharing"),
        ("to run", f"{found.jobs} jobs, {found.steps:,} optimizer steps"),
        ("training cost", f"{found.flops_alone:.3g} FLOPs alone, {found.flops_shared:.3g} shared: {saved:.0%} saved"),
        ("time", f"about {rounded(found.seconds)} of one worker ({found.basis})"),
        ("disk", f"about {bytes_of(found.bytes)}"),
    ]
