"""`prunebench export`."""

from __future__ import annotations

from pathlib import Path

import click

from prunebench.cli.shared import options, suite_argument

ENDINGS = {"ticket": ".safetensors", "state-dict": "-state-dict.safetensors", "onnx": ".onnx"}


@click.command()
@suite_argument.suite
@click.argument("trial")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(ENDINGS)),
    default="ticket",
    show_default=True,
    help="ticket: masks, initial and final weights; other formats: the pruned network.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=options.writable_file,
    metavar="FILE",
    help="The file to write.  [default: TASK-METHOD-SPARSITY-SEED with an extension]",
)
@options.suite_options("store", "data")
def command(
    suite: Path,
    trial: str,
    form: str,
    output: Path | None,
    chosen: options.SuiteOptions,
) -> None:
    """Write a trial's ticket, or its pruned network, to a file.

    SUITE is a YAML file or the name of a shipped suite, TRIAL is a finished trial as a run prints it:
    task/method/sparsity/seed. A ticket is loaded with prunebench.load_ticket(FILE);
    {name: transfer, ticket: FILE} starts another trial with its mask.
    """
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.inspection import export, open_trial

    finished = open_trial(chosen.load(suite), trial, chosen.store, chosen.data, command=chosen.run_command(suite))
    output = output or Path(str(finished.trial).replace("/", "-") + ENDINGS[form])
    export(finished, output, form)
    click.echo(f"{output}: {form} of {finished.trial}, {bytes_of(output.stat().st_size)}")
