"""A crew that works in this very process, and can be told how its workers end."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

import prunebench
from prunebench import session
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.store.entries import Store
from tests import runs

TEXT = runs.SUITE.split("methods:")[0].replace("epochs: 2", "epochs: 1")
TEXT += "methods: [random, {name: magnitude, finetune: 1ep}]\nsparsities: [0.5]\nseeds: 1\n"


class Inline(prunebench.Executor):
    """Works in this process, one order after the other, in the order in which they were submitted."""

    name = "inline"
    story: Callable[[prunebench.JobSpec, int], int | str | None] = lambda order, times: None
    """Given an order and how often it was submitted: its exit code, `hangs`, `waits`, or None for doing the work."""
    slots: int = 1

    def open(self, site):
        return Hands(self.story, self.slots)


class Hands(prunebench.WorkerPool):
    def __init__(self, story, slots):
        self.story, self.slots = story, slots
        self.given, self.fates = {}, {}
        self.times, self.cancelled, self.closed = Counter(), [], False
        self.order_of_keys, self.waits = [], 0

    @property
    def free(self):
        return self.slots - len(self.given)

    def submit(self, order):
        assert self.free
        assert order.key not in self.given
        self.times[order.key] += 1
        self.order_of_keys.append(order.key)
        self.given[order.key] = order
        self.fates[order.key] = self.story(order, self.times[order.key])

    def begun(self, key):
        return self.fates[key] != "waits"

    def wait(self, timeout):
        self.waits += 1
        for key, order in list(self.given.items()):
            fate = self.fates[key]
            if fate in ("hangs", "waits"):
                continue
            del self.given[key]
            if isinstance(fate, prunebench.JobResult):
                return [fate]
            return [prunebench.JobResult(key, prunebench.run_job(order) if fate is None else fate)]
        assert timeout is not None, "nothing would ever end"
        time.sleep(timeout)
        return []

    def cancel(self, key):
        self.cancelled.append(key)
        del self.given[key]

    def shutdown(self):
        self.closed = True


@pytest.fixture(scope="session")
def loaded(tmp_path_factory):
    """A suite of three trials: dense, random, and magnitude after the dense training."""
    return session.load_suite(runs.write_suite(tmp_path_factory.mktemp("suite"), TEXT))


@pytest.fixture
def scheduler_of(loaded, tmp_path):
    """Makes a scheduler of that suite whose workers end as a story says; `scheduler.pool` is set when it starts."""

    def make(story=lambda order, times: None, slots=1, store="store", **options):
        opened = Store.open(tmp_path / store)
        prepared = {trial.task.label: prepare(trial.task.dataset, None, opened.data) for trial in loaded.trials}
        executor = Inline(story=story, slots=slots)
        scheduler = Scheduler(
            session.plan_suite(loaded, prepared),
            opened,
            loaded.registry,
            TaskData(prepared),
            SchedulerOptions(executor=executor, **options),
        )
        keep = executor.open
        object.__setattr__(executor, "open", lambda site: vars(scheduler).setdefault("pool", keep(site)))
        return scheduler

    return make


@pytest.fixture
def key_of(loaded, scheduler_of):
    """The key of a method's trial."""
    keys = {planned.trial.entry.label: planned.key for planned in scheduler_of(store="keys").plan.trials}
    return keys.get
