"""What lies in a store, and what of it may go."""

import json
import os
import time

import pytest
import torch

from prunebench.api.components import Files
from prunebench.api.errors import StoreError
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.data import prepared as data
from prunebench.data import streaming
from prunebench.data.prepared import Prepared, prepare
from prunebench.store import locks as claims
from prunebench.store.collection import (
    Needs,
    collect,
    damages,
    discard,
    items,
    needs,
    older,
    remove_older,
    sizes,
    surplus,
)
from prunebench.store.entries import Entries
from tests.execution import filling


@pytest.fixture
def store(tmp_path):
    return filling.opened(tmp_path)


def prepared(suite, fingerprint=filling.PRINT):
    return {trial.task.label: Prepared(None, fingerprint) for trial in suite.trials}


def there(store):
    return {path.parent.name for path in store.root.glob("states/*/*/record.json")}


def test_a_store_that_is_not_there_is_empty(tmp_path):
    assert sizes(filling.Store(tmp_path / "none")) == {}


def test_sizes_count_entries_and_every_byte(tmp_path, store):
    plan = filling.planned(filling.loaded(tmp_path))
    made = filling.fill(store, plan, {"tiny/dense/0/0"})
    store.write_failure("a" * 32, {"reason": "no luck"})
    (store.logs / f"{'a' * 32}.log").write_bytes(b"x" * 100)
    found = sizes(store)
    assert found["states"].entries == len(made)
    assert found["states"].bytes == sum(path.stat().st_size for path in store.root.glob("states/*/*/*"))
    assert (found["logs"].entries, found["logs"].bytes) == (1, 100)
    assert found["failures"].entries == 1


def test_what_any_of_the_suites_needs_stays_and_the_rest_goes(tmp_path, store):
    old, new = (filling.loaded(tmp_path, f"tasks.recipe.epochs={epochs}") for epochs in (2, 3))
    first = filling.fill(store, filling.planned(old))
    second = filling.fill(store, filling.planned(new))
    wanted = needs(new.trials, prepared(new), store)
    assert {item.name for item in surplus(store, wanted).items} == set(first)
    assert there(store) == {*first, *second}  # looking deletes nothing
    gone = collect(store, wanted)
    assert gone.bytes > 0
    assert there(store) == set(second)
    assert collect(store, wanted).items == ()
    both = wanted | needs(old.trials, prepared(old), store)
    assert surplus(store, both).items == ()


def test_failures_and_logs_go_with_their_stages(tmp_path, store):
    suite = filling.loaded(tmp_path)
    own = filling.trial(filling.planned(suite), "tiny/imp/0.7/0").key
    for key in (own, "a" * 32):
        store.write_failure(key, {"reason": "no luck"})
        (store.logs / f"{key}.log").write_text("said")
    collect(store, needs(suite.trials, prepared(suite), store))
    assert [path.name for path in store.logs.iterdir()] == [f"{own}.log"]
    assert [path.name for path in (store.root / "failures").iterdir()] == [f"{own}.json"]


def test_of_data_that_was_not_read_from_here_everything_by_its_name_stays(tmp_path, store):
    suite = filling.loaded(tmp_path)
    made = filling.fill(store, filling.planned(suite))
    wanted = needs(suite.trials, {}, store)  # such as without --data
    assert surplus(store, wanted).items == ()
    assert set(made) <= wanted.keys


def test_data_sets_that_no_suite_has_go_with_their_index(tmp_path, store):
    suite = filling.loaded(tmp_path)
    used = prepare(suite.trials[0].task.dataset, None, store.data)
    other = store.data / ("e" * 32)
    other.mkdir()
    index = store.data / f"other-{'d' * 32}.json"
    index.write_text(json.dumps(data._note(index, "other", other.name)))
    collect(store, needs(suite.trials, {"tiny": used}, store))
    assert sorted(item.name for item in items(store) if item.kind == "data") == [used.fingerprint] * 2


def test_the_list_of_a_data_set_that_lies_elsewhere_stays_with_its_index_and_is_checked(store):
    index, fingerprint = store.data / f"pictures-{'d' * 32}.json", "f" * 32
    index.write_text(json.dumps(data._note(index, "pictures", fingerprint)))
    listing = index.with_suffix(".files")
    listing.mkdir()
    streaming.write(Files(store.root, ["a.png"], [0], ["b.png"], [0]), listing, fingerprint)
    assert {item.name for item in items(store)} == {fingerprint}
    assert surplus(store, Needs(data=frozenset({fingerprint}))).items == ()
    assert list(damages(store)) == []
    assert len(surplus(store, Needs()).items) == 2
    (listing / "train_labels.npy").write_bytes((listing / "test_names.npy").read_bytes())
    assert [damage.item.path for damage in damages(store)] == [listing]


def test_nothing_goes_while_another_suite_runs(tmp_path, store):
    suite = filling.loaded(tmp_path)
    made = filling.fill(store, filling.planned(suite))
    with claims.lock(store, "b" * 32, claims.Work(trial="other/imp/0.9/0", stage="train", start=0, stop=9)):
        assert [work.trial for work in surplus(store, Needs()).held] == ["other/imp/0.9/0"]
        with pytest.raises(StoreError, match=r"other/imp/0\.9/0 is being run"):
            collect(store, Needs())
        assert there(store) == set(made)
    collect(store, Needs())
    assert there(store) == set()


def test_a_run_of_one_of_the_suites_holds_nothing_up(tmp_path, store):
    suite = filling.loaded(tmp_path)
    plan = filling.planned(suite)
    old = filling.fill(store, filling.planned(filling.loaded(tmp_path, "tasks.recipe.epochs=3")))
    key = filling.trial(plan, "tiny/dense/0/0").key
    with claims.lock(store, key, claims.Work(trial="tiny/dense/0/0", stage="train", start=0, stop=9)):
        gone = collect(store, needs(suite.trials, prepared(suite), store))
    assert {item.name for item in gone.items} == set(old)


def test_a_half_written_entry_goes_when_nobody_can_be_writing_it(store):
    aside = store.root / "states" / "ab" / f".{'ab' * 16}.123"
    aside.mkdir(parents=True)
    assert surplus(store, Needs()).items == ()
    before = time.time() - 7200
    os.utime(aside, (before, before))
    assert [item.path for item in surplus(store, Needs()).items] == [aside]


def test_a_link_is_not_followed(tmp_path, store):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    (store.logs / "link").symlink_to(precious)
    collect(store, Needs())
    assert (precious / "file").read_text() == "mine"
    assert not (store.logs / "link").is_symlink()


def test_notes_of_runs_and_what_nobody_knows_stay(store):
    for name in ("running", "unsent", "mine"):
        (store.root / name).mkdir(exist_ok=True)
        (store.root / name / "note.json").write_text("{}")
    assert surplus(store, Needs()).items == ()


@pytest.mark.parametrize("file", ["record.json", "weights.safetensors"])
def test_a_flipped_bit_of_a_state_is_found(tmp_path, store, file):
    made = filling.fill(store, filling.planned(filling.loaded(tmp_path)), {"tiny/dense/0/0"})
    assert list(damages(store)) == []
    path = store.folder(made[-1]) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    [damage] = damages(store)
    assert (damage.item.kind, damage.item.name) == ("states", made[-1])
    discard(damage)
    assert there(store) == set(made[:-1])


@pytest.mark.parametrize("file", ["record.json", "weights.safetensors"])
def test_a_flipped_bit_of_a_checkpoint_is_found(store, file):
    kept = store.checkpoints("c" * 32)
    kept.write("000000000007", {"node": "c" * 32}, {"weights": {"w": torch.zeros(4)}})
    (kept.root / ".000000000008.half").mkdir()
    assert list(damages(store)) == []
    path = kept.folder("000000000007") / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    [damage] = damages(store)
    assert (damage.item.kind, damage.item.name) == ("checkpoints", f"{'c' * 32}/000000000007")
    discard(damage)
    assert [path.name for path in kept.root.iterdir()] == [".000000000008.half"]


def test_a_checkpoint_of_another_training_is_found_and_the_last_one_leaves_nothing(store):
    kept = store.checkpoints("c" * 32)
    kept.write("000000000007", {"node": "d" * 32}, {"weights": {"w": torch.zeros(4)}})
    [damage] = damages(store)
    assert "is of another training" in damage.text
    discard(damage)
    assert not kept.root.exists()


def test_a_checkpoint_that_goes_while_it_is_read_is_no_damage(store, monkeypatch):
    kept = store.checkpoints("c" * 32)
    kept.write("000000000007", {"node": "c" * 32}, {"weights": {"w": torch.zeros(4)}})
    record = Entries.record

    def gone(entries, key):
        found = record(entries, key)
        kept.discard(key)
        return found

    monkeypatch.setattr(Entries, "record", gone)
    assert list(damages(store)) == []


def test_a_flipped_bit_of_a_data_set_is_found(tmp_path, store):
    suite = filling.loaded(tmp_path)
    data = prepare(suite.trials[0].task.dataset, None, store.data)
    assert list(damages(store)) == []
    path = data.folder / "train_inputs.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    [damage] = damages(store)
    assert damage.item.name == data.fingerprint
    discard(damage)
    assert prepare(suite.trials[0].task.dataset, None, store.data) == data
    assert list(damages(store)) == []


def test_what_is_of_an_older_protocol_is_found_and_taken_away_and_nothing_else(tmp_path, store):
    suite = filling.loaded(tmp_path)
    new, old = filling.fill(store, filling.planned(suite)), filling.fill_old(store, suite)
    (store.logs / f"{old[0]}.log").write_text("said")
    (store.logs / f"{new[0]}.log").write_text("said")
    store.write_failure("a" * 32, {"reason": "no luck"})
    (store.root / "failures" / f"{'b' * 32}.json").write_text('{"reason": "no luck", "time": 1.0}', "utf-8")
    found = older(store)
    assert {item.name for item in found.items} == {*old, "b" * 32}
    assert found.sizes["logs"].entries == 1
    assert there(store) == {*new, *old}  # looking deletes nothing
    assert remove_older(store).bytes == found.bytes
    assert there(store) == set(new)
    assert not store.has_older()
    assert store.failure("a" * 32)
    assert older(store).items == ()


def test_a_checkpoint_of_an_older_protocol_goes_too(store):
    entries = store.checkpoints("a" * 32)
    entries.write("5", {"node": "a" * 32}, {"weights": {"w": torch.zeros(8)}})
    assert older(store).items == ()
    path = entries.folder("5") / "record.json"
    path.write_text(path.read_text("utf-8").replace(f'"protocol": {PROTOCOL_VERSION},', ""), "utf-8")
    assert [item.kind for item in older(store).items] == ["checkpoints"]


def test_nothing_of_an_older_protocol_goes_while_something_runs(tmp_path, store):
    old = filling.fill_old(store, filling.loaded(tmp_path))
    with (
        claims.lock(store, "c" * 32, claims.Work(trial="t", stage="train", start=0, stop=1)),
        pytest.raises(StoreError, match="nothing was deleted"),
    ):
        remove_older(store)
    assert there(store) == set(old)
