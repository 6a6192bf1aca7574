"""Files of a store that are damaged: what can be made again is made again, and no command ends in a traceback."""

import json
import os
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from click.testing import CliRunner

import prunebench
from prunebench import session, tracking
from prunebench.api.errors import DamagedData, DataError
from prunebench.api.executors import ExitCode
from prunebench.cli import main
from prunebench.execution import worker
from prunebench.execution.worker import run_job
from prunebench.session import outbox as unsent
from prunebench.session import preparing, running
from prunebench.store.entries import Store
from tests import runs

SUITE = runs.SUITE.replace("seeds: 2", "seeds: 1")
ONLY = ["method=imp,sparsity=0.5"]


class Here(prunebench.Executor):
    """Carries orders out in this process."""

    name = "here"

    def open(self, site):
        return Desk()


class Desk(prunebench.WorkerPool):
    def __init__(self):
        self.ended = []

    @property
    def free(self):
        return 1 - len(self.ended)

    def submit(self, order):
        self.ended.append(prunebench.JobResult(order.key, run_job(order)))

    def wait(self, timeout):
        ended, self.ended = self.ended, []
        return ended

    def shutdown(self):
        pass


class Silent:
    """Takes results, and sends them nowhere."""

    uri = "nowhere"

    def __init__(self, *given, **options):
        self.sent = []

    def put(self, result):
        pass

    begin = abandon = lambda self: None
    close = lambda self: ""  # noqa: E731

    def published(self, suite):
        return {}

    def publish(self, result):
        self.sent.append(result)


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    monkeypatch.setattr(running, "Publisher", Silent)
    monkeypatch.setattr(running, "_publish", lambda *given: pd.DataFrame())
    monkeypatch.setattr(tracking, "Tracker", Silent)


def load(folder):
    return session.load_suite(folder / "tiny.yaml", only=ONLY)


def run(folder, executor=None):
    """What a run gives: how trials ended, and their figures but for the clock's."""
    outcome = session.run_suite(load(folder), store=folder / "store", executor=executor or Here())
    measured = ("wall_seconds", "processor_seconds", "examples_per_second")
    figures = {
        (one.method, name): value
        for one in outcome.results
        for name, value in one.metrics.items()
        if name not in measured
    }
    return outcome.counts, figures


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a suite that was run, with a file of every kind that a store has."""
    patch = pytest.MonkeyPatch()
    patch.setattr(running, "Publisher", Silent)
    patch.setattr(running, "_publish", lambda *given: pd.DataFrame())
    folder = tmp_path_factory.mktemp("whole")
    runs.write_suite(folder, SUITE)
    run(folder)
    loaded, store = load(folder), Store(folder / "store")
    prepared = session.prepared_already(loaded, None, store.root)
    with unsent.pending(loaded, prepared, session.plan_suite(loaded, prepared), store) as note:
        kept = note.read_bytes()
    note.write_bytes(kept)
    patch.undo()
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def key_of(folder):
    loaded = load(folder)
    prepared = session.prepared_already(loaded, None, folder / "store")
    return session.plan_suite(loaded, prepared).trials[-1].key


def a_failure(folder):
    """The note of a failure, of a trial that is not done."""
    store, key = Store(folder / "store"), key_of(folder)
    store.discard(key)
    store.write_failure(key, {"reason": "no luck", "time": 1.0})
    return store.root / "failures" / f"{key}.json"


def a_running_note(folder):
    """What a process left that died in the middle of a trial."""
    store, key = Store(folder / "store"), key_of(folder)
    store.discard(key)
    note = {"key": key, "trial": "t", "stage": "s", "host": "h", "pid": 1, "started": 1.0, "updated": 2.0}
    path = store.root / "running" / f"{key}.json"
    path.write_text(json.dumps({**note, "step": 1, "start": 0, "stop": 9}))
    return path


def a_lock(folder):
    path = a_running_note(folder).with_suffix(".lock")
    path.touch()
    return path


def checkpoints(folder):
    """The folder of the checkpoints of a trial that is not done; none of them is sound."""
    store, key = Store(folder / "store"), key_of(folder)
    store.discard(key)
    store.checkpoints(key).write("000000000003", {"node": key}, {})
    return store.checkpoints(key)


def the_log(folder):
    store, key = Store(folder / "store"), key_of(folder)
    store.discard(key)
    (store.logs / f"{key}.log").write_text("one\n")
    return store.logs / f"{key}.log"


def first(pattern):
    return lambda folder: min((folder / "store").glob(pattern))


def undone(pattern):
    """A file of the data, which the last job of a trial needs: that job is not done."""

    def found(folder):
        Store(folder / "store").discard(key_of(folder))
        return first(pattern)(folder)

    return found


KINDS = {
    "record": lambda folder: Store(folder / "store").folder(key_of(folder)) / "record.json",
    "weights": lambda folder: Store(folder / "store").folder(key_of(folder)) / "weights.safetensors",
    "masks": lambda folder: Store(folder / "store").folder(key_of(folder)) / "masks.safetensors",
    "entry": lambda folder: Store(folder / "store").folder(key_of(folder)),
    "shelf": lambda folder: Store(folder / "store").folder(key_of(folder)).parent,
    "checkpoint": lambda folder: checkpoints(folder).folder("000000000003") / "record.json",
    "checkpoints": lambda folder: checkpoints(folder).root,
    "failure": a_failure,
    "running": a_running_note,
    "lock": a_lock,
    "log": the_log,
    "index": undone("data/*.json"),
    "array": undone("data/*/train_inputs.npy"),
    "labels": undone("data/*/test_labels.npy"),
    "data": lambda folder: undone("data/*/train_inputs.npy")(folder).parent,
    "network": first("networks/*.json"),
    "unsent": first("unsent/*.json"),
}


def with_numbers(text):
    return lambda content: re.sub(rb"(?<=[ \[:])\d+(\.\d+)?", text, content)


BYTES = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-1],
    "empty": lambda content: b"",
    "flipped": lambda content: content[:-9] + bytes(one ^ 4 for one in content[-9:-8]) + content[-8:],
    "garbage": lambda content: bytes(range(256)) * 4,
    "zeros": lambda content: bytes(len(content)),
    "a zip": lambda content: b"PK\x03\x04" + content,
    "a list": lambda content: b"[1]",
    "null": lambda content: b"null",
    "an empty object": lambda content: b"{}",
    "not numbers": with_numbers(b"NaN"),
    "infinite": with_numbers(b"1e999"),
    "huge": with_numbers(b"9" * 400),
    "too many digits": with_numbers(b"9" * 5000),
    "below zero": with_numbers(b"-7.5"),
    "of other types": with_numbers(b'"x"'),
    "nested": lambda content: b"[" * 10**5,
    "nested inside": lambda content: b'{"fingerprint": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    "UTF-16": lambda content: content.decode("latin-1").encode("utf-16"),
    "half a surrogate": lambda content: re.sub(rb'": "[^"]*', rb'": "\\ud800', content),
    "out of the folder": lambda content: re.sub(rb'": "[^"]*', rb'": "../../../x', content),
}
PLACES = {
    "a folder": lambda path: (path.mkdir(), (path / "inside").touch()),
    "a link to nowhere": lambda path: path.symlink_to("nowhere/at/all"),
    "a link to itself": lambda path: path.symlink_to(path),
    "not readable": lambda path: path.symlink_to("/proc/self/mem"),  # whoever asks
    "a pipe": os.mkfifo,
    "a file": lambda path: path.write_bytes(b"x"),
}


def damaged(path, how):
    content = path.read_bytes() if path.is_file() else b""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how in PLACES:
        PLACES[how](path)
    else:
        path.write_bytes(BYTES[how](content))


COMMANDS = (("status",), ("plan",), ("why", "tiny/imp/0.5/0"), ("cache",), ("sync",), ("cache", "--check"))


def said_by_commands(folder, only=COMMANDS):
    """Runs the commands that read a store; each has an answer, and at most a sentence of error."""
    for name, *more in only:
        suite = [] if name == "sync" or more == ["--check"] else [str(folder / "tiny.yaml")]
        done = CliRunner().invoke(main, [name, *suite, *more, "--store", str(folder / "store")])
        assert done.exception is None or isinstance(done.exception, SystemExit), (name, done.exc_info)
        assert "Traceback" not in done.output
        assert done.exit_code in (0, 1, 2), (name, done.output)


FOLDERS = ("entry", "shelf", "checkpoints", "data")


def cases():
    """Every damage of every kind; those that are not slow have each kind and each damage several times."""
    pairs = [(kind, how) for kind in KINDS for how in (PLACES if kind in FOLDERS else [*BYTES, *PLACES])]
    wanted = [(kind, how) for kind, how in pairs if how != ("a folder" if kind in FOLDERS else "a file")]
    return [
        pytest.param(*pair, id=": ".join(pair), marks=[pytest.mark.slow] if number % 9 else [])
        for number, pair in enumerate(wanted)
    ]


@pytest.fixture(scope="module")
def right(whole, tmp_path_factory):
    """What the run of a store that is not damaged gives."""
    folder = tmp_path_factory.mktemp("right") / "copy"
    shutil.copytree(whole, folder)
    patch = pytest.MonkeyPatch()
    patch.setattr(running, "Publisher", Silent)
    patch.setattr(running, "_publish", lambda *given: pd.DataFrame())
    found = run(folder)[1]
    patch.undo()
    return found


@pytest.mark.parametrize(("kind", "how"), cases())
def test_whatever_is_damaged_is_made_again(kind, how, folder, right):
    path = KINDS[kind](folder)
    damaged(path, how)
    said_by_commands(folder, COMMANDS[:5])
    counts, figures = run(folder)
    said_by_commands(folder, COMMANDS[5:])
    if kind == "failure" and counts["failed"]:  # it is as good a note as before
        return
    assert (counts["done"] + counts["cached"], figures) == (2, right)
    assert run(folder) == ({"cached": 2}, right)


# While a run is on


class Swapping(Here):
    """Damages the data before the first orders are carried out, or while they are, and once in between."""

    name = "swapping"

    def __init__(self, folder, times):
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "times", times)

    def open(self, site):
        return SwappingDesk(self.folder, self.times)


class SwappingDesk(Desk):
    def __init__(self, folder, times):
        super().__init__()
        self.folder, self.times, self.codes = folder, times, []

    def submit(self, order):
        if len(self.codes) < self.times:
            flip(self.folder)
        super().submit(order)
        self.codes.append(self.ended[-1].exitcode)
        assert self.codes[: self.times] == [ExitCode.INPUT_MISSING] * min(self.times, len(self.codes))


def flip(folder):
    path = min((folder / "store").glob("data/*/train_inputs.npy"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("times", [1, 3])
def test_data_that_is_damaged_after_it_was_verified_is_made_again_and_the_run_goes_on(folder, right, times):
    shutil.rmtree(folder / "store" / "states")
    counts, figures = run(folder, Swapping(folder, times))
    assert (counts, figures) == ({"done": 2}, right)
    assert not list((folder / "store" / "failures").iterdir())


def test_nothing_is_kept_of_a_training_whose_data_was_changed_meanwhile(folder, right, monkeypatch):
    """Bytes that are changed in place under a running training reach it: neither its state nor a checkpoint stays."""
    shutil.rmtree(folder / "store" / "states")
    kept, lost = [], []
    perform = worker.perform

    def swapping(node, state, source, context, callback=None, others=()):
        after = perform(node, state, source, context, callback, others)
        if not lost and callback is not None and "data" in vars(context):
            lost.append(node.key)
            flip(folder)
            with pytest.raises(DamagedData):
                callback.keep(after)
        return after

    def put(entries, key, *given):
        kept.append(key)
        return write(entries, key, *given)

    write = Store.write
    monkeypatch.setattr(worker, "perform", swapping)
    monkeypatch.setattr(Store, "write", put)
    counts, figures = run(folder)
    assert (counts, figures) == ({"done": 2}, right)
    assert len(lost) == 1
    assert kept.count(lost[0]) == 1


def test_data_that_became_other_data_meanwhile_ends_the_run_with_a_sentence(folder, monkeypatch):
    shutil.rmtree(folder / "store" / "states")
    prepare, calls = preparing.prepare, []

    def other(*arguments):
        calls.append(arguments)
        found = prepare(*arguments)
        return found if len(calls) == 1 else replace(found, fingerprint="0" * 32)

    monkeypatch.setattr(preparing, "prepare", other)
    with pytest.raises(DataError, match="the data set of tiny was changed while the run was on: run again"):
        run(folder, Swapping(folder, 1))
