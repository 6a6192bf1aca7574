"""`prunebench inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from prunebench.cli import options, output


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.argument("trial")
@click.argument("other", required=False)
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
    them, their masks are compared. --stability asks whether the last training ends in one basin whatever the noise of
    SGD (Frankle et al. 2020): the store keeps what is trained for it.
    """
    import torch

    from prunebench import inspection

    torch.set_num_threads(1)  # as in a run: the last bits depend on it
    loaded = options.load_suite(suite, settings, (), files, blocked)
    again = options.run_command(suite, settings, store, files, blocked)
    one, another = (
        inspection.open_trial(loaded, name, store, data, device, again) if name else None for name in (trial, other)
    )
    assert one is not None
    found = inspection.inspect(one, another, stable, output.note)
    if directory is not None:
        inspection.write(found, directory)
        click.echo(f"written: {directory / 'README.md'}", err=True)
    if as_json:
        output.show_json(found.as_json())
    elif directory is None:
        click.echo(inspection.text(found), nl=False)
