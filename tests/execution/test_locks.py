"""One process at a time has a job; whoever asks sees the living only."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from filelock import FileLock

from prunebench.api.errors import StoreError
from prunebench.store import locks as claims
from prunebench.store.entries import Store
from prunebench.store.locks import Work, lock, running

KEY, OTHER = "ab" + "0" * 30, "cd" + "0" * 30
WORK = Work(trial="tiny/imp/0.5/0", stage="Train()", start=3, stop=20)
HOLDER = f"""
import sys, time
from pathlib import Path
from prunebench.store.locks import Work, lock
from prunebench.store.entries import Store
held = lock(Store(Path(sys.argv[1])), {KEY!r}, Work("tiny/imp/0.5/0", "Train()", 3, 20))
print("held" if held else "busy", flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def holder(store):
    """Another process that has the job."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, store.root], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def files(store):
    return sorted(path.name for path in (store.root / "running").iterdir())


def test_a_claim_says_who_does_what_since_when(store):
    before = time.time()
    with lock(store, KEY, WORK):
        (note,) = running(store)
    assert (note.key, note.trial, note.stage) == (KEY, "tiny/imp/0.5/0", "Train()")
    assert (note.step, note.start, note.stop) == (3, 3, 20)
    assert (note.host, note.pid) == (socket.gethostname(), os.getpid())
    assert before <= note.started == note.updated <= time.time()


def test_a_claim_that_was_let_go_leaves_nothing(store):
    with lock(store, KEY, WORK):
        assert files(store) == [f"{KEY}.json", f"{KEY}.lock"]
    assert files(store) == []
    assert running(store) == []


def test_a_claim_lets_go_when_the_work_fails(store):
    with pytest.raises(ValueError, match="no luck"), lock(store, KEY, WORK):
        raise ValueError("no luck")
    assert lock(store, KEY, WORK) is not None


def test_a_job_is_had_by_one_at_a_time(store):
    other = "cd" + "0" * 30
    with lock(store, KEY, WORK):
        assert lock(store, KEY, WORK) is None
        with lock(store, other, WORK):
            assert {note.key for note in running(store)} == {KEY, other}
    with lock(store, KEY, WORK) as again:
        assert again is not None


def test_a_job_that_another_process_has_is_not_to_be_had(store, holder):
    assert lock(store, KEY, WORK) is None
    (note,) = running(store)
    assert note.pid == holder.pid


def test_whoever_waited_for_a_lock_whose_file_is_gone_does_not_have_it(store):
    held = lock(store, KEY, WORK)
    late = os.open(store.root / "running" / f"{KEY}.lock", os.O_RDWR)  # opened, not locked yet
    held.release()
    with lock(store, KEY, WORK):
        assert lock(store, KEY, WORK) is None
    os.close(late)


def test_nobody_waits_for_a_dead_one(store, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    left = files(store)
    assert left == [f"{KEY}.json", f"{KEY}.lock"]
    assert running(store) == []
    assert files(store) == left
    with lock(store, KEY, WORK):
        assert [note.pid for note in running(store)] == [os.getpid()]
    assert files(store) == []


def test_a_claim_that_ends_while_somebody_asks_leaves_nothing(store, monkeypatch):
    held = lock(store, KEY, WORK)

    class Late(FileLock):
        def acquire(self, *arguments, **options):
            held.release()
            return super().acquire(*arguments, **options)

    monkeypatch.setattr(claims, "_lock", lambda store, key: Late(store.root / "running" / f"{key}.lock"))
    assert running(store) == []
    assert files(store) == []


def test_what_a_process_left_that_was_killed_after_its_job_is_swept(store, holder):
    begun = store.root / "running" / f"{OTHER}.host.7"  # killed in the middle of its first note
    begun.touch()
    begun.with_name(f"{OTHER}.lock").touch()
    claims.sweep(store)
    assert files(store) == [f"{KEY}.json", f"{KEY}.lock"]
    assert len(running(store)) == 1
    holder.kill()
    holder.wait()
    claims.sweep(store)
    assert [note.pid for note in claims.abandoned(store)] == [holder.pid]
    store.write(KEY, {}, {})
    claims.sweep(store)
    assert files(store) == []


def test_whoever_asks_takes_nothing_away(store, holder):
    for _ in range(20):
        assert len(running(store)) == 1
    assert lock(store, KEY, WORK) is None
    holder.kill()
    holder.wait()
    held = lock(store, KEY, WORK)
    for _ in range(20):
        assert [note.pid for note in running(store)] == [os.getpid()]
    held.release()


def test_somebody_who_is_asking_is_no_owner(store):
    file_lock = claims._lock(store, KEY)
    with lock(store, KEY, WORK):
        pass
    file_lock.acquire()
    process = subprocess.Popen([sys.executable, "-c", HOLDER, store.root], stdout=subprocess.PIPE, text=True)
    try:
        # Held for longer than a question takes: busy. It has been let go of for the one that asks next.
        assert process.stdout.readline() == "busy\n"
    finally:
        process.kill()
        process.communicate()
        file_lock.release()


def test_progress_is_noted_about_once_a_second(store, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(claims.time, "time", lambda: clock[0])
    with lock(store, KEY, WORK) as held:
        seen = []
        for step in range(4, 14):
            clock[0] += 0.25
            held.reached(step)
            seen.append(running(store)[0].step)
        assert running(store)[0].updated == 1002.0
    assert seen == [3, 3, 3, 7, 7, 7, 7, 11, 11, 11]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"key": 1}'])
def test_what_is_no_note_is_nobody(store, content):
    (store.root / "running").mkdir(exist_ok=True)
    with lock(store, KEY, WORK):
        (store.root / "running" / f"{KEY}.json").write_text(content)
        assert running(store) == []


def test_a_note_under_another_ones_key_is_nobody(store):
    other = "cd" + "0" * 30
    with lock(store, KEY, WORK), lock(store, other, WORK):
        (note,) = (note for note in running(store) if note.key == KEY)
        (store.root / "running" / f"{other}.json").write_text(json.dumps(asdict(note)))
        assert [note.key for note in running(store)] == [KEY]


def test_a_store_without_anybody_at_work_has_nobody(tmp_path):
    assert running(Store(tmp_path / "none")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_lock_belongs_is_removed_and_holds_nothing(store):
    (store.root / "running").mkdir(exist_ok=True)
    (store.root / "running" / f"{KEY}.lock").mkdir()
    (store.root / "running" / f"{KEY}.json").mkdir()
    assert running(store) == []
    with lock(store, KEY, WORK):
        assert [one.key for one in running(store)] == [KEY]


def test_a_store_that_cannot_be_written_is_an_error(store):
    (store.root / "running").rmdir()
    (store.root / "running").touch()
    with pytest.raises(StoreError, match=f"cannot write .*{KEY}.lock"):
        lock(store, KEY, WORK)
