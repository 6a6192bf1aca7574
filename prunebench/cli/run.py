"""`prunebench run`."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from prunebench.cli import INTERRUPTED, options, output
from prunebench.cli.executor_options import PlacedCommand
from prunebench.cli.output import say
from prunebench.messages import durations

if TYPE_CHECKING:
    from prunebench.api.executors import Executor

FAILED, UNFINISHED = 1, 3
"""Exit codes, beside 0 for all well and 2 for what could not even begin."""


class StoppableCommand(PlacedCommand):
    """Ends in one sentence when it is asked to stop, from when its options are looked at."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return super().make_context(*args, **kwargs)
        except KeyboardInterrupt:
            _say_stopped()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say_stopped()


@click.command(cls=StoppableCommand)
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "--executor",
    metavar="NAME",
    help="Where stages run; `prunebench executors` lists them, and `--executor NAME --help` shows their options.  "
    "[default: local]",
)
@click.option("--workers", type=click.IntRange(1), help="Stages at a time; by default all that there is room for.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of each process. The last bits of results depend on it.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--num-cpus", type=click.FloatRange(0, min_open=True), help="Cores of a running stage, for executors that count."
)
@click.option("--num-gpus", type=click.FloatRange(0), help="Its GPUs: with 0.25, four stages share one.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed in an earlier run.")
@click.option(
    "--timeout", callback=options.seconds, metavar="TIME", help="Give a stage up that takes longer, such as 30min."
)
@click.option(
    "--checkpoint-every",
    callback=options.seconds,
    default="1min",
    show_default=True,
    metavar="TIME",
    help="How much of a training is lost at most when it is killed.",
)
@click.option(
    "--budget",
    callback=options.seconds,
    metavar="TIME",
    help="Stop after this time, such as 2h; begin only what ends by then, or what no run of that time could end.",
)
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the leaderboard is written.  [default: results/<suite>]",
    metavar="DIR",
)
@options.given("only", "store", "data")
def command(
    suite: Path,
    executor: Executor,
    folder: Path | None,
    given: options.Given,
    **how: Any,
) -> None:
    """Run a suite; what is in the store already is not run again.

    SUITE is a YAML file. The run may be stopped and started again at any time: it goes on where it was, and its
    results are the same, bit for bit.

    The exit code is 0 when all is done, 1 when trials failed or results did not reach MLflow, 2 when something is wrong
    with what was asked for or with the store, 3 when the budget was used up, and 130 when the run was stopped.
    """
    from prunebench import session
    from prunebench.cli.progress import Watcher
    from prunebench.store.entries import Store

    loaded = given.load(suite)
    output.note_older(Store(given.store.resolve()))
    folder = folder or Path("results") / loaded.suite.name
    begun = time.monotonic()
    with Watcher() as watcher:
        outcome = session.run_suite(
            loaded,
            store=given.store,
            data=given.data,
            executor=executor,
            output=folder,
            watch=watcher.watch,
            **how,
        )
    _print_leaderboard(outcome.frame)
    counts = outcome.counts
    said = ", ".join(f"{counts[name]} {name}" for name in ("done", "cached", "failed", "skipped"))
    say(f"{sum(counts.values())} trials: {said}; {durations.rounded(time.monotonic() - begun)}")
    if outcome.frame is not None:
        say(f"leaderboard: {folder / 'README.md'}")
    if outcome.untracked:
        say(f"MLflow: {outcome.untracked}; the same command sends them", err=True)
    if outcome.open:
        trials = f"{outcome.open} trial{'s are' if outcome.open > 1 else ' is'} open"
        say(f"the budget is used up: {trials}, and the same command goes on from here", err=True)
        say(outcome.next, err=True)
        sys.exit(UNFINISHED)
    sys.exit(0 if outcome.ok else FAILED)


def _say_stopped() -> NoReturn:
    """The last words of a run that was asked to stop. Being asked once more, in its haste, changes nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    say("\nstopped; the same command goes on from here", err=True)
    sys.exit(INTERRUPTED)


def _print_leaderboard(frame: Any) -> None:
    from prunebench.leaderboard import text

    if frame is not None:
        say("\n" + text(frame, width=shutil.get_terminal_size().columns))


def _interrupt(*_: object) -> None:
    """Being asked to stop, by a scheduler for instance, is like Ctrl-C."""
    raise KeyboardInterrupt
