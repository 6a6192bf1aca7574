"""What the end of a worker means: each exit code, being killed, taking too long, and running out of time."""

import itertools
import logging
import time

import pytest

import prunebench
from prunebench.api.errors import StoreError
from prunebench.api.executors import ExitCode
from prunebench.execution.estimates import seconds_of
from prunebench.execution.running_jobs import ATTEMPTS
from prunebench.execution.scheduler import LOSSES
from prunebench.plan.jobs import missing_jobs
from tests import runs


def statuses(events):
    return {event.planned.trial.entry.label: event.result.status for event in events}


ALL_DONE = {"dense": "done", "random": "done", "magnitude": "done"}


@pytest.fixture
def whole(scheduler_of, tmp_path):
    """The states of a scheduler in which nothing happens."""
    assert statuses(scheduler_of(store="whole").events()) == ALL_DONE
    return runs.states(tmp_path / "whole")


def test_a_store_that_is_full_stops_the_run_at_once_with_what_the_worker_said(scheduler_of, key_of, tmp_path):
    def story(order, times):
        if order.key != key_of("random"):
            return None
        order.log.write_text("starting\ncannot write abc: No space left on device\n\n", "utf-8")
        return ExitCode.STORE_FULL

    scheduler = scheduler_of(story)
    with pytest.raises(StoreError, match=r"^cannot write abc: No space left on device$"):
        list(scheduler.events())
    assert scheduler.pool.closed
    assert not list((tmp_path / "store" / "failures").iterdir())
    assert statuses(scheduler_of().events()) == ALL_DONE


def test_a_disk_without_room_for_the_log_is_told_too(scheduler_of, tmp_path):
    with pytest.raises(StoreError, match=r"cannot write to the store .*store: make room, and the same command goes on"):
        list(scheduler_of(lambda order, times: ExitCode.STORE_FULL).events())


def test_what_a_job_needs_is_made_again_when_it_was_lost(scheduler_of, key_of, whole, caplog):
    def story(order, times):
        if order.key == key_of("magnitude") and times == 1:
            scheduler.store.discard(order.parent)
            return ExitCode.INPUT_MISSING
        return None

    scheduler = scheduler_of(story)
    events = list(scheduler.events())
    assert statuses(events) == ALL_DONE
    assert len(events) == 3
    assert scheduler.pool.times[key_of("dense")] == 2
    assert runs.states(scheduler.store.root) == whole
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == "tiny/magnitude/0.5/0: an entry that it needs was missing or damaged; it is computed again"


def test_a_running_job_is_not_started_twice_when_another_loses_its_entry(scheduler_of, key_of, whole):
    def story(order, times):
        if order.key == key_of("magnitude") and times == 1:
            scheduler.store.discard(order.parent)
            return ExitCode.INPUT_MISSING
        return None

    scheduler = scheduler_of(story, slots=3)  # Hands.submit asserts that no key is there twice
    assert statuses(scheduler.events()) == ALL_DONE
    assert runs.states(scheduler.store.root) == whole


def test_a_disk_that_loses_everything_ends_in_a_failed_row(scheduler_of, key_of):
    scheduler = scheduler_of(lambda order, times: ExitCode.INPUT_MISSING if order.key == key_of("magnitude") else None)
    events = list(scheduler.events())
    assert statuses(events) == {**ALL_DONE, "magnitude": "failed"}
    assert scheduler.pool.times[key_of("magnitude")] == LOSSES + 1
    [failed] = [event.result.reason for event in events if event.result.status == "failed"]
    assert f"missing or damaged {LOSSES} times" in failed


def test_an_entry_that_is_damaged_before_it_is_read_is_made_again(scheduler_of, key_of, whole, caplog):
    def story(order, times):
        if order.key == key_of("random") and times == 1:
            assert prunebench.run_job(order) == ExitCode.DONE
            record = scheduler.store.folder(order.key) / "record.json"
            record.write_text(record.read_text("utf-8").replace("step", "stop", 1), "utf-8")
            return ExitCode.DONE
        return None

    scheduler = scheduler_of(story)
    assert statuses(scheduler.events()) == ALL_DONE
    assert scheduler.pool.times[key_of("random")] == 2
    assert runs.states(scheduler.store.root) == whole
    assert "checksum" in caplog.text


def test_a_job_of_another_run_is_looked_at_again_after_the_others(scheduler_of, key_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.scheduler.POLL_INTERVAL", 0.05)
    scheduler = scheduler_of(
        lambda order, times: ExitCode.LOCKED if order.key == key_of("random") and times < 3 else None
    )
    assert statuses(scheduler.events()) == ALL_DONE
    assert scheduler.pool.times[key_of("random")] == 3
    assert scheduler.pool.times[key_of("dense")] == 1


def test_what_another_run_has_made_meanwhile_is_not_made_again(scheduler_of, key_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.scheduler.POLL_INTERVAL", 0.05)

    def story(order, times):
        if order.key != key_of("random"):
            return None
        assert prunebench.run_job(order) == ExitCode.DONE  # as the other run
        return ExitCode.LOCKED

    scheduler = scheduler_of(story)
    events = list(scheduler.events())
    assert statuses(events) == ALL_DONE
    assert len(events) == 3
    assert scheduler.pool.times[key_of("random")] == 1


def test_a_job_of_another_run_that_is_due_while_all_work_is_no_busy_loop(scheduler_of, key_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.scheduler.POLL_INTERVAL", 0.05)
    fates = {key_of("dense"): ExitCode.LOCKED, key_of("random"): "hangs"}
    scheduler = scheduler_of(lambda order, times: fates.pop(order.key, None), timeout=0.5)
    assert statuses(scheduler.events()) == {**ALL_DONE, "random": "failed"}
    assert 5 < scheduler.pool.waits < 30  # about ten looks at what the other run has made


def test_being_busy_is_never_held_against_a_job(scheduler_of, key_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.scheduler.POLL_INTERVAL", 0.01)
    scheduler = scheduler_of(lambda order, times: ExitCode.LOCKED if times <= 2 * ATTEMPTS + LOSSES else None)
    assert statuses(scheduler.events()) == ALL_DONE


@pytest.mark.parametrize("kills", range(1, ATTEMPTS + 1))
def test_a_killed_worker_is_tried_again_up_to_three_times(scheduler_of, key_of, kills):
    def story(order, times):
        lost = order.key == key_of("random") and times <= kills
        return prunebench.JobResult(order.key, -9, "the loss of node 7") if lost else None

    scheduler = scheduler_of(story)
    events = list(scheduler.events())
    failed = [event.result.reason for event in events if event.result.status == "failed"]
    if kills < ATTEMPTS:
        assert failed == []
        assert scheduler.pool.times[key_of("random")] == kills + 1
    else:
        assert failed == ["its worker was killed by the loss of node 7 3 times (out of memory?)"]
        assert scheduler.store.failure(key_of("random")) is None


@pytest.mark.parametrize("times_cramped", range(1, ATTEMPTS + 1))
def test_a_job_without_gpu_memory_is_tried_again_later(scheduler_of, key_of, monkeypatch, times_cramped):
    monkeypatch.setattr("prunebench.execution.running_jobs.MEMORY_PAUSE", 0.2)
    tried = []

    def story(order, times):
        if order.key != key_of("random") or times > times_cramped:
            return None
        tried.append(time.monotonic())
        order.log.write_text("Traceback\nCUDA out of memory. Tried to allocate 20.00 MiB.\n", "utf-8")
        return ExitCode.OUT_OF_MEMORY

    scheduler = scheduler_of(story)
    failed = [event.result.reason for event in scheduler.events() if event.result.status == "failed"]
    if times_cramped < ATTEMPTS:
        assert failed == []
    else:
        assert failed == ["the GPU's memory did not suffice, 3 times: CUDA out of memory. Tried to allocate 20.00 MiB."]
        assert scheduler.store.failure(key_of("random")) is None  # a later run may have more
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(tried))


def test_an_executor_that_only_says_done_is_not_believed(scheduler_of):
    events = list(scheduler_of(lambda order, times: ExitCode.DONE).events())
    assert {event.result.status for event in events} == {"failed"}
    assert "the store has no state of it" in events[0].result.reason


def test_an_unknown_exit_code_is_a_failure_that_names_it(scheduler_of, key_of):
    events = list(scheduler_of(lambda order, times: 42 if order.key == key_of("random") else None).events())
    assert [e.result.reason for e in events if e.result.status == "failed"] == ["its worker stopped with exit code 42"]


def test_a_job_that_takes_too_long_is_killed_and_fails_alone(scheduler_of, key_of):
    scheduler = scheduler_of(
        lambda order, times: "hangs" if order.key == key_of("random") else None, slots=2, timeout=0.3
    )
    events = list(scheduler.events())
    assert statuses(events) == {**ALL_DONE, "random": "failed"}
    assert scheduler.pool.cancelled == [key_of("random")]
    [failed] = [event.result.reason for event in events if event.result.status == "failed"]
    assert failed == "took longer than --timeout 0.3s"
    again = scheduler_of()
    [failed] = [event.result.reason for event in again.events() if event.result.status == "failed"]
    assert failed == "took longer than --timeout 0.3s (failed before; --retry-failed tries again)"
    assert statuses(scheduler_of(retry_failed=True).events()) == ALL_DONE


def test_all_that_waits_for_a_job_that_took_too_long_fails_with_it(scheduler_of, key_of):
    scheduler = scheduler_of(
        lambda order, times: "hangs" if order.key == key_of("dense") else None, slots=2, timeout=0.3
    )
    assert statuses(scheduler.events()) == {"dense": "failed", "magnitude": "failed", "random": "done"}


def test_the_time_that_an_order_waits_for_its_turn_does_not_count(scheduler_of, key_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.scheduler.POLL_INTERVAL", 0.2)
    begun = []

    def story(order, times):
        return "waits" if order.key == key_of("random") else None

    scheduler = scheduler_of(story, slots=2, timeout=0.5)
    events = scheduler.events()
    started = time.monotonic()
    for event in events:
        if event.planned.trial.entry.label == "magnitude":
            while time.monotonic() - started < 1.5:  # longer than the limit
                time.sleep(0.1)
            assert scheduler.pool.cancelled == []
            scheduler.pool.fates[key_of("random")] = "hangs"
            begun.append(time.monotonic())
    assert scheduler.pool.cancelled == [key_of("random")]
    assert time.monotonic() - begun[0] >= 0.5


def test_nothing_begins_when_the_time_is_up(scheduler_of):
    scheduler = scheduler_of(deadline=time.monotonic() - 1)
    assert list(scheduler.events()) == []
    assert len(scheduler.open_trials) == 3
    assert scheduler.pool.times == {}


def test_nothing_begins_that_would_not_end_in_time(scheduler_of, key_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.estimates.SECONDS_A_STEP", {"cpu": 1.0})  # ten steps of each training
    scheduler = scheduler_of(deadline=time.monotonic() + 12)
    scheduler.budget.deadline -= 4
    begun = time.monotonic()
    assert list(scheduler.events()) == []
    assert time.monotonic() - begun < 5
    assert {key_of(label) for label in ALL_DONE}.isdisjoint(scheduler.pool.times)  # initializing takes no time
    assert scheduler.outlook.startswith("the shortest job that is left takes about 10 s (a guess")


@pytest.mark.parametrize(("every", "gets_on"), [(60.0, True), (0.0, False)])
def test_what_no_such_budget_could_end_gets_on_by_its_checkpoints(scheduler_of, key_of, monkeypatch, every, gets_on):
    monkeypatch.setattr("prunebench.execution.estimates.SECONDS_A_STEP", {"cpu": 1000.0})
    hangs = lambda order, times: "hangs" if order.key == key_of("dense") else None  # noqa: E731
    scheduler = scheduler_of(hangs, slots=3, deadline=time.monotonic() + 5, checkpoint_every=every)
    assert statuses(scheduler.events()) == ({"random": "done"} if gets_on else {})
    assert (key_of("dense") in scheduler.pool.times) is gets_on
    assert scheduler.store.failure(key_of("dense")) is None


def test_what_a_cpu_has_shown_says_nothing_of_a_gpu(scheduler_of):
    scheduler = scheduler_of()
    job = next(
        iter(
            missing_jobs(
                scheduler.plan, scheduler.store.has, (planned.key for planned in scheduler.plan.trials)
            ).values()
        )
    )
    guessed = [seconds_of(scheduler.plan, scheduler.store, device)[0](job) for device in ("cpu", "cuda")]
    list(scheduler.events())
    on_cpu, on_gpu = (seconds_of(scheduler.plan, scheduler.store, device) for device in ("cpu", "cuda"))
    assert (on_cpu[1], on_gpu[1].partition(":")[0]) == ("measured on 3 stages of the store", "a guess")
    assert on_gpu[0](job) == guessed[1] != guessed[0] != on_cpu[0](job)


def test_what_the_run_has_seen_goes_before_a_guess(scheduler_of, monkeypatch):
    monkeypatch.setattr("prunebench.execution.estimates.SECONDS_A_STEP", {"cpu": 1.0})
    scheduler = scheduler_of(deadline=time.monotonic() + 15)  # one training at a time by the guess, three as it is
    assert statuses(scheduler.events()) == ALL_DONE
    assert scheduler.open_trials == []
    assert scheduler.outlook == ""


def test_what_runs_is_stopped_when_the_time_is_up(scheduler_of, key_of):
    scheduler = scheduler_of(lambda order, times: "hangs" if order.key == key_of("random") else None, slots=2)
    scheduler.budget.deadline = time.monotonic() + 5
    scheduler.budget.estimate = lambda job: 0.0
    assert statuses(scheduler.events()) == {"dense": "done", "magnitude": "done"}
    assert scheduler.pool.closed
    assert [planned.trial.entry.label for planned in scheduler.open_trials] == ["random"]
    assert scheduler.store.failure(key_of("random")) is None
    assert statuses(scheduler_of().events()) == ALL_DONE
