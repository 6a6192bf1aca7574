"""Walking the tree: the same states whatever the workers, failures booked, nothing run twice."""

import json

import pytest

from prunebench import session
from prunebench.data.prepared import prepare
from prunebench.execution.open_trials import TaskData
from prunebench.execution.scheduler import Scheduler, SchedulerOptions
from prunebench.store.entries import Store
from tests import runs


def walked(loaded, store, workers=2, **options):
    """The events of a scheduler over a suite."""
    opened = Store.open(store)
    prepared = {trial.task.label: prepare(trial.task.dataset, None, opened.data) for trial in loaded.trials}
    chosen = SchedulerOptions(workers=workers, plugins=loaded.files, blocked=loaded.blocked, **options)
    return list(
        Scheduler(session.plan_suite(loaded, prepared), opened, loaded.registry, TaskData(prepared), chosen).events()
    )


def statuses(events):
    return {str(event.planned.trial): event.result.status for event in events}


@pytest.fixture
def suite(tmp_path):
    return runs.write_suite(tmp_path)


@pytest.fixture
def troubled(tmp_path):
    """Reads a suite of the dense control and a method that has the trouble given."""

    def load(code):
        path = runs.with_trouble(tmp_path, code)
        text = runs.SUITE.split("methods:")[0] + f"methods: [{{name: mine, marks: '{tmp_path}'}}]\n"
        suite = runs.write_suite(tmp_path, text + "sparsities: [0.5]\nseeds: 2\n")
        return session.load_suite(suite, plugin_files=[path])

    return load


ZEROS = """
import torch
import prunebench
from prunebench import Initialize, Prune, Train

class Zeros(prunebench.Method):
    \"\"\"Scores of 0 in the first layer.\"\"\"

    name = "zeros"

    def scores(self, scoring):
        first, *others = scoring.layers
        rest = {layer.name: torch.rand(layer.shape, generator=scoring.generator) for layer in others}
        return {first.name: torch.zeros(first.shape), **rest}

    def stages(self, trial):
        yield Initialize()
        yield Prune(by=self, density=trial.density)
        yield Train()

@prunebench.hookimpl
def register_methods():
    return [Zeros]
"""


def test_layers_without_a_score_are_warned_of_once_and_recorded(tmp_path, caplog):
    plugin = tmp_path / "zeros.py"
    plugin.write_text(ZEROS)
    text = runs.SUITE.split("methods:")[0] + "methods: [random, zeros]\nsparsities: [0.5, 0.75]\nseeds: 2\n"
    loaded = session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[plugin])
    for _ in range(2):  # a second run, which finds all in the store, says it too
        caplog.clear()
        events = walked(loaded, tmp_path / "store")
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "/zeros/" in warning
        assert "1 layer has no score (" in warning
        assert "of the kept weights were chosen by their order, among equal scores" in warning
    for event in events:
        metrics, notes = event.result.metrics, event.result.provenance
        if event.result.method == "zeros":
            first = event.result.layers[0]
            assert metrics["zero_scores"] == first["total"]
            assert metrics["unscored_share"] == first["total"] / metrics["parameters_prunable"]
            assert metrics["unscored_layers"] == 1
            kept = round((1 - event.result.sparsity) * metrics["parameters_prunable"])
            others = metrics["parameters_prunable"] - first["total"]
            assert metrics["tied_weights"] == max(0, kept - others)
            assert metrics["tied_share"] == pytest.approx(metrics["tied_weights"] / kept)
            assert notes["note.unscored_layers"] == first["name"]
        else:
            assert "note.unscored_layers" not in notes
            assert metrics.get("unscored_layers", 0) == 0
            assert ("zero_scores" in metrics) == (event.result.method == "random")


def test_one_worker_and_two_make_the_same_states_bit_for_bit(suite, tmp_path):
    loaded = session.load_suite(suite)
    one, two = walked(loaded, tmp_path / "one", workers=1), walked(loaded, tmp_path / "two", workers=2)
    assert set(statuses(one).values()) == {"done"}
    assert len(one) == len(two) == len(loaded.trials) == 18
    assert runs.states(tmp_path / "one") == runs.states(tmp_path / "two")


def test_a_second_walk_finds_everything_in_the_store(suite, tmp_path):
    loaded = session.load_suite(suite)
    first = walked(loaded, tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("record.json")}
    second = walked(loaded, tmp_path / "store")
    assert not any(event.cached for event in first)
    assert all(event.cached for event in second)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("record.json")} == before
    assert {str(e.planned.trial): e.result.metrics for e in first} == {
        str(e.planned.trial): e.result.metrics for e in second
    }


def test_the_trials_of_one_trajectory_run_it_once(suite, tmp_path):
    loaded = session.load_suite(suite, only=["method=imp,seed=0"])
    walked(loaded, tmp_path / "store")
    stages = [json.loads(path.read_text("utf-8"))["stage"] for path in (tmp_path / "store").rglob("record.json")]
    trainings = [stage for stage in stages if stage.startswith("Train")]
    # To 3it and to the end; levels 0.8, 0.64, 0.512 and the last rungs 0.5 and 0.3 with 0.4096, 0.32768 between.
    assert len(trainings) == 2 + 7


def test_a_result_states_the_cost_of_its_whole_chain(suite, tmp_path):
    loaded = session.load_suite(suite, only=["sparsity=0.5,seed=0"])
    results = {event.result.method: event.result for event in walked(loaded, tmp_path / "store")}
    assert results["dense"].metrics["training_cost"] == 1.0
    assert results["dense"].metrics["steps"] == 20
    assert results["random"].metrics["sparsity"] == 0.5
    assert results["imp"].metrics["steps"] == 20 + 4 * 17  # levels 0.8, 0.64, 0.512, 0.5, each from step 3
    assert results["imp"].metrics["examples"] == 2000 + 4 * 1700
    assert results["imp-shuffle"].metrics["steps"] == results["imp"].metrics["steps"]
    assert 1 < results["magnitude"].metrics["training_cost"] < 1.5


def test_a_method_that_raises_fails_its_trials_and_no_other(troubled, tmp_path):
    loaded = troubled("if seed == 1: raise ValueError('no luck')")
    events = walked(loaded, tmp_path / "store")
    assert statuses(events) == {
        "tiny/dense/0/0": "done",
        "tiny/dense/0/1": "done",
        "tiny/mine/0.5/0": "done",
        "tiny/mine/0.5/1": "failed",
    }
    (failed,) = [event.result for event in events if event.result.status == "failed"]
    assert failed.reason.startswith("ValueError: no luck")
    assert failed.metrics == {}


def test_a_failure_is_not_tried_again_unless_asked(troubled, tmp_path):
    loaded = troubled("if seed == 1 and len(tries) < 2: raise ValueError('no luck')")
    walked(loaded, tmp_path / "store")
    (again,) = [event for event in walked(loaded, tmp_path / "store") if event.result.status == "failed"]
    assert "--retry-failed" in again.result.reason
    assert (tmp_path / "seed-1").read_text() == "x"
    retried = walked(loaded, tmp_path / "store", retry_failed=True)
    assert set(statuses(retried).values()) == {"done"}
    assert (tmp_path / "seed-1").read_text() == "xx"


def test_a_worker_that_is_killed_is_tried_again(troubled, tmp_path):
    loaded = troubled("if seed == 1 and len(tries) < 3: os.kill(os.getpid(), signal.SIGKILL)")
    assert set(statuses(walked(loaded, tmp_path / "store")).values()) == {"done"}
    assert (tmp_path / "seed-1").read_text() == "xxx"


def test_a_worker_that_is_always_killed_fails_and_is_not_held_against_the_trial(troubled, tmp_path):
    loaded = troubled("if seed == 1 and len(tries) < 4: os.kill(os.getpid(), signal.SIGKILL)")
    (failed,) = [event.result for event in walked(loaded, tmp_path / "store") if event.result.status == "failed"]
    assert "SIGKILL 3 times" in failed.reason
    assert set(statuses(walked(loaded, tmp_path / "store")).values()) == {"done"}


def test_what_waits_for_a_failed_stage_fails_with_it(tmp_path):
    text = runs.SUITE.replace("lr: 0.1", "lr: 1.0e+30").replace("seeds: 2", "seeds: 1")
    loaded = session.load_suite(runs.write_suite(tmp_path, text), only=["method=imp"])
    events = walked(loaded, tmp_path / "store")
    assert set(statuses(events).values()) == {"failed"}
    assert all("loss is" in event.result.reason for event in events)


def test_a_damaged_result_is_made_again(suite, tmp_path):
    loaded = session.load_suite(suite, only=["method=random,seed=0,sparsity=0.5"])
    walked(loaded, tmp_path / "store")
    before = runs.states(tmp_path / "store")
    for record in (tmp_path / "store").rglob("record.json"):
        record.write_text(record.read_text("utf-8").replace('"step": 20', '"step": 21'), "utf-8")
    events = walked(loaded, tmp_path / "store")
    assert set(statuses(events).values()) == {"done"}
    assert runs.states(tmp_path / "store") == before


def test_an_unreachable_target_is_skipped_with_its_reason(tmp_path):
    text = runs.SUITE.replace("[0.5, 0.7]", "[0.99999]").replace("seeds: 2", "seeds: 1")
    loaded = session.load_suite(runs.write_suite(tmp_path, text))
    events = walked(loaded, tmp_path / "store")
    skipped = [event.result for event in events if event.result.status == "skipped"]
    assert {result.method for result in skipped} == {"random", "imp", "imp-shuffle", "magnitude"}
    assert all("keeps none of 888 weights" in result.reason for result in skipped)
