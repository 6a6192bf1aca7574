"""Why a trial is not taken from the store."""

import os
import shutil

import pytest

from prunebench.api.errors import PrunebenchError
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.execution import key_inputs as inputs
from prunebench.execution.explain import NOT_SET, Change, trial_named, why
from prunebench.plan import planning as plans
from prunebench.records.keys import canonical_digest
from prunebench.store import locks as claims
from tests.execution import filling

NAME = "tiny/imp/0.7/0"


@pytest.fixture
def suite(tmp_path):
    return filling.loaded(tmp_path)


@pytest.fixture
def plan(suite):
    return filling.planned(suite)


@pytest.fixture
def store(tmp_path):
    return filling.opened(tmp_path)


def asked(plan, store, name=NAME, fingerprint=filling.PRINT):
    return why(trial_named(plan, name), plan, store, fingerprint)


def test_what_is_whole_in_the_store_is_taken_from_there(plan, store):
    filling.fill(store, plan)
    reason = asked(plan, store)
    assert (reason.kind, reason.missing) == ("stored", None)
    assert reason.text.endswith(filling.trial(plan, NAME).key)


def test_a_trial_that_nothing_was_made_for_was_never_run(plan, store):
    reason = asked(plan, store)
    assert reason.kind == "never"
    assert (reason.missing.stage, reason.missing.place) == ("initialize", 1)
    filling.fill(store, plan, {"tiny/dense/0/0"})
    reason = asked(plan, store)
    assert reason.kind == "never"
    assert reason.missing.stage == "prune to density 0.8 by magnitude"
    assert reason.missing.place == len(filling.trial(plan, "tiny/dense/0/0").chain) + 2  # the ticket stops at step 3


def test_a_parameter_of_the_method_that_changed_is_named_with_both_values(tmp_path, plan, store):
    filling.fill(store, plan, began=5000.0)
    reason = asked(filling.planned(filling.loaded(tmp_path, "methods.1.rewind_to=4it")), store)
    assert reason.kind == "changed"
    assert reason.changes == (Change("method.rewind_to", "3it", "4it"),)
    assert reason.since > 5000.0


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("tasks.recipe.epochs=3", Change("recipe.epochs", "2", "3")),
        ("tasks.model.hidden=[13]", Change("model.hidden", "[12]", "[13]")),
        ("tasks.recipe.optimizer.nesterov=true", Change("recipe.optimizer.nesterov", NOT_SET, "true")),
    ],
)
def test_a_recipe_or_model_that_changed_is_named(tmp_path, plan, store, setting, change):
    filling.fill(store, plan)
    reason = asked(filling.planned(filling.loaded(tmp_path, setting)), store)
    assert (reason.kind, reason.changes) == ("changed", (change,))
    assert reason.missing.place == 1


def test_other_data_is_named(suite, plan, store):
    filling.fill(store, plan)
    reason = asked(filling.planned(suite, "e" * 32), store, fingerprint="e" * 32)
    assert reason.changes == (Change("data", "f" * 32, "e" * 32),)


def test_data_that_was_not_read_is_no_change(tmp_path, plan, store):
    unread = filling.planned(filling.loaded(tmp_path, "tasks.recipe.epochs=3"), plans.UNKNOWN_DATA)
    assert asked(unread, store, fingerprint=plans.UNKNOWN_DATA).kind == "unread"
    filling.fill(store, plan)
    reason = asked(unread, store, fingerprint=plans.UNKNOWN_DATA)
    assert reason.kind == "unread"
    assert reason.changes == (Change("recipe.epochs", "2", "3"),)


def test_source_that_a_version_speaks_for_is_no_reason(suite, plan, store, monkeypatch):
    filling.fill(store, plan)
    changed = inputs.core_hashes() | {"training.py": "other"}
    monkeypatch.setattr(inputs, "core_hashes", lambda: changed)
    assert asked(filling.planned(suite), store).kind == "stored"


def test_another_version_of_the_protocol_is_named(suite, plan, store, monkeypatch):
    filling.fill(store, plan)
    for module in (plans, inputs):
        monkeypatch.setattr(module, "PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
    changed = inputs.core_hashes() | {"training.py": "other"}
    monkeypatch.setattr(inputs, "core_hashes", lambda: changed)
    reason = asked(filling.planned(suite), store)
    assert reason.kind == "changed"
    assert reason.changes == (Change("protocol version", str(PROTOCOL_VERSION), str(PROTOCOL_VERSION + 1)),)
    assert reason.text == (
        f"the protocol is version {PROTOCOL_VERSION + 1}, the stored result is of older version {PROTOCOL_VERSION}: "
        "it is computed anew"
    )


@pytest.fixture
def raised(monkeypatch):
    """Raises the version of a class for a test."""

    def make(cls):
        monkeypatch.setattr(cls, "version", 2)
        canonical_digest.cache_clear()

    yield make
    monkeypatch.undo()
    canonical_digest.cache_clear()


def test_another_version_of_a_model_is_named_with_the_one_of_the_stored_result(suite, plan, store, raised):
    filling.fill(store, plan)
    raised(type(suite.trials[0].task.model))
    reason = asked(filling.planned(suite), store)
    assert reason.changes == (Change("model version", "1", "2"),)
    assert reason.text == "model mlp is version 2, the stored result is of version 1: it is computed anew"


def test_another_version_of_a_method_that_a_stage_names_is_told(suite, plan, store, raised, method):
    filling.fill(store, plan)
    raised(type(method("magnitude")))
    reason = asked(filling.planned(suite), store)
    assert reason.changes == (Change("stage method magnitude version", "1", "2"),)
    assert reason.text == "stage method magnitude is version 2, the stored result is of version 1: it is computed anew"


def test_the_version_of_a_method_that_is_in_no_stage_of_its_chain_makes_nothing_new(suite, plan, store, raised):
    # The chain that it makes is all that it says, and the chain is in the keys.
    filling.fill(store, plan)
    raised(type(filling.trial(plan, NAME).trial.entry.method))
    assert asked(filling.planned(suite), store).kind == "stored"


def test_a_result_of_a_store_from_before_there_were_versions_is_told_to_be_of_an_older_protocol(suite, store):
    filling.fill_old(store, suite)
    reason = asked(filling.planned(suite), store)
    assert reason.kind == "changed"
    assert reason.changes == (Change("protocol version", NOT_SET, str(PROTOCOL_VERSION)),)
    assert reason.text == (
        f"the protocol is version {PROTOCOL_VERSION}, the stored result is of an older one that says no version: "
        "it is computed anew"
    )


def test_a_parameter_that_changed_is_told_beside_another_protocol(tmp_path, suite, store):
    filling.fill_old(store, suite)
    other = filling.loaded(tmp_path, "methods.1.rewind_to=4it")
    changes = asked(filling.planned(other), store).changes
    assert [change.name for change in changes] == ["protocol version", "method.rewind_to"]


def test_a_chain_that_other_code_makes_is_told_from_what_is_in_a_key(suite, plan, store, monkeypatch):
    filling.fill(store, plan)
    changed = inputs.core_hashes() | {"plan/planning.py": "other"}
    monkeypatch.setattr(inputs, "core_hashes", lambda: changed)
    monkeypatch.setattr(plans, "protocol", lambda task, fingerprint: "another")
    assert [change.name for change in asked(filling.planned(suite), store).changes] == ["prunebench/plan/planning.py"]


def test_the_nearest_of_several_earlier_entries_is_compared_with(tmp_path, plan, store):
    far = filling.planned(filling.loaded(tmp_path, "tasks.recipe.epochs=5", "methods.1.rewind_to=5it"))
    filling.fill(store, far, began=9000.0)
    filling.fill(store, plan, began=1000.0)
    reason = asked(filling.planned(filling.loaded(tmp_path, "methods.1.rewind_to=4it")), store)
    assert [change.name for change in reason.changes] == ["method.rewind_to"]


def test_a_trial_that_was_begun_is_not_finished(plan, store):
    filling.fill(store, plan)
    store.discard(filling.trial(plan, "tiny/imp/0.7/0").key)
    shutil.rmtree(store.folder(plan.nodes[filling.trial(plan, NAME).key].parent), ignore_errors=True)
    reason = asked(plan, store)
    assert reason.kind == "unfinished"
    assert reason.changes == ()


def test_a_stage_that_failed_is_told_with_its_reason(plan, store):
    filling.fill(store, plan, {"tiny/dense/0/0"})
    first = asked(plan, store)
    key = next(key for key in filling.trial(plan, NAME).chain if not store.has(key) and plan.nodes[key].steps)
    store.write_failure(key, {"reason": "no luck", "time": 77.0})
    reason = asked(plan, store)
    assert (reason.kind, reason.text, reason.since) == ("failed", "no luck", 77.0)
    assert reason.missing == first.missing


@pytest.mark.parametrize("file", ["record.json", "weights.safetensors"])
def test_a_damaged_entry_is_told_with_its_file(plan, store, file):
    filling.fill(store, plan)
    path = store.folder(filling.trial(plan, NAME).key) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    reason = asked(plan, store)
    assert reason.kind == "damaged"
    assert file in reason.text
    assert path.exists()


def test_a_damaged_state_that_a_chain_goes_on_from_is_told(plan, store):
    filling.fill(store, plan)
    end = filling.trial(plan, NAME).key
    store.discard(end)
    begin = next(key for key in reversed(filling.trial(plan, NAME).chain) if key != end and store.has(key))
    (store.folder(begin) / "weights.safetensors").write_bytes(b"")
    assert asked(plan, store).kind == "damaged"


def test_a_stage_under_way_is_told_with_its_place(plan, store):
    job = filling.trial(plan, "tiny/dense/0/0").key
    with claims.lock(store, job, claims.Work(trial="tiny/dense/0/0", stage="train", start=0, stop=30)):
        reason = asked(plan, store, "tiny/dense/0/0")
    assert reason.kind == "running"
    assert f"process {os.getpid()}" in reason.text


def test_a_skipped_trial_has_its_own_reason(tmp_path, store):
    plan = filling.planned(filling.loaded(tmp_path, "sparsities=[0.99999]"))
    name = next(str(one.trial) for one in plan.trials if one.skipped)
    assert asked(plan, store, name).kind == "skipped"


def test_an_unknown_trial_is_an_error_with_the_nearest_name(plan):
    with pytest.raises(PrunebenchError, match=r"no trial 'tiny/impp/0\.7/0'; did you mean 'tiny/imp/0\.7/0'"):
        trial_named(plan, "tiny/impp/0.7/0")
