"""A training that was interrupted ends as one that was not, bit for bit; a bad checkpoint is noticed and not used."""

import dataclasses
import json

import pytest
import torch

from prunebench.api.errors import StoreError
from prunebench.api.stages import Initialize, Train
from prunebench.api.tasks import Optimizer, Schedule
from prunebench.execution.performing import perform
from prunebench.plan.planning import protocol, resolve
from prunebench.store import checkpoints
from prunebench.store.checkpoints import Checkpoints, forget, kept_steps, newest
from prunebench.store.entries import Store
from prunebench.training.cost import Cost

TENSORS = ("parameters", "buffers", "optimizer", "masks", "memory")
ADAM = Optimizer(name="adam", lr=0.01, weight_decay=1e-2)
METHODS = {
    "static": ("random", {}),
    "set": ("set", {"interval": "3it"}),
    "rigl": ("rigl", {"interval": "3it"}),
    "snfs": ("snfs", {"interval": "3it"}),
    "gradual": ("gradual", {"start": "2it", "interval": "3it"}),
    "ste": ("ste", {}),
    "edge-popup": ("edge-popup", {}),
    "imp": ("imp", {"rewind_to": "3it"}),
}


class Killed(BaseException):
    """Stands for the end of the process."""


class Interrupted(Checkpoints):
    """Keeps the state after one step, and ends the process."""

    def __init__(self, at, *rest):
        super().__init__(*rest)
        self.at = at

    def wants(self, step):
        return step == self.at

    def keep(self, state):
        super().keep(state)
        raise Killed


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def nodes_of(prepared):
    return lambda trial: list(resolve(trial, protocol(trial.task, prepared(trial.task.dataset).fingerprint)))


@pytest.fixture
def broken(nodes_of, context_of, store):
    """Performs a trial's chain, each of its trainings killed after these steps of it; gives the last state."""

    def run(trial, *ends):
        states = {}
        for node in nodes_of(trial):
            state, source = states.get(node.parent), states.get(node.source)
            for end in ends if isinstance(node.stage, Train) else ():
                if node.start + end < node.stop:
                    callback = Interrupted(node.start + end, store, node, 1.0, lambda step: None)
                    with pytest.raises(Killed):
                        perform(node, state, source, context_of(trial), callback)
                    state = newest(store, node, context_of(trial))
                    assert state.step == node.start + end
            states[node.key] = perform(node, state, source, context_of(trial))
        return states[node.key]

    return run


def assert_equal(one, other):
    """Two states are the same in all but the time that they took."""
    for field in TENSORS:
        first, second = getattr(one, field), getattr(other, field)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), field
    assert [{**figures, "time": 0} for figures in one.history] == [{**figures, "time": 0} for figures in other.history]
    timeless = {"wall_seconds": 0.0, "processor_seconds": 0.0}
    assert dataclasses.replace(one.cost, **timeless) == dataclasses.replace(other.cost, **timeless)
    for field in ("step", "trajectory", "loss_sum", "loss_steps", "unbooked"):
        assert getattr(one, field) == getattr(other, field)
    assert one.unbooked == Cost()


def hard_task(tiny, **changes):
    """Everything that could differ: BatchNorm, augmentation, a schedule, evaluations and a ragged batch on the way."""
    recipe = {"augmentation": ("crop", "flip"), "schedule": Schedule(name="cosine", warmup="5it"), "steps": 23}
    return tiny.task(tiny.Conv(), validation=7, **(recipe | changes))


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_was_killed_ends_as_one_that_was_not(tiny, method, run_chain, broken, name):
    kind, parameters = METHODS[name]
    trial = tiny.trial(method(kind, **parameters), task=hard_task(tiny))
    # Step 9 lies in the middle of an epoch of 4, and is no evaluation; 14 is one.
    assert_equal(broken(trial, 1, 9, 14), run_chain(trial).end)


@pytest.mark.parametrize("name", ["rigl", "ste"])
def test_so_does_one_with_adam_and_dropout(tiny, method, run_chain, broken, name):
    kind, parameters = METHODS[name]
    task = tiny.task(tiny.MLP(dropout=0.3), optimizer=ADAM, steps=23)
    trial = tiny.trial(method(kind, **parameters), task=task)
    assert_equal(broken(trial, 10), run_chain(trial).end)


def test_so_does_one_with_sr_ste(tiny, method, run_chain, broken):
    trial = tiny.trial(method("sr-ste"), task=tiny.task(tiny.MLP(hidden=(16,)), steps=23))
    assert_equal(broken(trial, 10), run_chain(trial).end)


def test_keeping_states_on_the_way_changes_nothing(tiny, method, run_chain, nodes_of, context_of, store):
    trial = tiny.trial(method("ste"), task=hard_task(tiny))
    states = {}
    for node in nodes_of(trial):
        callback = Checkpoints(store, node, 1e-9, lambda step: None)
        states[node.key] = perform(node, states.get(node.parent), None, context_of(trial), callback)
    assert kept_steps(store.checkpoints(node.key)) == [f"{23:012d}"]
    assert_equal(states[node.key], run_chain(trial).end)


@pytest.fixture
def stopped(tiny, nodes_of, context_of, store):
    """A training that was killed after 9 of 20 steps: its node, its context and the folder of its checkpoint."""
    trial = tiny.trial(tiny.Chained(chain=(Initialize(), Train())), task=tiny.task())
    context, (first, node) = context_of(trial), nodes_of(trial)
    state = perform(first, None, None, context)
    callback = Interrupted(9, store, node, 1.0, lambda step: None)
    with pytest.raises(Killed):
        perform(node, state, None, context, callback)
    return node, context, store.checkpoints(node.key).folder(f"{9:012d}")


def test_the_seconds_of_an_interrupted_training_add_up(stopped, store, monkeypatch):
    node, context, folder = stopped
    record = json.loads((folder / "record.json").read_text("utf-8"))
    before = record["state"]["unbooked"]["wall_seconds"]
    assert before > 0
    state = newest(store, node, context)
    assert state.unbooked == Cost(**record["state"]["unbooked"])
    done = perform(node, state, None, context)
    alone = perform(node, state.changed(unbooked=dataclasses.replace(state.unbooked, wall_seconds=0.0)), None, context)
    assert done.cost.wall_seconds > before + state.cost.wall_seconds
    assert done.cost.wall_seconds - before == pytest.approx(alone.cost.wall_seconds, abs=2.0)


def test_a_checkpoint_names_the_training_that_it_is_of(stopped):
    node, _, folder = stopped
    assert json.loads((folder / "record.json").read_text("utf-8"))["node"] == node.key


@pytest.mark.parametrize("name", ["record.json", "weights.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "lost"])
def test_a_damaged_checkpoint_is_said_and_not_used(stopped, store, capsys, name, damage):
    node, context, folder = stopped
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "lost":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:-1])
    assert newest(store, node, context) is None
    assert "not used: " in capsys.readouterr().out
    assert list(folder.parent.iterdir()) == []


def test_a_checkpoint_of_another_training_is_said_and_not_used(stopped, store, capsys):
    node, context, folder = stopped
    other = dataclasses.replace(node, key="cd" + "0" * 30)
    folder.parent.rename(store.checkpoints(other.key).root)
    assert newest(store, other, context) is None
    assert f"is of another training than {other.key}" in capsys.readouterr().out


def test_an_older_checkpoint_serves_where_the_newest_is_damaged(stopped, store):
    node, context, _ = stopped
    later = store.checkpoints(node.key).folder(f"{12:012d}")
    later.mkdir()
    (later / "record.json").write_text("{}")
    assert newest(store, node, context).step == 9


def test_what_a_kill_left_half_written_is_swept_away(stopped, store):
    node, context, folder = stopped
    (folder.parent / f".{folder.name}.half").mkdir()
    (folder.parent / f".{folder.name}.half" / "weights.safetensors").touch()
    assert newest(store, node, context).step == 9
    assert list(folder.parent.iterdir()) == [folder]


def test_a_newer_checkpoint_takes_the_place_of_the_older(stopped, store):
    node, context, folder = stopped
    state = newest(store, node, context)
    Checkpoints(store, node, 1.0, lambda step: None).keep(state.changed(step=12))
    assert [path.name for path in folder.parent.iterdir()] == [f"{12:012d}"]


def test_a_kill_between_the_newer_and_the_older_loses_neither(stopped, store, monkeypatch):
    node, context, _ = stopped
    state = newest(store, node, context)
    monkeypatch.setattr(checkpoints.Entries, "discard", lambda entries, name: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        Checkpoints(store, node, 1.0, lambda step: None).keep(state.changed(step=12))
    assert kept_steps(store.checkpoints(node.key)) == [f"{12:012d}", f"{9:012d}"]
    assert newest(store, node, context).step == 12


def test_checkpoints_come_by_time_and_none_by_default_of_zero(stopped, store, monkeypatch):
    node, context, _ = stopped
    state, clock, told = newest(store, node, context), [0.0], []
    write = checkpoints.Entries.write

    def slowly(entries, *content):
        write(entries, *content)
        clock[0] += 10.0

    monkeypatch.setattr(checkpoints.Entries, "write", slowly)
    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: clock[0])
    callback, never = Checkpoints(store, node, 60.0, told.append), Checkpoints(store, node, 0.0, told.append)
    wanted = []
    for step in range(1, 9):
        clock[0] += 25.0
        assert not never.wants(step)
        if callback.wants(step):
            callback.keep(state.changed(step=step))
            wanted.append(step)
    assert wanted == [3, 6]  # from the end of the writing on, not from its beginning
    assert sorted(set(told)) == list(range(1, 9))


def test_what_is_done_is_forgotten(stopped, store):
    node, context, folder = stopped
    forget(store, node.key)
    assert not folder.parent.exists()
    assert newest(store, node, context) is None
    forget(store, node.key)


def test_a_checkpoint_that_cannot_be_written_is_an_error_and_keeps_the_older(stopped, store, monkeypatch):
    node, context, folder = stopped
    state = newest(store, node, context)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prunebench.store.entries._write_through", full)
    with pytest.raises(StoreError, match="No space left on device"):
        Checkpoints(store, node, 1.0, lambda step: None).keep(state.changed(step=12))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
