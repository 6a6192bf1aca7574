"""Entries are there whole or not at all, and say so when their bytes changed."""

import errno
import hashlib
import json
import os

import pytest
import torch

from prunebench.api.errors import CorruptEntry, StoreError
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.store import entries as store_module
from prunebench.store import transfer
from prunebench.store.entries import Store

KEY = "ab" + "0" * 30
RECORD = {"stage": "Train()", "figures": {"test_accuracy": 0.25}, "shapes": {"w": [2, 3]}}
FILES = {
    "weights": {"parameter/w": torch.arange(6.0).view(2, 3), "buffer/n": torch.tensor(3)},
    "masks": {"w": torch.tensor([0b11100000], dtype=torch.uint8)},
}


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def entry(store):
    """The folder of an entry that was written."""
    store.write(KEY, RECORD, FILES)
    return store.folder(KEY)


def test_an_entry_comes_back_as_it_was_written(store, entry):
    record = store.record(KEY)
    assert record.items() >= RECORD.items()
    found = store.tensors(KEY, record)
    assert found.keys() == FILES.keys()
    for name, tensors in FILES.items():
        assert found[name].keys() == tensors.keys()
        assert all(torch.equal(found[name][key], tensor) for key, tensor in tensors.items())


def test_an_entry_lies_in_a_folder_named_by_its_key(store, entry):
    assert entry == store.root / "states" / "ab" / KEY
    assert sorted(path.name for path in entry.iterdir()) == ["masks.safetensors", "record.json", "weights.safetensors"]
    assert [path.name for path in entry.parent.iterdir()] == [KEY]


def test_an_entry_of_a_dense_network_has_no_masks(store):
    store.write(KEY, RECORD, {"weights": FILES["weights"]})
    assert store.masks(KEY, store.record(KEY)) is None
    assert store.tensors(KEY, store.record(KEY)).keys() == {"weights"}


def test_the_masks_of_an_entry_are_a_file_of_their_own(store, entry):
    assert store.masks(KEY, store.record(KEY)) == entry / "masks.safetensors"


def test_a_store_that_was_moved_still_has_its_entries(store, entry, tmp_path):
    store.root.rename(tmp_path / "moved")
    moved = Store.open(tmp_path / "moved")
    assert moved.tensors(KEY, moved.record(KEY)).keys() == FILES.keys()


def test_what_is_not_there_is_not_there(store):
    assert not store.has(KEY)
    with pytest.raises(StoreError, match=f"no entry {KEY}"):
        store.record(KEY)


@pytest.mark.parametrize("position", [0, 8, 40, -1])
@pytest.mark.parametrize("name", ["weights", "masks"])
def test_a_changed_byte_is_noticed(store, entry, name, position):
    path = entry / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptEntry, match=f"{name}.safetensors is not what was written"):
        store.tensors(KEY, store.record(KEY))


def test_a_truncated_file_is_noticed(store, entry):
    path = entry / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptEntry, match="not what was written"):
        store.tensors(KEY, store.record(KEY))


def test_a_lost_file_is_noticed(store, entry):
    (entry / "masks.safetensors").unlink()
    with pytest.raises(CorruptEntry, match=r"masks\.safetensors cannot be read"):
        store.tensors(KEY, store.record(KEY))


def test_a_file_that_never_was_safetensors_is_noticed(store, entry):
    (entry / "masks.safetensors").write_bytes(b"nonsense")
    record = store.record(KEY)
    record["files"]["masks"] = hashlib.sha256(b"nonsense").hexdigest()
    with pytest.raises(CorruptEntry, match="not a safetensors file"):
        store.tensors(KEY, record)


def test_an_edited_record_is_noticed(store, entry):
    path = entry / "record.json"
    path.write_text(path.read_text().replace("0.25", "0.95"))
    with pytest.raises(CorruptEntry, match="its checksum differs"):
        store.record(KEY)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '"text"', '{"checksum": 1}'])
def test_a_record_that_is_none_is_noticed(store, entry, content):
    (entry / "record.json").write_text(content)
    with pytest.raises(CorruptEntry):
        store.record(KEY)


def test_an_entry_under_another_ones_key_is_noticed(store, entry):
    other = "ab" + "1" * 30
    entry.rename(entry.parent / other)
    with pytest.raises(CorruptEntry, match="its checksum differs"):
        store.record(other)


def test_a_half_written_entry_is_not_seen_and_the_next_try_replaces_it(store, monkeypatch):
    write, written = store_module._write_through, []

    def power_cut(path, content):
        if path.name == "record.json":
            raise KeyboardInterrupt
        write(path, content)
        written.append(path)

    monkeypatch.setattr(store_module, "_write_through", power_cut)
    with pytest.raises(KeyboardInterrupt):
        store.write(KEY, RECORD, FILES)
    assert len(written) == 2
    assert not store.has(KEY)
    monkeypatch.setattr(store_module, "_write_through", write)
    store.write(KEY, RECORD, FILES)
    assert store.has(KEY)
    assert [path.name for path in store.folder(KEY).parent.iterdir()] == [KEY]


def test_a_disk_that_is_full_is_a_store_error_and_leaves_nothing(store, monkeypatch):
    def full(path, content):
        path.write_bytes(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prunebench.store.entries._write_through", full)
    with pytest.raises(StoreError, match=r"cannot write .*: No space left on device"):
        store.write(KEY, RECORD, FILES)
    assert not store.has(KEY)
    assert list((store.root / "states" / "ab").iterdir()) == []


def test_a_damaged_entry_is_replaced_by_a_new_one(store, entry):
    (entry / "weights.safetensors").write_bytes(b"")
    (entry / "optimizer.safetensors").write_bytes(b"of another time")
    store.write(KEY, RECORD, FILES)
    assert store.tensors(KEY, store.record(KEY)).keys() == FILES.keys()
    assert not (entry / "optimizer.safetensors").exists()


def test_a_discarded_entry_is_gone(store, entry):
    store.discard(KEY)
    assert not store.has(KEY)
    store.discard(KEY)


def test_a_store_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write to the store .*file/store: Not a directory; .*--store"):
        Store.open(tmp_path / "file" / "store")


def test_a_file_where_entries_belong_is_removed(store):
    (store.root / "states" / "ab").touch()
    store.write(KEY, RECORD, FILES)
    store.verified(KEY)


def test_an_entry_that_cannot_be_written_is_an_error(store, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "_write_through", full)
    with pytest.raises(StoreError, match=f"cannot write .*{KEY}"):
        store.write(KEY, RECORD, FILES)


def test_a_failure_is_kept_and_is_no_result(store):
    store.write_failure(KEY, {"reason": "diverged"})
    assert store.failure(KEY) == {"protocol": PROTOCOL_VERSION, "reason": "diverged"}
    assert not store.has(KEY)
    with pytest.raises(StoreError):
        store.record(KEY)
    store.forget_failure(KEY)
    assert store.failure(KEY) is None
    store.forget_failure(KEY)


def test_half_a_failure_is_none(store):
    (store.root / "failures" / f"{KEY}.json").write_text('{"rea')
    assert store.failure(KEY) is None


def test_opening_a_store_again_keeps_what_is_in_it(store, entry):
    assert Store.open(store.root).has(KEY)
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".")] == []


def test_a_record_is_json_that_a_person_can_read(store, entry):
    record = json.loads((entry / "record.json").read_text())
    assert record["key"] == KEY
    assert record["format"] == 1
    assert record["files"].keys() == {"weights", "masks"}


def test_a_record_says_the_version_of_the_protocol_and_an_entry_without_one_is_older(store):
    store.write(KEY, {}, {})
    path = store.folder(KEY) / "record.json"
    assert store.record(KEY)["protocol"] == PROTOCOL_VERSION
    assert not store.has_older()
    written = path.read_text("utf-8")
    for version, older in (("", True), ('"protocol": 0,', True), (f'"protocol": {PROTOCOL_VERSION + 1},', False)):
        path.write_text(written.replace(f'"protocol": {PROTOCOL_VERSION},', version), "utf-8")
        assert store.has_older() is older
    for damaged in ("", "{}", written[:10]):
        path.write_text(damaged, "utf-8")
        assert not store.has_older()


@pytest.mark.timeout(30)
def test_a_pipe_in_the_place_of_a_record_is_not_waited_for(store):
    store.write(KEY, {}, {})
    path = store.folder(KEY) / "record.json"
    path.unlink()
    os.mkfifo(path)
    assert not store.has_older()
    with pytest.raises(CorruptEntry, match="not a file"):
        transfer.pack(store, KEY)
