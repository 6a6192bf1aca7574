"""`prunebench inspect`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, output, suite_argument

if TYPE_CHECKING:
    from prunebench.inspection import Finished


@click.command()
@suite_argument.suite
@click.argument("trial")
@click.argument("other", required=False)
@click.option(
    "--other-suite",
    type=suite_argument.SuiteFile(),
    metavar="SUITE",
    help="The suite of OTHER.  [default: SUITE]",
)
@click.option(
    "--other-set",
    "other_settings",
    metavar="PATH=VALUE",
    multiple=True,
    help="Like --set, for the suite of OTHER.  [default: those of --set, if it is SUITE]",
)
@click.option(
    "--other-store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The store of OTHER.  [default: that of --store]",
)
@click.option("--stability", "stable", is_flag=True, help="Train twice more, and measure the error between the two.")
@click.option(
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    callback=options.writable,
    metavar="DIR",
    help="Write a page with plots to this folder.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@options.json
@options.suite_options("store", "data")
def command(
    suite: Path,
    trial: str,
    other: str | None,
    other_suite: Path | None,
    other_settings: tuple[str, ...],
    other_store: Path | None,
    stable: bool,
    directory: Path | None,
    device: str,
    chosen: options.SuiteOptions,
    as_json: bool,
) -> None:
    """Show a trial: curves, layers, masks, weights, stability.

    SUITE is a YAML file or the name of a shipped suite, TRIAL is a finished trial as a run prints it:
    task/method/sparsity/seed. With OTHER, the masks of two trials are compared. OTHER can be of another suite, of the
    same suite with another --set, or in another store; by default it is the trial there with the same name. --stability
    tests whether the last training is stable to SGD noise (Frankle et al. 2020); its trainings are kept in the store.
    """
    import torch

    from prunebench import inspection

    torch.set_num_threads(1)  # as in a run: the last bits depend on it
    settings = other_settings or (() if other_suite else chosen.settings)
    there = (other_suite or suite, replace(chosen, settings=settings, store=other_store or chosen.store))

    def opened(name: str, file: Path, selected: options.SuiteOptions) -> Finished:
        again = selected.run_command(file)
        return inspection.open_trial(selected.load(file), name, selected.store, selected.data, device, again)

    one = opened(trial, suite, chosen)
    another = opened(other or trial, *there) if other or there != (suite, chosen) else None
    found = inspection.inspect(one, another, stable, output.note)
    if directory is not None:
        inspection.write(found, directory)
        click.echo(f"written: {directory / 'README.md'}", err=True)
    if as_json:
        output.show_json(found.as_json())
    elif directory is None:
        click.echo(inspection.text(found), nl=False)
