"""`prunebench verify`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.api.errors import BoardError
from prunebench.cli.shared import options, suite_argument
from prunebench.cli.shared.output import say
from prunebench.cli.shared.requested import SuiteRequest, as_options, trials_of
from prunebench.messages.suggestions import nearest

if TYPE_CHECKING:
    from prunebench.leaderboard.boards.published import Board
    from prunebench.leaderboard.boards.reproduction import Verdict
    from prunebench.records.results import Result

DIFFERENT = 1


@click.command()
@suite_argument.suite
@click.argument("row")
@click.option(
    "--board", "source", metavar="BOARD", help="The board of the row.  [default: the results of the suite in MLflow]"
)
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Run only this seed; may be repeated.")
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Reuse the results in this store.  [default: a new store, so that everything is run again]",
)
@click.option("--workers", type=click.IntRange(1), help="Number of processes; by default one for each core.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of each process.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@options.suite_options("data")
def command(
    suite: Path,
    row: str,
    source: str | None,
    seeds: tuple[int, ...],
    store: Path | None,
    workers: int | None,
    threads: int,
    device: str,
    chosen: options.SuiteOptions,
) -> None:
    """Run a published row again, and check whether it is reproduced.

    SUITE is a YAML file or the name of a shipped suite, and ROW is task/method/sparsity, such as digits-mlp/imp/0.9.
    BOARD is a published folder, an address of MLflow, or the name of a suite. The --set options that the board records
    for the row are applied first, then those of this command. Nothing is tracked, and the store of this folder is not
    used.

    A number is reproduced if all figures except measured times are the same bit for bit, or if the mean of its metric
    is in the 95 % prediction interval of the published seeds, mean ± t · s · √(1/n + 1/m). Otherwise the exit code is
    1.
    """
    from prunebench import session
    from prunebench.leaderboard.boards.reproduction import judge
    from prunebench.leaderboard.boards.sources import read_source
    from prunebench.session import RunOptions

    published = _published(read_source(source or chosen.load(suite).suite.name), row)
    wanted, recorded = trials_of(SuiteRequest(suite, chosen), published, row, seeds)
    if recorded:
        say(f"recorded options: {as_options(recorded)}", err=True)
    with tempfile.TemporaryDirectory(prefix="prunebench-verify-") as name, _separate_tracking(Path(name)):
        place = store or Path(name) / "store"
        run_options = RunOptions(store=place, data=chosen.data, workers=workers, threads=threads, device=device)
        again = session.run_suite(wanted, run_options).results
    verdict = judge(published, again)
    say("\n".join(_report(row, verdict, published, again)))
    sys.exit(0 if verdict.reproduced else DIFFERENT)


def _published(board: Board, row: str) -> list[Result]:
    """The results of the row. Raises BoardError if the board has no such row, or no number in it."""
    from prunebench.leaderboard import select

    groups: dict[str, list[Result]] = {}
    for result in select(board.results, board.asked).results:
        groups.setdefault(f"{result.task}/{result.method}/{result.sparsity:g}", []).append(result)
    if row not in groups:
        near = nearest(row, groups, cutoff=0)
        raise BoardError(f"{board.name} has no row {row!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if len({result.suite for result in groups[row]}) > 1:
        raise BoardError(f"several suites in {board.name} have the row {row!r}: name one, as in {board.name}#SUITE")
    if not any(result.status == "done" for result in groups[row]):
        raise BoardError(f"{row!r} has no number in {board.name}: {groups[row][0].status}, {groups[row][0].reason}")
    return groups[row]


@contextmanager
def _separate_tracking(folder: Path) -> Iterator[None]:
    """Send tracking to a temporary database, so that verification runs do not get into the real one."""
    from prunebench.tracking import URI_VARIABLE

    before = os.environ.get(URI_VARIABLE)
    os.environ[URI_VARIABLE] = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[URI_VARIABLE]
        else:
            os.environ[URI_VARIABLE] = before


def _report(row: str, verdict: Verdict, published: Sequence[Result], again: Sequence[Result]) -> Iterator[str]:
    metric = next(result.primary for result in published if result.status == "done")

    def shown(value: float | None) -> str:
        return "none" if value is None else metric.shown(value)

    numbers = f"published {shown(verdict.published)}, again {shown(verdict.again)}"
    interval = (
        "" if verdict.reach is None else f"; prediction interval ± {metric.factor * verdict.reach:.{metric.decimals}f}"
    )
    seeds = f"seed {', '.join(map(str, verdict.seeds))}"
    yield f"{row}: {'reproduced, ' if verdict.reproduced else ''}{verdict.kind} ({seeds}: {numbers}{interval})"
    yield from (f"  {reason}" for reason in verdict.reasons)
    if verdict.differing:
        yield f"  different: {', '.join(verdict.differing)}"
    yield from (f"  {change}" for change in _differences(published, again))


def _differences(published: Sequence[Result], again: Sequence[Result]) -> Iterator[str]:
    """Yield differences in code, data, versions and machine since the row was published."""
    from prunebench.leaderboard.selection import changes

    for kind in ("protocol", "variant"):
        old, new = {getattr(result, kind) for result in published}, {getattr(result, kind) for result in again}
        if old != new:
            yield f"another {kind} than the published row: " + ", ".join(changes(published, again, kind))
    for name in ("torch", "threads", "machine", "device", "cuda"):
        before, after = (
            {r.provenance[name] for r in some if r.status == "done" and name in r.provenance}
            for some in (published, again)
        )
        if before != after and before and after:
            yield f"another {name}: {' / '.join(sorted(before))} → {' / '.join(sorted(after))}"
