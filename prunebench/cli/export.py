"""`prunebench export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, suite_argument

if TYPE_CHECKING:
    from prunebench.inspection import Finished
    from prunebench.session import LoadedSuite

ENDINGS = {"ticket": ".safetensors", "state-dict": "-state-dict.safetensors", "onnx": ".onnx"}


@click.command()
@suite_argument.suite
@click.argument("trial")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(ENDINGS)),
    help="ticket: masks, initial and final weights; other formats: the pruned network.  [default: ticket]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    callback=options.writable_file,
    metavar="PATH",
    help="The file or folder to write.  [default: TASK-METHOD-SPARSITY-SEED with an extension, or -RUNTIME]",
)
@click.option(
    "--runtime",
    metavar="NAME",
    help="Write a folder with the network as this runtime runs it, and a card with what is measured of it: a label in "
    "the suite's `runtimes`, a name that `prunebench runtimes` lists, or a mapping such as "
    "'{name: onnxruntime, precision: int8}'.",
)
@options.suite_options("store", "data")
def command(
    suite: Path,
    trial: str,
    form: str | None,
    output: Path | None,
    runtime: str | None,
    chosen: options.SuiteOptions,
) -> None:
    """Write a trial's ticket, or its pruned network, to a file.

    SUITE is a YAML file or the name of a shipped suite, TRIAL is a finished trial as a run prints it:
    task/method/sparsity/seed. A ticket is loaded with prunebench.load_ticket(FILE);
    {name: transfer, ticket: FILE} starts another trial with its mask.

    With --runtime, the network is run in that runtime, and its metrics and latency are measured there.
    """
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.inspection import export, narrowed, open_trial

    if runtime is not None and form is not None:
        raise click.UsageError("give either --format or --runtime")
    loaded, made_by = chosen.load(suite), chosen.run_command(suite)
    finished = open_trial(loaded, trial, chosen.store, chosen.data, command=made_by)
    if runtime is not None:
        _deliver(runtime, finished, loaded, output, f"{made_by} --only {narrowed(finished.trial)}")
        return
    form = form or "ticket"
    output = output or Path(str(finished.trial).replace("/", "-") + ENDINGS[form])
    export(finished, output, form)
    click.echo(f"{output}: {form} of {finished.trial}, {bytes_of(output.stat().st_size)}")


def _deliver(text: str, finished: Finished, loaded: LoadedSuite, output: Path | None, made_by: str) -> None:
    """Write the folder of a runtime, and print what was measured."""
    from prunebench.api.runtimes import Latency
    from prunebench.cli.shared.progress import bytes_of
    from prunebench.inspection import deliver, latency_lines
    from prunebench.suite import named_runtime

    measure = loaded.suite.measure
    entry = named_runtime(text, measure, loaded.registry)
    folder = output or Path(f"{str(finished.trial).replace('/', '-')}-{entry.label}")
    card = deliver(finished, folder, entry, measure.latency if measure else Latency(), made_by)
    size = sum(file.bytes for file in card.files.values())
    click.echo(f"{folder}: {finished.trial} in {entry.label}, {bytes_of(size)}")
    for line in latency_lines(card, finished.trial.task.metrics):
        click.echo(line)
