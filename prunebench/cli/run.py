"""`prunebench run`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from prunebench.cli import INTERRUPTED
from prunebench.cli.shared import options, output, suite_argument
from prunebench.cli.shared.executor_options import DEFAULT, PlacedCommand, peek
from prunebench.cli.shared.output import say
from prunebench.messages import durations
from prunebench.session import receipts
from prunebench.store.entries import Store

if TYPE_CHECKING:
    from prunebench.api.executors import Executor
    from prunebench.execution.estimates import Duration

FAILED, UNFINISHED = 1, 3
"""Exit codes, besides 0 for success and 2 for a run that could not start."""


LONG = 86400.0
"""Seconds that a run may take without being asked for twice."""
_REQUEST = f"{__name__}.request"
_STOP = f"{__name__}.stop"


class StoppableCommand(PlacedCommand):
    """Prints one sentence on SIGINT or SIGTERM and exits, also while options are parsed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_REQUEST] = request = receipts.Request.of(args)
        given = peek(self, ctx, args, "store")["store"]  # None for one that is refused below
        if given is not None and (receipt := receipts.find(request, Path(given), _width())) is not None:
            _answer(receipt, Path(given), request)
            ctx.exit()
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, partial(_interrupt, stop))
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as some shells have it
            signal.signal(signal.SIGINT, partial(_interrupt, stop))
        try:
            context = super().make_context(*args, **kwargs)
            context.meta[_STOP] = stop
            return context
        except KeyboardInterrupt:
            _say_stopped()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say_stopped()


def _answer(receipt: receipts.Receipt, store: Path, request: receipts.Request) -> None:
    """Print what a run prints that has nothing to do."""
    left = receipt.finished
    output.note_older(Store(store.resolve()))
    say(f"{left.trials} trials in {left.stages} stages", err=True)
    for warning in left.warnings:
        say(f"{time.strftime('%H:%M:%S')} WARNING: {warning}", err=True)
    say("\n" + receipt.texts[str(_width())])
    _summarize(Counter(cached=left.trials), (time.time_ns() - request.begun) / 1e9, Path(left.folder))


@click.command(cls=StoppableCommand)
@suite_argument.suite
@click.option(
    "--executor",
    metavar="NAME",
    help="Where stages run; `prunebench executors` lists them, and `--executor NAME --help` shows their options.  "
    "[default: local]",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of stages that run at the same time; by default as many as fit."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Threads of each process. The last bits of results depend on it.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--num-cpus", type=click.FloatRange(0, min_open=True), help="Cores of a running stage, for executors that count."
)
@click.option("--num-gpus", type=click.FloatRange(0), help="GPUs of a running stage; with 0.25, four stages share one.")
@click.option("--retry-failed", is_flag=True, help="Run failed trials again.")
@click.option("--measure-again", is_flag=True, help="Measure again in the suite's runtimes, without training again.")
@click.option(
    "--timeout", callback=options.seconds, metavar="TIME", help="Stop a stage that takes longer, such as 30min."
)
@click.option(
    "--checkpoint-every",
    callback=options.seconds,
    default="1min",
    show_default=True,
    metavar="TIME",
    help="Time between checkpoints; a killed training loses at most this much.",
)
@click.option(
    "--budget",
    callback=options.seconds,
    metavar="TIME",
    help="Stop after this time, such as 2h; start only stages that will end by then, or that need more than this time.",
)
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the leaderboard is written.  [default: results/<suite>]",
    metavar="DIR",
)
@click.option("--yes", is_flag=True, help="Do not ask before a run that takes longer than a day.")
@options.suite_options("only", "store", "data")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    suite: Path,
    executor: Executor,
    folder: Path | None,
    yes: bool,
    chosen: options.SuiteOptions,
    **how: Any,
) -> None:
    """Run a suite; results in the store are reused.

    SUITE is a YAML file, or the name of a shipped suite (`prunebench suites`). A run may be stopped and started again
    at any time; it continues where it stopped, with the same results, bit for bit.

    The exit code is 0 if all trials are done, 1 if trials failed or results did not reach MLflow, 2 for an error in the
    suite, the options or the store, 3 if the budget was used up, and 130 if the run was stopped.
    """
    from prunebench import session
    from prunebench.cli.shared.progress import Watcher
    from prunebench.session import RunOptions

    loaded = chosen.load(suite)
    output.note_older(Store(chosen.store.resolve()))
    folder = folder or Path("results") / loaded.suite.name
    left: list[receipts.Finished] = []
    limit = None if yes or how["budget"] is not None else LONG
    stop: threading.Event = ctx.meta[_STOP]
    with Watcher(confirm=lambda time: _confirmed(time, _workers(executor, how), limit)) as watcher:
        run_options = RunOptions(
            store=chosen.store, data=chosen.data, executor=executor, output=folder, stop=stop, **how
        )
        outcome = session.run_suite(loaded, run_options, watch=watcher.watch, on_finished=left.append)
    if stop.is_set():
        raise KeyboardInterrupt
    request: receipts.Request = ctx.meta[_REQUEST]
    text = _print_leaderboard(outcome.frame)
    _summarize(outcome.counts, (time.time_ns() - request.begun) / 1e9, None if outcome.frame is None else folder)
    if left and not run_options.measure_again:  # the same command measures again each time
        receipts.write(request, Store(chosen.store.resolve()), left[0], text, _width())
    if outcome.untracked:
        say(f"MLflow: {outcome.untracked}; the same command sends them", err=True)
    if outcome.open:
        trials = f"{outcome.open} trial{'s are' if outcome.open > 1 else ' is'} open"
        say(f"the budget is used up: {trials}, and the same command continues", err=True)
        say(outcome.next, err=True)
        sys.exit(UNFINISHED)
    sys.exit(0 if outcome.ok else FAILED)


def _workers(executor: Executor, how: Mapping[str, Any]) -> int:
    """How many stages run at the same time, as far as can be told before the executor is opened."""
    here = executor.name == DEFAULT and how["device"] == "cpu"
    return how["workers"] or ((os.cpu_count() or 1) if here else 1)


def _confirmed(time: Duration, workers: int, limit: float | None) -> float:
    """Say so if a run takes long, and on a terminal ask whether to start it; returns its expected seconds."""
    seconds = time.of(workers)
    if limit is not None and seconds > limit:
        several = f"{workers} workers" if workers > 1 else "one worker"
        say(f"this run takes about {durations.rounded(seconds)} with {several} ({time.basis})", err=True)
        if sys.stdin.isatty() and not click.confirm("Start it?", err=True):
            say(
                "nothing was run; `prunebench plan` shows the cost of what --only and --profile select",
                err=True,
            )
            sys.exit(INTERRUPTED)
    return seconds


def _say_stopped() -> NoReturn:
    """Print the message of a stopped run and exit; further signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    say("\nstopped; the same command continues", err=True)
    sys.exit(INTERRUPTED)


def _print_leaderboard(frame: Any) -> str:
    """Print the leaderboard, if there is one; returns it."""
    from prunebench.leaderboard import text

    if frame is None:
        return ""
    found = text(frame, width=_width())
    say("\n" + found)
    return found


def _width() -> int:
    return shutil.get_terminal_size().columns


def _summarize(counts: Counter[str], seconds: float, folder: Path | None) -> None:
    """Print how trials ended, and where the leaderboard is, if it was written."""
    summary = ", ".join(f"{counts[name]} {name}" for name in ("done", "cached", "failed", "skipped"))
    say(f"{sum(counts.values())} trials: {summary}; {durations.rounded(seconds)}")
    if folder is not None:
        say(f"leaderboard: {folder / 'README.md'}")


def _interrupt(stop: threading.Event, *_: object) -> None:
    """Handle Ctrl-C, and SIGTERM from a cluster's scheduler; a library may swallow the exception, but not the event."""
    stop.set()
    raise KeyboardInterrupt
