"""Data that no memory holds: decoded by other processes, and the same whoever decodes it."""

import gc
import json
import multiprocessing
import shutil
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import prunebench
from prunebench.api.errors import DamagedData, DataError
from prunebench.data import streaming
from prunebench.data.prepared import find, prepare
from prunebench.data.task_data import Data
from prunebench.execution.performing import perform
from prunebench.plan.planning import protocol, resolve
from prunebench.training.trial_context import TrialContext

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twenty-one pictures to train on and seven to test on, of several sizes and formats, in three classes."""
    folder, numbers = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, each in (("train", (7, 8, 6)), ("test", (2, 3, 2))):
        for kind, many in zip(("cats", "dogs", "owls"), each, strict=True):
            place = folder / "animals" / part / kind
            place.mkdir(parents=True)
            for number in range(many):
                height, width = numbers.integers(12, 40, 2)
                pixels = numbers.integers(0, 256, (height, width, 3), np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.{'png' if number % 2 else 'jpg'}")
    return folder


@pytest.fixture
def animals(built_in):
    return lambda **changes: built_in(
        "dataset",
        "image-folder",
        **{"path": "animals", "classes": 3, "train": 21, "test": 7, "size": 8, "stream": True, **changes},
    )


@pytest.fixture
def data(tiny, animals, root, tmp_path):
    """The data of a task; the last batch of an epoch is ragged."""

    def make(dataset=None, **recipe):
        task = tiny.task(dataset=dataset or animals(), batch_size=4, **recipe)
        return Data(task, prepare(task.dataset, root, tmp_path), CPU)

    return make


@pytest.fixture
def loaders(monkeypatch):
    """Sets how many processes decode."""
    return lambda number: monkeypatch.setattr(streaming, "loaders", lambda device: number)


def equal(one, other):
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("augmentation", [(), ("resized-crop", "flip"), ("crop",)])
def test_batches_are_the_same_with_and_without_loaders(data, loaders, augmentation):
    found = []
    for number in (0, 2):
        loaders(number)
        drawn = data(augmentation=augmentation)
        found.append([drawn.batch(0, "train", step) for step in range(13)])  # more than two epochs
    assert all(map(equal, *found))


def test_an_epoch_sees_every_file_once(data):
    drawn = data()
    number = {
        tuple(one.flatten().tolist()): place for place, one in enumerate(drawn.train.take(torch.arange(21)).inputs)
    }
    for first in (0, 6, 60):
        seen = [drawn.batch(0, "train", step) for step in range(first, first + 6)]
        assert [len(labels) for _, labels in seen] == [4, 4, 4, 4, 4, 1]
        pictures = torch.cat([inputs for inputs, _ in seen])
        mean, deviation = drawn.moments()
        bytes_seen = (pictures * deviation + mean).round().to(torch.uint8)
        places = [number[tuple(one.flatten().tolist())] for one in bytes_seen]
        assert sorted(places) == list(range(21))
        assert torch.cat([labels for _, labels in seen]).tolist() == drawn.train.targets[torch.tensor(places)].tolist()


@pytest.mark.parametrize("number", [0, 2])
def test_a_batch_depends_on_nothing_that_was_asked_for_before(data, loaders, number):
    loaders(number)
    recipe = {"augmentation": ("resized-crop", "flip"), "validation": 3}
    forwards = [batch for drawn in [data(**recipe)] for batch in (drawn.batch(3, "train", step) for step in range(8))]
    drawn = data(**recipe)
    drawn.batch(4, "train", 5)
    for step in (5, 6, 2, 7, 0):
        assert equal(drawn.batch(3, "train", step), forwards[step])
    assert not equal(drawn.batch(3, "other", 2), forwards[2])


def decoders():
    return {process.pid for process in multiprocessing.active_children()}


@pytest.fixture
def no_collector():
    """Nothing is freed but by its count of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_processes_end_when_nothing_more_is_read_from_them(data, loaders):
    loaders(2)
    before, drawn = decoders(), data()
    drawn.batch(0, "train", 0)
    first = decoders() - before
    assert len(first) == 2
    expected = drawn.batch(0, "train", 1)
    assert decoders() - before == first
    drawn.batch(0, "train", 5)  # another place: new processes
    assert len(decoders() - before) == 2
    assert not first & decoders()
    drawn.close()
    assert decoders() == before
    assert equal(drawn.batch(0, "train", 1), expected)  # it goes on after that
    del drawn
    assert decoders() == before


@pytest.mark.usefixtures("no_collector")
def test_processes_end_with_a_pass_that_is_left_early(data, loaders):
    loaders(2)
    before, drawn = decoders(), data()
    for _ in drawn.in_order(drawn.test, 3):
        break
    assert decoders() == before


@pytest.mark.usefixtures("no_collector")
def test_processes_end_with_the_training(tiny, animals, root, tmp_path, loaders):
    loaders(2)
    before = decoders()
    task = tiny.task(dataset=animals(), batch_size=4, steps=3)
    prepared = prepare(task.dataset, root, tmp_path)
    trial = tiny.trial(tiny.Chained(chain=(prunebench.Initialize(), prunebench.Train())), task=task)
    context = TrialContext(trial, CPU, lambda: Data(task, prepared, CPU))
    states = {}
    for node in resolve(trial, protocol(task, prepared.fingerprint)):
        states[node.key] = perform(node, states.get(node.parent), states.get(node.source), context)
    assert decoders() == before


def test_every_step_crops_anew(data):
    drawn = data(augmentation=("resized-crop",))
    pictures = torch.cat([drawn.batch(0, "train", step)[0] for step in range(12)])
    assert len({tuple(one.flatten().tolist()) for one in pictures}) == 42


def test_loaders_draw_nothing_from_the_global_generator(data, loaders):
    loaders(2)
    drawn = data(augmentation=("resized-crop", "flip"))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    drawn.batch(0, "train", 0)
    list(drawn.in_order(drawn.test, 3))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("number", [0, 2])
def test_a_test_sees_what_decoding_at_once_shows(data, animals, loaders, number):
    loaders(number)
    streamed, whole = data(), data(animals(stream=False))
    pairs = zip(streamed.in_order(streamed.test, 3), whole.in_order(whole.test, 3), strict=True)
    assert all(equal(one, other) for one, other in pairs)
    some = torch.tensor([3, 0, 20])
    assert torch.equal(streamed.train.take(some).inputs, whole.train.take(some).inputs)
    assert torch.equal(streamed.train.take(some).targets, whole.train.take(some).targets)


def test_validation_is_taken_out_of_the_files(data):
    drawn = data(validation=5)
    train, validation = (
        [split.path(place) for place in range(len(split))] for split in (drawn.train, drawn.validation)
    )
    assert (len(train), len(validation)) == (16, 5)
    assert len({*train, *validation}) == 21
    kinds = {path: ("cats", "dogs", "owls").index(path.parent.name) for path in [*train, *validation]}
    assert [kinds[path] for path in train] == drawn.train.targets.tolist()
    assert [kinds[path] for path in validation] == drawn.validation.targets.tolist()


def performed(trial, prepared):
    """The last state of a trial's chain, each stage with data of its own, handed on as from another process."""
    states = {}
    for node in resolve(trial, protocol(trial.task, prepared.fingerprint)):
        own = TrialContext(trial, CPU, lambda: Data(trial.task, prepared, CPU))
        states[node.key] = perform(node, states.get(node.parent), states.get(node.source), own)
    return states[node.key]


@pytest.mark.parametrize("number", [0, 2])
def test_a_training_resumed_in_mid_epoch_is_an_uninterrupted_one(tiny, animals, root, tmp_path, loaders, number):
    recipe = {"batch_size": 4, "steps": 14, "augmentation": ("resized-crop", "flip"), "evaluate_every": "7it"}
    task = tiny.task(model=tiny.MLP(dropout=0.3), dataset=animals(), **recipe)
    prepared = prepare(task.dataset, root, tmp_path)
    ends = []
    for stops, many in (((), 0), (("3it", "9it"), number)):
        loaders(many)
        stages = [prunebench.Train(until=stop) for stop in (*stops, "end")]
        chain = tiny.Chained(chain=(prunebench.Initialize(), *stages))
        ends.append(performed(tiny.trial(chain, task=task), prepared))
    whole, pieces = ends
    assert all(torch.equal(value, pieces.parameters[name]) for name, value in whole.parameters.items())
    assert [point | {"time": 0} for point in whole.history] == [point | {"time": 0} for point in pieces.history]


@pytest.fixture
def copied(root, tmp_path):
    """A copy of the pictures that may be spoilt."""
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (lambda path, draw: None, "returned None, and should return uint8 of shape"),
        (lambda path, draw: np.zeros((3, 8, 8)), r"returned float64 of shape \(3, 8, 8\), and should"),
        (lambda path, draw: np.zeros((8, 8, 3), np.uint8), r"returned uint8 of shape \(8, 8, 3\), and should"),
        (lambda path, draw: 1 // 0, "raised ZeroDivisionError: "),
        (lambda path, draw: sys.exit(0), "raised SystemExit: 0"),
    ],
)
@pytest.mark.parametrize("number", [0, 2])
def test_what_decode_returns_is_checked_and_named(tiny, animals, root, tmp_path, loaders, decode, message, number):
    class Careless(type(animals())):
        pass

    Careless.decode = lambda self, path, draw: decode(path, draw)
    loaders(number)
    dataset = Careless(path="animals", classes=3, train=21, test=7, size=8, stream=True)
    drawn = Data(tiny.task(dataset=dataset, batch_size=4), prepare(dataset, root, tmp_path), CPU)
    with pytest.raises(DataError, match=rf"data set 'image-folder': `decode` of .*/train/.*\.(jpg|png) {message}"):
        drawn.batch(0, "train", 0)


@pytest.mark.parametrize("number", [0, 2])
def test_a_file_that_is_cut_short_is_named(tiny, animals, copied, tmp_path, loaders, number):
    loaders(number)
    path = copied / "animals" / "train" / "dogs" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    task = tiny.task(dataset=animals(), batch_size=4)
    drawn = Data(task, prepare(task.dataset, copied, tmp_path / "cache"), CPU)
    with pytest.raises(DataError, match=r"dogs.2\.jpg cannot be read as a picture \(.*truncated.*\); replace or"):
        list(map(partial(drawn.batch, 0, "train"), range(6)))


def test_the_fingerprint_is_of_the_files_and_not_of_where_they_lie(animals, root, copied, tmp_path):
    here, there = (prepare(animals(), place, tmp_path / "cache") for place in (root, copied))
    assert here.fingerprint == there.fingerprint
    assert here.folder != there.folder  # each says where its own files are
    assert find(animals(), root, tmp_path / "cache") == here
    path = copied / "animals" / "test" / "cats" / "0.jpg"
    path.write_bytes(path.read_bytes() + b" ")
    changed = prepare(animals(), copied, tmp_path / "cache")
    assert changed.fingerprint != here.fingerprint
    path = path.rename(path.with_name("00.jpg"))  # the same bytes in the same order
    assert prepare(animals(), copied, tmp_path / "cache").fingerprint == changed.fingerprint
    path.rename(path.with_name("a.jpg"))
    assert prepare(animals(), copied, tmp_path / "cache").fingerprint != changed.fingerprint


def test_streamed_and_decoded_data_are_never_ranked_together(animals, root, tmp_path):
    fingerprints = {prepare(animals(stream=which), root, tmp_path).fingerprint for which in (True, False)}
    assert len(fingerprints) == 2


def test_preparing_again_reads_nothing(animals, root, tmp_path, monkeypatch):
    first = prepare(animals(), root, tmp_path)
    monkeypatch.setattr(streaming, "fingerprint", None)
    assert prepare(animals(), root, tmp_path) == first
    (first.folder / "train_starts.npy").unlink()
    assert find(animals(), root, tmp_path) is None


@pytest.mark.parametrize("name", streaming.FILES)
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'"/etc"', b"[" * 10**5, None], ids=repr)
def test_what_is_kept_of_the_files_is_made_again_when_it_is_damaged(animals, root, tmp_path, name, content):
    first = prepare(animals(), root, tmp_path)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    path = first.folder / name
    path.write_bytes(before[name][:-1] + bytes([before[name][-1] ^ 1]) if content is None else content)
    assert prepare(animals(), root, tmp_path) == first
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before


def test_files_that_lie_elsewhere_now_are_not_those_that_were_listed(tiny, animals, root, tmp_path):
    """The note says where files lie: another folder, with a checksum that was not made for it, is refused."""
    prepared = prepare(animals(), root, tmp_path)
    note = json.loads((prepared.folder / streaming.FOLDER).read_text())
    (prepared.folder / streaming.FOLDER).write_text(json.dumps({**note, "folder": "/etc"}))
    with pytest.raises(DamagedData, match="its checksum differs"):
        Data(tiny.task(dataset=animals(), batch_size=4), prepared, CPU)


def test_files_are_not_unpickled(animals, root, tmp_path):
    prepared = prepare(animals(), root, tmp_path)
    np.save(prepared.folder / "test_labels.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"is damaged .* a run makes it again"):
        streaming.opened(animals(), prepared.folder, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["train/cats/0.jpg"]}, "there are 1 train files with 21 labels, and should be 21"),
        ({"test_labels": [0, 0, 1, 1, 1, 2, 3]}, r"test_labels are not all in 0\.\.2"),
    ],
)
def test_files_that_are_not_what_the_facts_say_are_an_error(animals, root, tmp_path, change, message):
    class Wrong(type(animals())):
        def files(self, root):
            return replace(super().files(root), **change)

    dataset = Wrong(path="animals", classes=3, train=21, test=7, size=8, stream=True)
    with pytest.raises(DataError, match=f"data set 'image-folder': {message}"):
        prepare(dataset, root, tmp_path)


def test_a_thread_that_trains_does_not_decode_beside_itself(monkeypatch):
    for threads, expected in ((1, 0), (4, 3)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert streaming.loaders(CPU) == expected
        assert streaming.loaders(torch.device("cuda")) == threads
