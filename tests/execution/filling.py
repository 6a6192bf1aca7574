"""Stores that are filled in this process: with entries that only look like those of a run, or with real ones."""

import hashlib
import json

import pytest
import torch

from prunebench import session
from prunebench.data.prepared import prepare
from prunebench.execution import worker
from prunebench.execution.key_inputs import inputs_of
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.plan.jobs import missing_jobs
from prunebench.plan.planning import make_plan
from prunebench.store.entries import Store
from tests import runs

PRINT = "f" * 32


def opened(folder):
    return Store.open(folder / "store")


def loaded(folder, *settings, **options):
    return session.load_suite(runs.write_suite(folder), settings=settings, **options)


def planned(suite, fingerprint=PRINT):
    """The plan of a suite for data of this fingerprint."""
    return make_plan(suite.trials, {trial.task.label: fingerprint for trial in suite.trials})


def fill(store, plan, names=None, *, fingerprint=PRINT, began=1000.0, seconds=2.0):
    """Write the entries that a run of some trials leaves, one after the other; gives their keys in that order."""
    ends = [one.key for one in plan.trials if one.chain and (names is None or str(one.trial) in names)]
    jobs = missing_jobs(plan, store.has, ends)
    made = []
    while jobs:
        key = next(key for key, job in jobs.items() if not job.needs & jobs.keys())
        del jobs[key]
        node = plan.nodes[key]
        record = {
            "stage": node.summary,
            "trial": str(node.trial),
            "parent": node.parent,
            "inputs": inputs_of(node.trial, fingerprint),
            "started": began + seconds * len(made),
            "finished": began + seconds * (len(made) + 1),
        }
        store.write(key, record, {"weights": {"w": torch.zeros(8)}})
        made.append(key)
    return made


def fill_old(store, suite):
    """Write what a run left when keys held the hash of the source, and records no version; gives the keys."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("prunebench.plan.planning.PROTOCOL_VERSION", "the hash of a source")
        keys = fill(store, planned(suite))
    for key in keys:
        path = store.folder(key) / "record.json"
        record = json.loads(path.read_text("utf-8"))
        for name in ("protocol", "checksum"):
            del record[name]
        record["inputs"] = _before_versions(record["inputs"])
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        path.write_text(
            json.dumps({**record, "checksum": hashlib.sha256(text.encode()).hexdigest()}, indent=1), "utf-8"
        )
    return keys


def _before_versions(inputs):
    """Inputs as they were written: each file a source, and the core's with other hashes than they have today."""
    named = {name.replace(" file ", " source "): value for name, value in inputs.items() if "version" not in name}
    return {name: "before" if name.startswith("prunebench/") else value for name, value in named.items()}


def perform(suite, store):
    """Do the work of a suite in this process; gives its plan."""
    prepared = {one.task.label: prepare(one.task.dataset, None, store.data) for one in suite.trials}
    plan = session.plan_suite(suite, prepared)
    scheduler = Scheduler(plan, store, suite.registry, TaskData(prepared), SchedulerOptions(plugins=suite.files))
    jobs = missing_jobs(plan, store.has, [one.key for one in plan.trials if one.chain])
    while jobs:
        key = next(key for key, job in jobs.items() if not job.needs & jobs.keys())
        worker.run_job(scheduler.spec_of(jobs.pop(key)))
        assert store.has(key)
    return plan


def trial(plan, name):
    return next(one for one in plan.trials if str(one.trial) == name)
