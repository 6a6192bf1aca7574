"""`prunebench plan`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunebench.cli.shared import options, output, suite_argument
from prunebench.suite.profiles import shortened
from prunebench.suite.shipped import origin

if TYPE_CHECKING:
    from prunebench.api.layers import Network
    from prunebench.api.tasks import Change, Suite
    from prunebench.execution.estimates import Estimate

SHOWN = 3
"""Maximum number of weights that are named."""


@click.command()
@suite_argument.suite
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="For the time.")
@options.suite_options("only", "store", "data", "json")
def command(
    suite: Path,
    device: str,
    chosen: options.SuiteOptions,
    as_json: bool,
) -> None:
    """Show what a suite would run, and its cost.

    Nothing is run, and no data is read. Stages on data that was never read here count as missing from the store.
    """
    from prunebench import session
    from prunebench.execution.estimates import estimate
    from prunebench.plan.idle_trainings import idle_trainings
    from prunebench.plan.near_sparsities import near_sparsities
    from prunebench.store.entries import Store

    loaded = chosen.load(suite)
    plan = session.plan_suite(loaded, session.prepared_already(loaded, chosen.data, chosen.store))
    found = estimate(plan, Store(chosen.store.resolve()), device)
    near, idle = near_sparsities(plan), idle_trainings(plan)
    networks = {planned.trial.task.label: planned.network for planned in plan.trials if planned.network is not None}
    if as_json:
        about = {"suite": loaded.suite.name, "profile": loaded.suite.profile, "device": device}
        prunable = {label: _counts(network) for label, network in networks.items()}
        extra = {"prunable": prunable, "near_sparsities": [*map(asdict, near)], "idle_trainings": [*map(asdict, idle)]}
        output.show_json({**about, **found.as_json(), **extra})
        return
    click.echo(f"{loaded.suite.name}: {origin(suite)}\n")
    shares = [("prunable", _share(*one)) for one in networks.items()]
    output.show(output.grid([*_profile(loaded.suite), *_lines(found, device), *shares]))
    for one in (*near, *idle):
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


def _profile(suite: Suite) -> list[tuple[str, str]]:
    """What the profile changes, if one is selected."""
    changes = [f"{one.path}: {_before(one)} -> {shortened(one.after)}" for one in suite.changes]
    return [("profile", "\n".join([suite.profile, *changes]))] if suite.profile else []


def _before(change: Change) -> str:
    """The values before a change; what all tasks or methods had is shown once."""
    return ", ".join(dict.fromkeys(map(shortened, change.before))) or "unset"


def _lines(found: Estimate, device: str) -> list[tuple[str, str]]:
    from prunebench.cli.shared.progress import bytes_of

    saved = 1 - found.flops_shared / found.flops_alone if found.flops_alone else 0.0
    return [
        ("trials", f"{found.trials}, of which {found.cached} are in the store"),
        ("stages", f"{found.stages_alone} if each trial ran alone, {found.stages} with sharing"),
        ("to run", f"{found.jobs} jobs, {found.steps:,} optimizer steps"),
        ("training cost", f"{found.flops_alone:.3g} FLOPs alone, {found.flops_shared:.3g} shared: {saved:.0%} saved"),
        ("time", f"{_time(found, device)} ({found.basis})"),
        ("disk", f"about {bytes_of(found.bytes)}"),
    ]


def _time(found: Estimate, device: str) -> str:
    from prunebench.messages.durations import rounded

    if device != "cpu":
        return f"about {rounded(found.seconds)} of one worker on a GPU"
    cores = os.cpu_count() or 1
    together = max(found.seconds / cores, found.longest)
    return f"about {rounded(found.seconds)} of one worker, {rounded(together)} of {cores} on the cores of this machine"
