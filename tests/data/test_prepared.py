"""Data: fingerprinted, prepared once, split and ordered the same everywhere."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prunebench.api.components import Arrays
from prunebench.api.errors import DamagedData, DataError, StoreError
from prunebench.data import prepared as data
from prunebench.data.arrays import PARTS
from prunebench.data.prepared import find, prepare
from prunebench.data.task_data import Data

CPU = torch.device("cpu")


@pytest.fixture
def changed(tiny):
    """A data set whose arrays are changed before they are handed out, and which counts how often it is read."""

    def make(change=lambda arrays: arrays):
        class Changed(tiny.Blobs):
            reads = []  # a log, and no parameter

            def load(self, root):
                self.reads.append(root)
                return change(super().load(root))

        return Changed()

    return make


def fingerprint(dataset, folder):
    return prepare(dataset, None, folder).fingerprint


def with_one(part, index, value):
    """A change of one element of one array."""

    def change(arrays):
        array = getattr(arrays, part).copy()
        assert array[index] != value
        array[index] = value
        return replace(arrays, **{part: array})

    return change


def flipped(part):
    """A change of one label to the next class."""

    def change(arrays):
        labels = getattr(arrays, part).copy()
        labels[5] = (labels[5] + 1) % 3
        return replace(arrays, **{part: labels})

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_one("train_inputs", (3, 0, 2, 1), 255),
        with_one("test_inputs", (0, 0, 0, 0), 255),
        flipped("train_labels"),
        flipped("test_labels"),
        lambda arrays: replace(arrays, train_inputs=arrays.train_inputs[::-1]),
    ],
)
def test_one_pixel_or_label_more_or_less_is_another_fingerprint(changed, tmp_path, change):
    plain = fingerprint(changed(), tmp_path / "a")
    assert fingerprint(changed(change), tmp_path / "b") != plain


def test_the_same_data_has_the_same_fingerprint_wherever_it_lies(changed, tmp_path):
    plain = fingerprint(changed(), tmp_path / "a")
    assert plain == fingerprint(changed(), tmp_path / "b")
    columns = fingerprint(changed(lambda a: replace(a, train_inputs=np.asfortranarray(a.train_inputs))), tmp_path / "c")
    assert plain == columns


def test_preparing_again_reads_nothing(changed, tmp_path):
    dataset = changed()
    first = prepare(dataset, None, tmp_path)
    assert prepare(dataset, None, tmp_path) == first
    assert dataset.reads == [None]


def test_find_touches_no_data(changed, tmp_path):
    dataset = changed()
    assert find(dataset, None, tmp_path) is None
    first = prepare(dataset, None, tmp_path)
    assert find(dataset, None, tmp_path) == first
    assert dataset.reads == [None]


def test_another_root_may_hold_other_data(changed, tmp_path):
    dataset = changed()
    prepare(dataset, None, tmp_path)
    assert find(dataset, tmp_path / "elsewhere", tmp_path) is None
    prepare(dataset, tmp_path / "elsewhere", tmp_path)
    assert dataset.reads == [None, tmp_path / "elsewhere"]


def test_the_same_data_under_two_names_is_written_once(changed, tmp_path):
    first = prepare(changed(), None, tmp_path)
    before = {path: path.stat().st_ino for path in first.folder.iterdir()}
    assert prepare(changed(), tmp_path / "elsewhere", tmp_path) == first
    assert {path: path.stat().st_ino for path in first.folder.iterdir()} == before


@pytest.mark.parametrize("part", PARTS)
def test_a_lost_array_is_written_again(changed, tmp_path, part):
    dataset = changed()
    first = prepare(dataset, None, tmp_path)
    (first.folder / f"{part}.npy").unlink()
    assert find(dataset, None, tmp_path) is None
    assert prepare(dataset, None, tmp_path) == first
    assert (first.folder / f"{part}.npy").is_file()


def test_half_an_index_is_no_index(changed, tmp_path):
    dataset = changed()
    first = prepare(dataset, None, tmp_path)
    (index,) = tmp_path.glob("*.json")
    for content in (index.read_text()[:9], "{}"):
        index.write_text(content)
        assert find(dataset, None, tmp_path) is None
    assert prepare(dataset, None, tmp_path) == first


def test_a_crash_while_writing_leaves_nothing_that_could_be_read(changed, tmp_path, monkeypatch):
    dataset, save = changed(), np.save

    def fails_at_the_third(file, array):
        if "test_inputs" in file.name:
            raise OSError("no space left")
        save(file, array)

    monkeypatch.setattr(np, "save", fails_at_the_third)
    with pytest.raises(StoreError, match=r"cannot write .*: no space left"):
        prepare(dataset, None, tmp_path)
    assert find(dataset, None, tmp_path) is None
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    monkeypatch.setattr(np, "save", save)
    prepared = prepare(dataset, None, tmp_path)
    assert find(dataset, None, tmp_path) == prepared
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nothing_is_left_beside_the_arrays_and_their_index(changed, tmp_path):
    prepared = prepare(changed(), None, tmp_path)
    assert sorted(path.name for path in prepared.folder.iterdir()) == sorted(f"{part}.npy" for part in PARTS)
    (index,) = [path for path in tmp_path.iterdir() if path != prepared.folder]
    note = json.loads(index.read_text())
    assert (note["dataset"], note["fingerprint"]) == ("blobs", prepared.fingerprint)


def test_the_files_hold_the_bytes_that_were_loaded(tiny, changed, tmp_path):
    prepared = prepare(changed(), None, tmp_path)
    arrays = tiny.Blobs().load(None)
    for part in PARTS:
        assert np.array_equal(np.load(prepared.folder / f"{part}.npy"), getattr(arrays, part))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: replace(a, train_inputs=a.train_inputs[:, 0]), r"train_inputs is uint8 of shape \(60, 6, 6\), and"),
        (lambda a: replace(a, train_inputs=a.train_inputs[1:]), r"train_inputs is uint8 of shape \(59, 1, 6, 6\)"),
        (lambda a: replace(a, test_inputs=a.test_inputs / 255), "test_inputs is float64 .* should be uint8 of shape"),
        (lambda a: replace(a, test_labels=a.test_labels.astype(np.int32)), "test_labels is int32 .* should be int64"),
        (lambda a: replace(a, test_labels=a.test_labels[:-1]), r"test_labels is int64 of shape \(24,\)"),
        (with_one("train_labels", 7, 3), r"train_labels are not all in 0\.\.2"),
        (with_one("test_labels", 7, -1), r"test_labels are not all in 0\.\.2"),
    ],
)
def test_data_that_is_not_what_it_says_is_an_error_and_is_not_kept(changed, tmp_path, change, message):
    dataset = changed(change)
    with pytest.raises(DataError, match=f"data set 'blobs': {message}"):
        prepare(dataset, None, tmp_path)
    assert find(dataset, None, tmp_path) is None


def test_a_damaged_array_is_an_error_that_says_what_to_do(tiny, tmp_path):
    prepared = prepare(tiny.Blobs(), None, tmp_path)
    (prepared.folder / "test_labels.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(DamagedData, match=r"test_labels\.npy is damaged .* a run makes it again"):
        Data(tiny.task(), prepared, CPU)


@pytest.fixture
def flip():
    """Changes a bit in the middle of a file, and leaves its size and its time as they were."""

    def flip(path):
        before = path.stat()
        content = bytearray(path.read_bytes())
        content[len(content) * 3 // 4] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return flip


@pytest.mark.parametrize("part", PARTS)
def test_a_flipped_bit_is_noticed_by_the_next_run_and_the_data_is_made_again(changed, flip, tmp_path, part, caplog):
    dataset = changed()
    first = prepare(dataset, None, tmp_path)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    flip(first.folder / f"{part}.npy")
    assert prepare(dataset, None, tmp_path) == first
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert dataset.reads == [None, None]
    assert "is not what was written, its hash differs" in caplog.text


def test_the_arrays_of_other_data_are_not_taken_for_these(changed, tmp_path):
    """Whole files of another data set of the same shape, with their own index."""
    dataset, other = changed(), changed(flipped("train_labels"))
    one, two = prepare(dataset, None, tmp_path / "one"), prepare(other, None, tmp_path / "two")
    shutil.rmtree(one.folder)
    shutil.copytree(two.folder, one.folder)
    assert prepare(dataset, None, tmp_path / "one").fingerprint == one.fingerprint
    assert dataset.reads == [None, None]
    (index,) = (tmp_path / "one").glob("*.json")
    shutil.copytree(two.folder, tmp_path / "one" / two.fingerprint)
    index.write_text(json.dumps({**json.loads(index.read_text()), "fingerprint": two.fingerprint}))
    assert find(dataset, None, tmp_path / "one") is None
    index.write_text('{"dataset": "blobs", "fingerprint": "..", "folder": ".."}')
    assert find(dataset, None, tmp_path / "one") is None
    assert prepare(dataset, None, tmp_path / "one") == one


def test_data_is_read_when_it_is_opened_unless_its_seal_is_right(tiny, flip, tmp_path, monkeypatch):
    prepared = prepare(tiny.Blobs(), None, tmp_path)
    reads = []
    monkeypatch.setattr(data, "damage", lambda prepared: reads.append(prepared) or "")
    Data(tiny.task(), prepared, CPU).check()
    assert reads == []
    Data(tiny.task(), replace(prepared, seal=""), CPU)
    assert len(reads) == 1
    flip(prepared.folder / "train_inputs.npy")  # the system saw that it was written
    Data(tiny.task(), prepared, CPU)
    assert len(reads) == 2


def test_data_that_is_changed_while_it_is_used_is_noticed(tiny, flip, tmp_path):
    prepared = prepare(tiny.Blobs(), None, tmp_path)
    opened = Data(tiny.task(), prepared, CPU)
    opened.check()
    flip(prepared.folder / "test_inputs.npy")
    with pytest.raises(DamagedData, match="is not what was written, its hash differs; a run makes it again"):
        opened.check()
    with pytest.raises(DamagedData):
        Data(tiny.task(), prepared, CPU)


def test_files_and_folders_are_flushed_before_and_after_they_get_their_names(changed, tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync

    def flush(handle):
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flush)
    prepared = prepare(changed(), None, tmp_path)
    assert {path.name for path in flushed} >= {f"{part}.npy" for part in PARTS}
    aside = flushed[0].parent
    assert aside.name.startswith(f".{prepared.fingerprint}.")
    assert flushed.index(aside) < flushed.index(tmp_path)
    assert all(flushed.index(aside / f"{part}.npy") < flushed.index(aside) for part in PARTS)


def test_what_is_done_to_the_tensors_does_not_reach_the_files(tiny, tmp_path):
    prepared = prepare(tiny.Blobs(), None, tmp_path)
    data = Data(tiny.task(), prepared, CPU)
    data.train.inputs.zero_()
    shutil.copytree(prepared.folder, tmp_path / "copy")
    assert np.load(tmp_path / "copy" / "train_inputs.npy").any()


def rows(split):
    return {tuple(row) for row in split.inputs.flatten(1).tolist()}


def test_validation_is_taken_out_of_the_training_examples(tiny, data_of):
    whole, parted = data_of(tiny.task()), data_of(tiny.task(validation=20))
    assert (len(whole.train), len(whole.validation)) == (60, 0)
    assert (len(parted.train), len(parted.validation)) == (40, 20)
    assert rows(parted.train) | rows(parted.validation) == rows(whole.train)
    assert not rows(parted.train) & rows(parted.validation)
    assert rows(parted.test) == rows(whole.test)


def test_validation_examples_keep_their_labels(tiny, data_of):
    whole, parted = data_of(tiny.task()), data_of(tiny.task(validation=20))
    examples = zip(whole.train.inputs.flatten(1).tolist(), whole.train.targets.tolist(), strict=True)
    label = {tuple(row): kind for row, kind in examples}
    for split in (parted.train, parted.validation):
        assert [label[tuple(row)] for row in split.inputs.flatten(1).tolist()] == split.targets.tolist()


def test_validation_is_the_same_draw_whenever_and_in_whatever_recipe(tiny, data_of):
    torch.manual_seed(1)
    first = data_of(tiny.task(validation=20))
    torch.manual_seed(2)
    second = data_of(tiny.task(validation=20, batch_size=3, label="other"))
    assert torch.equal(first.validation.inputs, second.validation.inputs)
    assert not torch.equal(first.validation.inputs, data_of(tiny.task()).train.inputs[:20])


def test_each_seed_may_hold_out_examples_of_its_own(tiny, prepared):
    def opened(seed, draw):
        task = tiny.task(validation=20, validation_draw=draw)
        return Data(task, prepared(task.dataset), CPU, seed)

    own = {seed: opened(seed, "seed") for seed in (0, 1, 0)}
    assert rows(own[0].validation) != rows(own[1].validation)
    assert rows(own[1].train) | rows(own[1].validation) == rows(own[0].train) | rows(own[0].validation)
    assert not rows(own[1].train) & rows(own[1].validation)
    assert torch.equal(own[0].validation.inputs, opened(0, "seed").validation.inputs)
    assert torch.equal(opened(0, "once").validation.inputs, opened(1, "once").validation.inputs)


def test_a_network_sees_bytes_less_their_mean_over_their_deviation(tiny, data_of):
    data = data_of(tiny.task())
    pixels = torch.tensor([0, 100, 150, 250], dtype=torch.uint8).view(1, 1, 2, 2)
    assert data.normalized(pixels).flatten().tolist() == [-2.0, 0.0, 1.0, 3.0]


def test_every_channel_has_its_own_mean_and_deviation(tiny, tmp_path):
    class Coloured(tiny.Blobs):
        mean = (10.0, 20.0)
        std = (2.0, 5.0)

        def facts(self):
            return replace(super().facts(), shape=(2, 6, 6))

        def load(self, root):
            arrays = super().load(root)
            doubled = {part: getattr(arrays, part).repeat(2, axis=1) for part in ("train_inputs", "test_inputs")}
            return replace(arrays, **doubled)

    task = tiny.task(dataset=Coloured())
    seen = Data(task, prepare(task.dataset, None, tmp_path), CPU).normalized(torch.full((1, 2, 1, 1), 30))
    assert seen.flatten().tolist() == [10.0, 2.0]


def epoch(data, first, seed=0, stream="train", steps=4):
    return [data.batch(seed, stream, step) for step in range(first, first + steps)]


def order(data, first=0, **which):
    """The examples of an epoch as numbers, found again by their pixels."""
    number = {tuple(row): index for index, row in enumerate(data.normalized(data.train.inputs).flatten(1).tolist())}
    return [number[tuple(row)] for inputs, _ in epoch(data, first, **which) for row in inputs.flatten(1).tolist()]


def test_an_epoch_visits_every_example_once_in_batches_of_which_the_last_is_ragged(tiny, data_of):
    data = data_of(tiny.task())
    for first in (0, 4, 40):
        assert [len(labels) for _, labels in epoch(data, first)] == [16, 16, 16, 12]
        assert sorted(order(data, first)) == list(range(60))


def test_an_epoch_leaves_validation_out(tiny, data_of):
    data = data_of(tiny.task(validation=20))
    assert sorted(order(data, steps=3)) == list(range(40))


def test_labels_stay_with_their_inputs(tiny, data_of):
    data = data_of(tiny.task())
    found = torch.cat([labels for _, labels in epoch(data, 0)])
    assert torch.equal(found, data.train.targets[torch.tensor(order(data))])


def test_every_epoch_seed_and_stream_has_an_order_of_its_own(tiny, data_of):
    data = data_of(tiny.task())
    orders = [order(data), order(data, 4), order(data, seed=1), order(data, stream="other")]
    assert len({tuple(one) for one in orders}) == 4
    assert all(one != list(range(60)) for one in orders)


def test_a_batch_depends_on_nothing_that_was_asked_for_before(tiny, data_of):
    task = tiny.task(augmentation=("crop", "flip"))
    data, steps = data_of(task), [0, 1, 5, 6, 19]
    torch.manual_seed(1)
    forwards = {step: data.batch(3, "train", step) for step in steps}
    torch.manual_seed(2)
    data = data_of(task)
    for step in reversed(steps):
        data.batch(4, "train", step)
        again = data.batch(3, "train", step)
        assert all(torch.equal(one, other) for one, other in zip(forwards[step], again, strict=True))


def test_augmentation_changes_the_pictures_and_neither_their_order_nor_the_stored_ones(tiny, data_of):
    plain, moved = data_of(tiny.task()), data_of(tiny.task(augmentation=("crop",)))
    before = moved.train.inputs.clone()
    (inputs, labels), (shifted, same) = plain.batch(0, "train", 2), moved.batch(0, "train", 2)
    assert torch.equal(labels, same)
    assert inputs.shape == shifted.shape
    assert not torch.equal(inputs, shifted)
    assert torch.equal(before, moved.train.inputs)


def test_the_border_of_a_crop_is_black_as_a_network_sees_black(tiny, data_of):
    black = (0 - 100.0) / 50.0
    data = data_of(tiny.task(dataset=tiny.Blobs(train=1), augmentation=("crop",)))
    data.train.inputs.fill_(250)
    seen = torch.cat([data.batch(0, "train", step)[0] for step in range(20)])
    assert set(seen.unique().tolist()) == {black, 3.0}


def test_augmentation_is_another_one_in_every_step(tiny, data_of):
    # One and the same example in every batch.
    data = data_of(tiny.task(dataset=tiny.Blobs(train=1), augmentation=("crop",)))
    pictures = {tuple(data.batch(0, "train", step)[0].flatten().tolist()) for step in range(6)}
    assert len(pictures) > 3


def test_arrays_are_what_a_data_set_gives(tiny):
    assert isinstance(tiny.Blobs().load(None), Arrays)


def test_a_changed_source_is_read_again(changed, tmp_path):
    class Signed(type(changed())):
        written = ["first"]  # what stands in a file somewhere, and no parameter

        def signature(self, root):
            return self.written[-1]

    dataset = Signed()
    first = prepare(dataset, None, tmp_path)
    dataset.written.append("second")
    assert find(dataset, None, tmp_path) is None
    assert prepare(dataset, None, tmp_path) == first  # the signature is in no key: the data is the same
    assert len(dataset.reads) == 2
    dataset.written.append("first")
    assert find(dataset, None, tmp_path) == first


def test_a_source_that_changes_while_it_is_read_is_read_again(changed, tmp_path):
    class Busy(type(changed())):
        def signature(self, root):
            return str(len(self.reads))

    dataset = Busy()
    prepare(dataset, None, tmp_path)
    assert find(dataset, None, tmp_path) is None


def test_inputs_that_fill_the_devices_memory_stay_in_the_hosts(tiny, data_of, monkeypatch):
    split, free = data_of(tiny.task()).train, {"bytes": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 0))
    moved = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append(tensor.dtype) or tensor)
    for free["bytes"], expected in ((10**6, [torch.uint8, torch.int64]), (split.inputs.nbytes, [torch.int64])):
        moved.clear()
        split.to(torch.device("cuda"))
        assert moved == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_batch_is_the_same_wherever_its_inputs_lie(tiny, prepared, monkeypatch):
    task = tiny.task(validation=20, augmentation=("crop", "flip"))
    there = Data(task, prepared(task.dataset), torch.device("cuda"))
    monkeypatch.setattr("prunebench.data.splits.SHARE", 0.0)
    here = Data(task, prepared(task.dataset), torch.device("cuda"))
    assert (there.train.inputs.device.type, here.train.inputs.device.type) == ("cuda", "cpu")
    for one, other in zip(there.batch(0, "train", 1), here.batch(0, "train", 1), strict=True):
        assert one.device.type == "cuda"
        assert torch.equal(one, other)
