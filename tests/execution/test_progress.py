"""How far a suite is, told from its store."""

import json
import os

import pytest

from prunebench.execution.progress import _covered, progress
from prunebench.store import locks as claims
from tests.execution import filling


@pytest.fixture
def plan(tmp_path):
    return filling.planned(filling.loaded(tmp_path, "seeds=1"))


@pytest.fixture
def store(tmp_path):
    return filling.opened(tmp_path)


def work(trial="tiny/imp/0.7/0", start=0, stop=30):
    return claims.Work(trial=trial, stage="train", start=start, stop=stop)


def files(store):
    return {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}


def test_before_a_run_everything_is_left(plan, store):
    found = progress(plan, store)
    assert (found.trials, found.done, found.left) == (9, 0, 9)
    assert (found.running, found.failed, found.steps_left) == ((), {}, found.steps)
    assert found.seconds_left is None


def test_after_a_run_nothing_is_left(plan, store):
    filling.fill(store, plan)
    found = progress(plan, store)
    assert (found.done, found.left, found.waiting, found.steps_left, found.seconds_left) == (9, 0, 0, 0, 0.0)


def test_the_time_left_is_that_of_the_steps_left_at_the_pace_of_the_last_jobs(plan, store):
    made = filling.fill(store, plan, {"tiny/dense/0/0", "tiny/random/0.5/0"}, seconds=2.0)
    trainings = [key for key in made if plan.nodes[key].steps]
    done = sum(plan.nodes[key].steps for key in trainings)
    found = progress(plan, store)
    assert found.pace.rate == pytest.approx(done / (2.0 * len(trainings)))
    assert found.steps_left == found.steps - done
    assert found.seconds_left == pytest.approx(found.steps_left / found.pace.rate)


def test_times_without_work_do_not_count_and_parallel_ones_count_once():
    assert _covered([(0, 10), (5, 12), (6, 7), (1000, 1001)]) == 13
    assert _covered([]) == 0


def test_a_failure_takes_along_what_needs_it(plan, store):
    end = filling.trial(plan, "tiny/imp/0.5/0").key
    store.write_failure(end, {"reason": "no luck", "time": 1.0})
    found = progress(plan, store)
    assert found.failed["tiny/imp/0.5/0"] == "no luck"
    assert "tiny/random/0.5/0" not in found.failed
    root = next(key for key in plan.nodes if plan.nodes[key].steps)
    store.write_failure(root, {"reason": "worse", "time": 1.0})
    assert set(progress(plan, store).failed) == {str(one.trial) for one in plan.trials if root in _along(plan, one)}


def _along(plan, planned):
    found, key = set(), planned.key
    while key is not None:
        found.add(key)
        key = plan.nodes[key].parent
    return found


def test_a_job_under_way_is_shown_with_its_place_and_its_steps_count(plan, store):
    before = progress(plan, store)
    key = filling.trial(plan, "tiny/dense/0/0").key
    with claims.lock(store, key, work(start=3, stop=30)) as lock:
        lock._running = claims.replace(lock._running, step=13)
        lock._write()
        found = progress(plan, store)
        store.write_failure(key, {"reason": "before", "time": 1.0})
        assert progress(plan, store).failed == {}  # it is being tried again
    [mark] = found.running
    assert (mark.pid, mark.step) == (os.getpid(), 13)
    assert found.steps_left == before.steps_left - 10
    assert found.waiting == before.waiting - 1


def test_what_other_suites_run_in_the_store_is_counted_apart(plan, store):
    with claims.lock(store, "b" * 32, work()):
        found = progress(plan, store)
    assert (found.running, found.others) == ((), 1)


def test_a_mark_without_a_living_process_is_dead(plan, store):
    key = filling.trial(plan, "tiny/dense/0/0").key
    with claims.lock(store, key, work("tiny/dense/0/0")):
        note = (store.root / "running" / f"{key}.json").read_text()
    (store.root / "running" / f"{key}.json").write_text(note)
    found = progress(plan, store)
    assert found.running == ()
    assert [mark.trial for mark in found.dead] == ["tiny/dense/0/0"]
    assert found.waiting == progress(plan, filling.Store(store.root / "none")).waiting


def test_looking_changes_nothing(plan, store):
    filling.fill(store, plan, {"tiny/dense/0/0"})
    before = files(store)
    progress(plan, store)
    assert files(store) == before


def test_it_goes_into_json(plan, store):
    filling.fill(store, plan, {"tiny/dense/0/0"})
    plain = json.loads(json.dumps(progress(plan, store).as_json()))
    assert (plain["trials"], plain["done"], plain["left"]) == (9, 1, 8)
    assert plain["disk"]["states"]["entries"] == 3  # the beginning, the step that tickets go back to, the end
    assert plain["steps_a_second"] > 0
