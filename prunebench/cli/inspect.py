"""`prunebench inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli import options, output

if TYPE_CHECKING:
    from prunebench.inspection import Finished


@dataclass(frozen=True)
class Place:
    """Where a trial is to be found: in a suite, and in a store."""

    suite: Path
    settings: tuple[str, ...]
    store: Path


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.argument("trial")
@click.argument("other", required=False)
@click.option(
    "--other-suite",
    type=click.Path(path_type=Path),
    metavar="OTHER.yaml",
    help="The suite that OTHER is of.  [default: SUITE]",
)
@click.option(
    "--other-set",
    "other_settings",
    metavar="PATH=VALUE",
    multiple=True,
    help="As --set, for the suite that OTHER is of.  [default: for SUITE, what --set says]",
)
@click.option(
    "--other-store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The store that has OTHER.  [default: that of --store]",
)
@click.option("--stability", "stable", is_flag=True, help="Train twice more, and measure between the two.")
@click.option(
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a page with plots there.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@options.json
@options.settings
@options.store
@options.data
@options.plugin_names
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
    as_json: bool,
    settings: tuple[str, ...],
    store: Path,
    data: Path | None,
    files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> None:
    """Look into a trial: curves, layers, masks, weights, stability.

    SUITE is a YAML file, TRIAL one that was run, as a run prints it: task/method/sparsity/seed; with OTHER, one more of
    them, their masks are compared. OTHER may be of another suite, of the same with another --set, or in another store;
    then it has TRIAL's name if none is given. --stability asks whether the last training ends in one basin whatever the
    noise of SGD (Frankle et al. 2020): the store keeps what is trained for it.
    """
    import torch

    from prunebench import inspection

    torch.set_num_threads(1)  # as in a run: the last bits depend on it
    here = Place(suite, settings, store)
    there = Place(other_suite or suite, other_settings or (() if other_suite else settings), other_store or store)

    def opened(name: str, place: Place) -> Finished:
        loaded = options.load_suite(place.suite, place.settings, (), files, blocked)
        again = options.run_command(place.suite, place.settings, place.store, files, blocked)
        return inspection.open_trial(loaded, name, place.store, data, device, again)

    one = opened(trial, here)
    another = opened(other or trial, there) if other or there != here else None
    found = inspection.inspect(one, another, stable, output.note)
    if directory is not None:
        inspection.write(found, directory)
        click.echo(f"written: {directory / 'README.md'}", err=True)
    if as_json:
        output.show_json(found.as_json())
    elif directory is None:
        click.echo(inspection.text(found), nl=False)
