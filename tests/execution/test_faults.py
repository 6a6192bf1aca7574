"""A worker in a world that breaks: kills, damage, full disks, rivals. What it leaves is whole, or not there."""

import dataclasses
import errno
import hashlib
import itertools
import json
import pickle
import shutil
import signal
import subprocess
import time

import pytest
import safetensors.torch
import torch

from prunebench import session
from prunebench.api.errors import CorruptEntry, StoreError
from prunebench.api.executors import ExitCode
from prunebench.execution.worker import run_job
from prunebench.store import entries as stores
from prunebench.store.entries import Store
from prunebench.store.locks import Work, lock, running
from tests import orders, runs

SUITE = runs.SUITE.replace("seeds: 2", "seeds: 1")
KILL = "import os, signal\ndie = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store in which one trial of the tiny suite was made without trouble, and its orders."""
    folder = tmp_path_factory.mktemp("whole")
    loaded = session.load_suite(runs.write_suite(folder, SUITE), only=["method=imp,sparsity=0.5"])
    store = Store.open(folder / "store")
    made = orders.orders_of(loaded, store)
    assert [run_job(order) for order in made] == [ExitCode.DONE] * len(made)
    return store, made


@pytest.fixture
def store(whole, tmp_path):
    """A copy of that store."""
    shutil.copytree(whole[0].root, tmp_path / "store")
    return Store.open(tmp_path / "store")


@pytest.fixture
def empty(tmp_path):
    return Store.open(tmp_path / "empty")


@pytest.fixture
def trained(whole, store):
    """The order of a training in the middle of the chain, in the copy, which lacks its entry."""
    order = orders.in_store(whole[1][3], store)
    store.discard(order.key)
    return order


@pytest.fixture
def child(tmp_path):
    """Starts a process that carries out an order."""
    numbers = itertools.count()
    return lambda order, hook="": orders.Child(order, hook, tmp_path / f"said-{next(numbers)}")


def same(store, whole):
    return runs.states(store.root) == runs.states(whole[0].root)


def leftovers(store):
    """Files that belong to nothing."""
    kept = {path for name in ("data", "logs") for path in (store.root / name).rglob("*")}
    hidden = [path for path in store.root.rglob(".*") if path not in kept]
    rest = [path for name in ("checkpoints", "running", "failures") for path in (store.root / name).iterdir()]
    return hidden + rest


def test_an_order_leaves_its_entry_and_nothing_else(trained, store, whole):
    assert run_job(trained) == ExitCode.DONE
    assert same(store, whole)
    assert leftovers(store) == []


def test_an_order_that_is_done_already_is_done_at_once(whole, store):
    order = orders.in_store(whole[1][3], store)
    before = (store.folder(order.key) / "record.json").stat()
    assert run_job(order) == ExitCode.DONE
    after = (store.folder(order.key) / "record.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_order_whose_entry_is_damaged_makes_it_again(whole, store, capsys):
    order = orders.in_store(whole[1][3], store)
    (store.folder(order.key) / "weights.safetensors").write_bytes(b"")
    assert run_job(order) == ExitCode.DONE
    assert same(store, whole)
    assert "made again: " in capsys.readouterr().out


# Rivals


def test_an_order_that_a_living_run_has_is_busy(trained, store, capsys):
    with lock(store, trained.key, Work("", "", 0, 1)):
        assert run_job(trained) == ExitCode.LOCKED
    assert f"another run is computing {trained.key}" in capsys.readouterr().out
    assert not store.has(trained.key)
    assert store.failure(trained.key) is None
    assert run_job(trained) == ExitCode.DONE


def test_of_two_processes_with_the_same_order_one_does_it(trained, store, whole, child):
    count = "from prunebench.execution import worker as w\nmake = w._compute\n"
    count += "w._compute = lambda *given: (print('made', flush=True), make(*given))"
    pair = [child(trained, count) for _ in range(2)]
    ends = [process.end() for process in pair]
    assert {code for code, _ in ends} <= {ExitCode.DONE, ExitCode.LOCKED}
    assert ExitCode.DONE in {code for code, _ in ends}
    assert "".join(said for _, said in ends).count("made") == 1
    assert same(store, whole)
    assert leftovers(store) == []


def test_a_work_under_way_is_told_with_its_steps(trained, store, child):
    wait = "import time\nfrom prunebench.execution import worker as w\nreach = w.Lock.reached\n"
    wait += "w.Lock.reached = lambda held, step: (time.sleep(0.3), reach(held, step))"
    process, seen = child(trained, wait), set()
    while not process.is_over():
        seen |= {(note.key, note.stop, note.step) for note in running(store)}
        time.sleep(0.1)
    assert {(key, stop) for key, stop, _ in seen} == {(trained.key, 20)}
    assert len({step for _, _, step in seen}) > 2
    assert running(store) == []


# Kills

MOMENTS = {
    "before the work": "from prunebench.execution import worker as w\nw._compute = die",
    "before the first byte": "from prunebench.store import entries as s\ns._write_through = die",
    "before the record": "from prunebench.store import entries as s\nwrite = s._write_through\n"
    "s._write_through = lambda path, content: die() if path.name == 'record.json' else write(path, content)",
    "before the rename": "from prunebench.store import entries as s\ns.Entries._publish = die",
    "after the rename": "from prunebench.store import entries as s\npublish = s.Entries._publish\n"
    "def then_die(*given):\n    publish(*given)\n    die()\ns.Entries._publish = then_die",
    "before the claim is let go": "from prunebench.store import locks as c\nc.Lock.release = die",
    "in a training": "from prunebench.store import checkpoints as c\n"
    "c.Checkpoints.wants = lambda keeper, step: step == 11 and die()",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_an_entry_that_is_whole_or_none(moment, trained, store, whole, child):
    code, _ = child(trained, KILL + MOMENTS[moment]).end()
    assert code == -signal.SIGKILL
    if store.has(trained.key):
        store.verified(trained.key)
    assert run_job(trained) == ExitCode.DONE
    assert same(store, whole)
    assert leftovers(store) == []


CHECKPOINTED = KILL + "from prunebench.store import checkpoints as c\nfrom prunebench.store import entries as s\n"
KEPT = "c.Checkpoints.wants = lambda keeper, step: step in (7, 11)\n"
BETWEEN = {
    "while the second is written": "write = s._write_through\ns._write_through = lambda path, content: "
    "die() if '11.' in str(path) else write(path, content)",
    "before the second is there": "put = s.Entries._publish\n"
    "s.Entries._publish = lambda entries, key, aside: die() if key.endswith('11') else put(entries, key, aside)",
    "before the first is taken away": "s.Entries.discard = die",
    "after the second": "keep = c.Checkpoints.keep\n"
    "c.Checkpoints.keep = lambda keeper, state: (keep(keeper, state), state.step == 11 and die())",
}


@pytest.mark.parametrize("moment", BETWEEN)
def test_a_kill_while_checkpoints_are_written_costs_one_at_most(moment, trained, store, whole, child, capsys):
    code, _ = child(trained, CHECKPOINTED + KEPT + BETWEEN[moment]).end()
    assert code == -signal.SIGKILL
    assert run_job(trained) == ExitCode.DONE
    step = 7 if moment in list(BETWEEN)[:2] else 11
    assert f"goes on from a checkpoint at step {step}" in capsys.readouterr().out
    assert same(store, whole)
    assert leftovers(store) == []


def test_a_worker_that_is_killed_at_any_moment_comes_to_the_same_end(trained, store, whole, child):
    order = dataclasses.replace(trained, checkpoint_every=1e-6)
    begun = time.monotonic()
    slow = "import time\nfrom prunebench.store import checkpoints as c\nwants = c.Checkpoints.wants\n"
    slow += "c.Checkpoints.wants = lambda keeper, step: time.sleep(0.05) or wants(keeper, step)"
    process = child(order, slow)
    while not list((store.root / "checkpoints").rglob("record.json")) and not process.is_over():
        time.sleep(0.01)
    start = time.monotonic() - begun
    process.kill()
    for part in range(6):
        process = child(order, slow)
        time.sleep(start * (0.7 + 0.1 * part))
        process.kill()
    assert run_job(order) == ExitCode.DONE
    assert same(store, whole)
    assert leftovers(store) == []


# Damage


@pytest.mark.parametrize("name", ["record.json", "weights.safetensors", "optimizer.safetensors", "masks.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "lost", "emptied"])
def test_a_damaged_parent_is_said_taken_away_and_made_again(whole, trained, store, capsys, name, damage):
    parent = trained.parent
    path = store.folder(parent) / name
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    damages = {"flipped": bytes(content), "truncated": path.read_bytes()[:-1], "emptied": b""}
    path.unlink() if damage == "lost" else path.write_bytes(damages[damage])
    assert run_job(trained) == ExitCode.INPUT_MISSING
    assert not store.has(parent)
    assert not store.has(trained.key)
    assert store.failure(trained.key) is None
    said = capsys.readouterr().out.splitlines()[-1]
    assert parent in said
    made = [orders.in_store(order, store) for order in whole[1]]
    assert run_job(next(order for order in made if order.key == parent)) == ExitCode.DONE
    assert run_job(trained) == ExitCode.DONE
    assert same(store, whole)


def rewrite(store, key, change):
    """Change an entry's record, and sign it as if that had been written."""
    path = store.folder(key) / "record.json"
    record = json.loads(path.read_text("utf-8"))
    del record["checksum"]
    change(record)
    path.write_text(json.dumps({**record, "checksum": stores._checksum(record)}), "utf-8")


def replace(store, key, name, content):
    """Replace a file of an entry, and sign it as if that had been written."""
    (store.folder(key) / f"{name}.safetensors").write_bytes(content)
    rewrite(store, key, lambda record: record["files"].update({name: hashlib.sha256(content).hexdigest()}))


def tensors_of(store, key, name):
    return safetensors.torch.load((store.folder(key) / f"{name}.safetensors").read_bytes())


def reshaped(name, value):
    return {name: torch.cat([value.flatten(), value.flatten()])}


STRANGE = {
    "a weight of another shape": ("weights", "parameter/1.bias", reshaped),
    "a weight of another type": ("weights", "parameter/1.bias", lambda name, value: {name: value.double()}),
    "a weight of another name": ("weights", "parameter/1.bias", lambda name, value: {"parameter/9.bias": value}),
    "no weight": ("weights", "parameter/1.bias", lambda name, value: {}),
    "too few kept weights": ("weights", "parameter/1.weight#kept", lambda name, value: {name: value[:1]}),
    "a mask that is too short": ("masks", "1.weight", lambda name, value: {name: value[:-1]}),
    "a mask that is too long": ("masks", "1.weight", reshaped),
    "a mask of another type": ("masks", "1.weight", lambda name, value: {name: value.float()}),
    "no mask": ("masks", "1.weight", lambda name, value: {}),
    "momentum of another shape": ("optimizer", "momentum_buffer/1.bias", reshaped),
    "momentum of another weight": ("optimizer", "momentum_buffer/1.bias", lambda name, value: {"step/9": value}),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_tensors_that_are_none_of_this_network_are_damage_though_the_checksums_are_right(
    strange, trained, store, capsys
):
    name, tensor, change = STRANGE[strange]
    tensors = tensors_of(store, trained.parent, name)
    tensors |= change(tensor, tensors.pop(tensor))
    replace(store, trained.parent, name, safetensors.torch.save(tensors))
    assert run_job(trained) == ExitCode.INPUT_MISSING
    assert "holds no state of this network: " in capsys.readouterr().out.splitlines()[-1]
    assert not store.has(trained.parent)
    assert store.failure(trained.key) is None


RECORDS = {
    "no state": lambda record: record.pop("state"),
    "no shapes": lambda record: record.pop("shapes"),
    "a step that is text": lambda record: record["state"].update(step="3"),
    "a cost of another kind": lambda record: record["state"]["cost"].pop("steps"),
    "a mask of another layer": lambda record: record["shapes"].update({"9.weight": [2, 2]}),
    "a mask of negative size": lambda record: record["shapes"].update({"1.weight": [-12, -64]}),
    "a history of words": lambda record: record["state"].update(history=["well"]),
}


@pytest.mark.parametrize("strange", RECORDS)
def test_a_record_of_no_state_is_damage_though_its_checksum_is_right(strange, trained, store, capsys):
    rewrite(store, trained.parent, RECORDS[strange])
    assert run_job(trained) == ExitCode.INPUT_MISSING
    assert "holds no state of this network: " in capsys.readouterr().out.splitlines()[-1]
    assert not store.has(trained.parent)


@pytest.mark.parametrize("files", [["weights"], {"../../../logs/x": ""}, None, {"weights": 1}])
def test_a_record_of_strange_files_is_damage(files, trained, store, capsys):
    rewrite(store, trained.parent, lambda record: record.update(files=files))
    assert run_job(trained) == ExitCode.INPUT_MISSING
    assert not store.has(trained.parent)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_no_pickle_is_ever_loaded(how, trained, store, tmp_path, capsys):
    with (tmp_path / "content").open("wb") as file:
        how(Evil(tmp_path / "evil"), file)
    replace(store, trained.parent, "weights", (tmp_path / "content").read_bytes())
    assert run_job(trained) == ExitCode.INPUT_MISSING
    assert "is not a safetensors file" in capsys.readouterr().out.splitlines()[-1]
    assert not (tmp_path / "evil").exists()


def test_masks_that_are_damaged_are_never_handed_out(whole, store):
    key = whole[1][-1].key
    masks = store.masks(key, store.verified(key))
    content = bytearray(masks.read_bytes())
    content[-1] ^= 1
    masks.write_bytes(content)
    with pytest.raises(CorruptEntry, match=r"masks\.safetensors is not what was written"):
        store.verified(key)


@pytest.mark.parametrize("name", ["weights", "optimizer", "masks"])
def test_a_flipped_bit_of_a_finished_trial_is_noticed_and_the_trial_is_made_again(whole, store, tmp_path, name):
    from tests.execution.test_scheduler import statuses, walked

    loaded = session.load_suite(runs.write_suite(tmp_path, SUITE), only=["method=imp,sparsity=0.5"])
    path = store.folder(whole[1][-1].key) / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    events = walked(loaded, store.root, workers=1)
    assert set(statuses(events).values()) == {"done"}
    assert [event.cached for event in events].count(False) == 1
    assert same(store, whole)


# Disks


def test_a_full_disk_is_told_and_leaves_nothing(trained, store, whole, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("prunebench.records.files.os.fsync", full)
        assert run_job(trained) == ExitCode.STORE_FULL
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"cannot write {store.folder(trained.key)}: No space left on device"
    assert leftovers(store) == []
    assert store.failure(trained.key) is None
    assert run_job(trained) == ExitCode.DONE
    assert same(store, whole)


def test_a_failure_that_cannot_be_written_is_a_full_disk(trained, store, monkeypatch, capsys):
    def fails(*_, **__):
        monkeypatch.setattr("prunebench.records.files.os.fsync", full)
        raise ValueError("no luck")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("prunebench.execution.worker.perform", fails)
    assert run_job(trained) == ExitCode.STORE_FULL
    assert "No space left on device" in capsys.readouterr().out.splitlines()[-1]
    assert store.failure(trained.key) is None


def test_a_log_without_room_is_no_failure_of_the_method(trained, store, monkeypatch, capsys):
    def prints(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("prunebench.execution.worker.perform", prints)
    assert run_job(trained) == ExitCode.STORE_FULL
    assert "No space left on device" in capsys.readouterr().out.splitlines()[-1]
    assert store.failure(trained.key) is None


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few hundred kilobytes; gives a function that fills it but for so many bytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk, spare):
    """Fill a disk but for `spare` bytes."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - spare))
    return filler


@pytest.mark.parametrize("spare", [0, 8192, 20000])
@pytest.mark.parametrize("every", [0.0, 1e-6], ids=["without-checkpoints", "with-checkpoints"])
def test_a_disk_that_is_really_full_is_told_and_the_work_goes_on_when_there_is_room(
    small_disk, whole, spare, every, capsys
):
    source, made = whole
    shutil.copytree(source.root / "states", small_disk / "store" / "states")
    store = Store.open(small_disk / "store")
    order = dataclasses.replace(orders.in_store(made[3], store), checkpoint_every=every)
    store.discard(order.key)
    filler = fill(small_disk, spare)
    assert run_job(order) == ExitCode.STORE_FULL
    assert "No space left on device" in capsys.readouterr().out.splitlines()[-1]
    assert not store.has(order.key)
    assert store.failure(order.key) is None
    filler.unlink()
    assert run_job(order) == ExitCode.DONE
    assert same(store, whole)
    assert leftovers(store) == []


def test_a_store_on_a_full_disk_is_an_error_before_any_work(small_disk):
    Store.open(small_disk / "store")
    fill(small_disk, 0)
    with pytest.raises(StoreError, match=r"cannot write to the store .*: No space left on device; .*--store"):
        Store.open(small_disk / "store")
    assert list((small_disk / "store").rglob(".*")) == []


def test_a_store_that_may_only_be_read_is_an_error_before_any_work(small_disk):
    Store.open(small_disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match=r"cannot write to the store .*: Read-only file system; .*--store"):
        Store.open(small_disk / "store")


def test_a_store_that_becomes_read_only_stops_the_work_and_books_no_failure(small_disk, whole, capsys):
    source, made = whole
    shutil.copytree(source.root / "states", small_disk / "store" / "states")
    store = Store.open(small_disk / "store")
    order = orders.in_store(made[3], store)
    store.discard(order.key)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert run_job(order) == ExitCode.STORE_FULL
    assert "Read-only file system" in capsys.readouterr().out.splitlines()[-1]
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert store.failure(order.key) is None
    assert run_job(order) == ExitCode.DONE
    assert same(store, whole)


# Failures of the work itself


def test_memory_that_is_not_to_be_had_is_a_failure_with_its_reason(trained, store, whole, child):
    limit = "import resource\nfrom prunebench.execution import worker as w\nperform = w.perform\n"
    limit += "def poor(*given, **others):\n"
    limit += "    size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
    limit += "    resource.setrlimit(resource.RLIMIT_AS, (size + 2**26, -1))\n    import torch\n"
    limit += "    torch.ones(2**28)\n    return perform(*given, **others)\nw.perform = poor"
    code, said = child(trained, limit).end()
    assert code == ExitCode.FAILED
    assert "memory" in store.failure(trained.key)["reason"]
    assert "Traceback" in said
    assert not store.has(trained.key)
    store.forget_failure(trained.key)
    assert run_job(trained) == ExitCode.DONE
    assert same(store, whole)


def test_a_gpu_without_room_is_no_failure_of_the_work(trained, store, whole, monkeypatch, capsys):
    def cramped(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee documentation")

    with monkeypatch.context() as patch:
        patch.setattr("prunebench.execution.worker.perform", cramped)
        assert run_job(trained) == ExitCode.OUT_OF_MEMORY
    assert capsys.readouterr().out.splitlines()[-1] == "CUDA out of memory. Tried to allocate 20.00 MiB."
    assert store.failure(trained.key) is None
    assert leftovers(store) == []
    assert run_job(trained) == ExitCode.DONE
    assert same(store, whole)
