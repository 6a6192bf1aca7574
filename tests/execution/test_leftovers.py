"""What a process leaves that was killed when its job was done is taken away by the next run, and nothing else."""

import pytest

from prunebench.store.collection import remove_leftovers
from prunebench.store.entries import Store

DONE, BEGUN = "ab" + "0" * 30, "cd" + "0" * 30


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "store")
    store.write(DONE, {}, {})
    return store


def test_checkpoints_of_what_is_done_go_and_those_of_what_is_not_stay(store):
    for key in (DONE, BEGUN):
        store.checkpoints(key).write("000000000512", {}, {})
    (store.checkpoints(DONE).root / "000000000512").rename(store.checkpoints(DONE).root / ".000000000512.gone")
    remove_leftovers(store)
    assert [path.name for path in (store.root / "checkpoints").iterdir()] == [BEGUN]
    assert store.checkpoints(BEGUN).has("000000000512")
    assert store.has(DONE)


def test_what_was_on_its_way_to_removal_goes(store):
    store.checkpoints(BEGUN).write("000000000512", {}, {})
    store.checkpoints(BEGUN).root.rename(store.root / "checkpoints" / f".{BEGUN}.abc.gone")
    (store.root / "failures" / ".x.abc.gone").write_text("x", "utf-8")
    remove_leftovers(store)
    assert [path for folder in ("checkpoints", "failures") for path in (store.root / folder).iterdir()] == []


def test_claims_are_swept_too(store):
    for key in (DONE, BEGUN):
        (store.root / "running" / f"{key}.lock").touch()
        (store.root / "running" / f"{key}.json").touch()
    remove_leftovers(store)
    assert sorted(path.name for path in (store.root / "running").iterdir()) == [f"{BEGUN}.json", f"{BEGUN}.lock"]


def test_a_store_that_is_not_there_has_none(tmp_path):
    remove_leftovers(Store(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []
