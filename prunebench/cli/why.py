"""`prunebench why`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prunebench.cli.shared import options, output, suite_argument

if TYPE_CHECKING:
    from prunebench.execution.explain import Change, Reason


@click.command()
@suite_argument.suite
@click.argument("trial")
@options.suite_options("store", "data", "json")
def command(
    suite: Path,
    trial: str,
    chosen: options.SuiteOptions,
    as_json: bool,
) -> None:
    """Explain why a trial runs again.

    TRIAL is a name as a run prints it: task/method/sparsity/seed. It is compared with earlier results of this name. The
    output names the parameter, version, source file or data that changed; or says that the trial failed, is damaged, is
    running, or never ran.
    """
    from prunebench import session
    from prunebench.execution.explain import Reason, trial_named, why
    from prunebench.plan.planning import UNKNOWN_DATA
    from prunebench.store.entries import Store

    loaded = chosen.load(suite)
    prepared = session.prepared_already(loaded, chosen.data, chosen.store)
    plan = session.plan_suite(loaded, prepared)
    planned = trial_named(plan, trial)
    label, store = planned.trial.task.label, Store(chosen.store.resolve())
    failure = session.data_failures(loaded, prepared, store).get(label)
    if failure is not None and planned.chain:
        reason = Reason("without-data", str(failure["reason"]), since=float(failure["time"]))
    else:
        reason = why(planned, plan, store, prepared[label].fingerprint if label in prepared else UNKNOWN_DATA)
    if as_json:
        output.show_json({"trial": trial, **asdict(reason)})
        return
    output.say(f"{trial}: {HEADLINES[reason.kind]}\n")
    output.show(output.grid(_lines(reason)))


HEADLINES = {
    "stored": "in the store; a run reuses it",
    "skipped": "skipped in every run",
    "broken": "fails in every run",
    "running": "running now",
    "failed": "failed; --retry-failed runs it again",
    "without-data": "failed: its data could not be read; each run tries again",
    "damaged": "its entry is damaged; a run computes it again",
    "changed": "not in the store: something changed",
    "unfinished": "not in the store: started, and not finished",
    "unread": "unknown: its data was not read here",
    "never": "not in the store: never run",
}


def _lines(reason: Reason) -> list[tuple[str, str]]:
    lines = [("entry" if reason.kind == "stored" else "why", reason.text)]
    if reason.since:
        lines.append(("since", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(reason.since))))
    lines += [("changed" if not place else "", _changed(change)) for place, change in enumerate(reason.changes)]
    if missing := reason.missing:
        lines.append(("missing", f"{missing.stage}: stage {missing.place} of {missing.stages}, and all after it"))
        lines.append(("to run", f"{missing.jobs} jobs, {missing.steps:,} optimizer steps"))
    return lines


def _changed(change: Change) -> str:
    from prunebench.execution.key_inputs import CORE, DATA, FILE, SOURCE

    if change.name == DATA:
        return f"the data: {change.before[:8]} → {change.after[:8]}"
    for mark in (SOURCE, FILE):
        if mark in change.name:
            kind, _, file = change.name.partition(mark)
            return f"the code of the {kind}, {file}{_presence(change)}"
    if change.name.startswith(CORE):
        return f"the code of the core, {change.name}{_presence(change)}"
    return f"{change.name}: {change.before} → {change.after}"


def _presence(change: Change) -> str:
    """Whether a file was added or removed."""
    from prunebench.execution.explain import NOT_SET

    if change.before == NOT_SET:
        return " (new)"
    return " (gone)" if change.after == NOT_SET else ""
