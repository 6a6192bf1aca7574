"""Trials are runs below the run of their suite, of which there is one; and each names its data set and its time."""

import json
import threading

import pytest

from prunebench.tracking import read_results
from prunebench.tracking.records import BELOW, PARENT
from prunebench.tracking.tracker import Tracker


@pytest.fixture
def parents(client, suite):
    """The runs of this test's suite that others are below."""

    def found():
        experiment = client.get_experiment_by_name(f"prunebench/{suite}")
        return [run for run in client.search_runs([experiment.experiment_id]) if PARENT in run.data.tags]

    return found


def below(run):
    return run.data.tags[BELOW]


def test_the_trials_of_a_suite_are_below_one_finished_run(tracker, uri, suite, done, runs, parents):
    for seed in range(2):
        tracker.publish(done(trial=f"t{seed}", seed=seed))
    Tracker(uri).publish(done(trial="t2", seed=2))
    [parent] = parents()
    assert (parent.info.run_name, parent.info.status) == (suite, "FINISHED")
    assert [below(run) for run in runs()] == [parent.info.run_id] * 3


def test_the_run_of_a_suite_is_no_result(tracker, uri, suite, done):
    tracker.publish(done())
    assert len(read_results(uri, suite)) == 1
    assert len(tracker.published(suite)) == 1


def test_publishing_again_writes_no_second_parent_and_leaves_the_first_as_it_is(tracker, uri, suite, done, parents):
    tracker.publish(done())
    [before] = parents()
    again = Tracker(uri)
    again.published(suite)
    again.publish(done())
    [after] = parents()
    assert (after.info.run_id, after.info.end_time) == (before.info.run_id, before.info.end_time)


def test_a_parent_that_was_left_half_way_is_completed(tracker, uri, suite, done, parents, monkeypatch):
    class KilledError(BaseException):
        pass

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, "set_terminated", killed)
        with pytest.raises(KilledError):
            tracker.publish(done())
    [left] = parents()
    assert left.info.status == "RUNNING"
    Tracker(uri).publish(done())
    [found] = parents()
    assert (found.info.run_id, found.info.status) == (left.info.run_id, "FINISHED")


def test_of_two_parents_the_oldest_stays_and_takes_over_the_trials(tracker, uri, client, suite, done, runs, parents):
    tracker.publish(done(trial="t0"))
    [parent] = parents()
    start, tags = parent.info.start_time, {PARENT: "true", "prunebench.suite": suite}
    older = client.create_run(parent.info.experiment_id, start - 1000, tags, suite).info.run_id
    Tracker(uri).publish(done(trial="t1", seed=1))
    assert [run.info.run_id for run in parents()] == [older]
    assert [below(run) for run in runs()] == [older] * 2


def test_those_who_begin_at_the_same_time_share_a_parent(uri, suite, done, runs, parents):
    start = threading.Barrier(4)

    def publish(seed):
        own = Tracker(uri)
        start.wait()
        own.publish(done(trial=f"t{seed}", seed=seed))

    threads = [threading.Thread(target=publish, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [parent] = parents()
    assert [below(run) for run in runs()] == [parent.info.run_id] * 4


def test_a_trial_names_its_data_set_by_the_fingerprint_of_its_content(tracker, done, runs):
    params = {"task.dataset.name": "scans", "task.dataset.length": 64}
    tracker.publish(done(params=params, provenance={"data": "0123456789abcdef" * 3}))
    [run] = runs()
    [found] = run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("scans", ("0123456789abcdef" * 3)[:36])
    assert json.loads(found.dataset.source) == params
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]


def test_a_trial_without_data_names_none(tracker, done, runs):
    tracker.publish(done(params={}, provenance={}))
    [run] = runs()
    assert run.inputs.dataset_inputs == []


def test_a_run_says_when_its_trial_ran_and_for_how_long(tracker, done, runs):
    tracker.publish(done(started=1_700_000_000.0, finished=1_700_000_750.0))
    [run] = runs()
    note = "done: from 2023-11-14 22:13:20 to 2023-11-14 22:25:50 UTC, 12 min"
    assert run.data.tags["mlflow.note.content"] == note
