"""`prunebench register`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, suite_argument

if TYPE_CHECKING:
    from prunebench.inspection import Finished
    from prunebench.leaderboard.best import BestTrial

NETWORK = "network.safetensors"


def _name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    from prunebench.tracking import FORBIDDEN

    if name is not None and (not name.strip() or set(name) & set(FORBIDDEN)):
        raise click.BadParameter(f"MLflow takes no name that is empty or has one of {' '.join(FORBIDDEN)}")
    return name


@click.command()
@suite_argument.suite
@click.option("--name", callback=_name, metavar="NAME", help="The registered model.  [default: SUITE-TASK]")
@options.suite_options("only", "store", "data")
def command(suite: Path, name: str | None, chosen: options.SuiteOptions) -> None:
    """Register the best networks of a suite in MLflow.

    For each task and sparsity, the network of the method with the best mean becomes a version of a model in MLflow's
    registry: that of the seed with the median. It is attached to the trial's run as a safetensors file, which
    prunebench.load_network(MODEL, FILE) reads back. A network that is registered already is not registered again.
    """
    from prunebench.inspection import open_trial
    from prunebench.leaderboard import select
    from prunebench.leaderboard.best import best_trials
    from prunebench.tracking import read_results

    loaded, made_by = chosen.load(suite), chosen.run_command(suite)
    selection = select(read_results(suite=loaded.suite.name), loaded.asked)
    trials = {(one.task.label, one.entry.label, one.sparsity, one.seed): one for one in loaded.trials}
    best = list(best_trials(selection))
    if not best:
        raise click.ClickException(f"no sparsity of {loaded.suite.name} has two complete rows to choose from")
    for one in best:
        result = one.result
        trial = trials[result.task, result.method, result.sparsity, result.seed]
        finished = open_trial(loaded, str(trial), chosen.store, chosen.data, command=made_by)
        click.echo(_registered(one, finished, name or _default(loaded.suite.name, result.task)))


def _default(suite: str, task: str) -> str:
    from prunebench.tracking import FORBIDDEN

    return "".join("-" if letter in FORBIDDEN else letter for letter in f"{suite}-{task}")


def _registered(best: BestTrial, finished: Finished, name: str) -> str:
    """Register a network; returns what was done."""
    from prunebench.api.errors import StoreError
    from prunebench.inspection import export
    from prunebench.tracking import Registration, register

    result, trial = best.result, finished.trial
    key = finished.nodes[-1].key
    if result.provenance.get("key") != key:
        raise StoreError(f"{trial} in MLflow is not the one in the store: `prunebench run` makes both anew")
    said = f"{trial}: the best mean at this sparsity, {best.figures}, and this seed is the median of {best.row['n']}"
    tags = {"suite": result.suite, "task": result.task, "method": result.method, "trial": str(trial)}
    tags |= {"sparsity": f"{result.sparsity:.12g}", "seed": str(result.seed), "figures": best.figures}
    with TemporaryDirectory(prefix="prunebench-") as folder:
        file = Path(folder) / NETWORK
        export(finished, file, "state-dict")
        version, new = register(file, Registration(name, result.suite, result.trial, key, said, tags))
    return f"{name} version {version}{'' if new else ', as before'}: {trial}, {best.figures}"
