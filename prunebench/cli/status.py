"""`prunebench status`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.padding import Padding

from prunebench.cli.shared import options, output, suite_argument
from prunebench.messages.durations import rounded
from prunebench.suite.shipped import origin

if TYPE_CHECKING:
    from prunebench.execution.progress import Progress
    from prunebench.store.locks import Running


@click.command()
@suite_argument.suite
@options.suite_options("only", "store", "data", "json")
def command(
    suite: Path,
    chosen: options.SuiteOptions,
    as_json: bool,
) -> None:
    """Show the progress of a suite.

    Only the store is read, so this works on any machine that can read the store, whether the suite is running or not.
    Pass the same options as to the run: with another --set it is another suite.
    """
    from prunebench import session
    from prunebench.execution.progress import progress
    from prunebench.store.entries import Store

    loaded = chosen.load(suite)
    prepared = session.prepared_already(loaded, chosen.data, chosen.store)
    store = Store(chosen.store.resolve())
    failures = session.data_failures(loaded, prepared, store)
    plan = session.plan_suite(loaded, prepared)
    found = progress(plan, store, failures)
    if as_json:
        output.show_json({"suite": loaded.suite.name, **found.as_json()})
        return
    output.say(f"{loaded.suite.name}: {origin(suite)}\n")
    output.show(output.grid(_lines(found)))
    planned = {one.trial.task.label for one in plan.trials if not one.failed}
    unread = sorted(planned - prepared.keys() - failures.keys())
    if unread:
        output.note(f"the data of {', '.join(unread)} was not read here yet, so its trials count as left")
    if found.left:
        output.note_older(store)
    if failures:
        output.note(f"the data of {', '.join(sorted(failures))} could not be read; every run tries again")
    _print_running(found)
    _print_reasons("failed", found.failed)
    _print_reasons("skipped", found.skipped)


def _lines(found: Progress) -> list[tuple[str, str]]:
    counts = {
        "done": found.done,
        "failed": len(found.failed),
        "skipped": len(found.skipped),
        "left": found.left,
    }
    summary = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "done")
    made = max(0, found.steps - found.steps_left)
    jobs = f"{len(found.running):,} running, {found.waiting:,} waiting"
    if found.others:
        jobs += f"; {found.others:,} of other suites are running in this store"
    return [
        ("trials", f"{found.trials:,}: {summary}"),
        ("jobs", jobs),
        ("steps", f"{made:,} of {found.steps:,} optimizer steps{_rate(found)}"),
        ("time", _time_left(found)),
        ("disk", _disk(found)),
    ]


def _rate(found: Progress) -> str:
    rate = found.pace.rate
    return f"; {rate:,.0f} a second" if rate >= 10 else f"; {rate:.2g} a second" if rate else ""


def _time_left(found: Progress) -> str:
    seconds = found.seconds_left
    if not found.left:
        return "nothing is left" + ("; --retry-failed tries again what failed" if found.failed else "")
    if seconds is None:
        return "unknown: no job of this suite was measured yet"
    if found.running:
        return f"about {rounded(seconds)} left at the rate of the last jobs"
    return f"about {rounded(seconds)} left; no run is active"


def _disk(found: Progress) -> str:
    from prunebench.cli.shared.progress import bytes_of

    total = sum(size.bytes for size in found.disk.values())
    parts = [f"{bytes_of(size.bytes)} {kind}" for kind, size in found.disk.items() if size.bytes]
    return f"{bytes_of(total)} in the store{': ' if parts else ''}{', '.join(parts)}"


def _print_running(found: Progress) -> None:
    for title, marks in (("running", found.running), ("killed; the next run continues them", found.dead)):
        if marks:
            output.say(f"\n{title}")
        for mark in marks:
            _print_below(f"{mark.trial}: {mark.stage}", 2)
            _print_below(_place(mark, title == "running"), 6)


def _place(mark: Running, alive: bool) -> str:
    now = time.time()
    span = f"for {rounded(now - mark.started)}" if alive else f"last seen {rounded(now - mark.updated)} ago"
    where = f"{mark.host}, process {mark.pid}, {span}"
    return f"{where}, at step {mark.step:,}" if mark.stop > mark.start else where


def _print_reasons(title: str, reasons: Mapping[str, str]) -> None:
    """Trials grouped by reason."""
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for trial, reason in reasons.items():
        grouped[reason].append(trial)
    if grouped:
        output.say(f"\n{title}")
    for reason, trials in grouped.items():
        more = f" and {len(trials) - 1:,} more" if len(trials) > 1 else ""
        _print_below(f"{trials[0]}{more}: {reason}", 2)


def _print_below(text: str, indent: int) -> None:
    output.show(Padding(output.text(text), (0, 0, 0, indent)))
