"""From chains to results."""

import pytest

import prunebench
from prunebench import Initialize, Metric, Prune, Train
from prunebench.api.objectives import ACCURACY
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.execution import results as outcomes
from prunebench.execution.key_inputs import inputs_of, sources
from prunebench.execution.results import early_stop, unfinished
from prunebench.plan.planning import make_plan
from prunebench.suite.sections.pipelines import Pipeline


@pytest.fixture
def provenance(tiny, registry, digits_task):
    """Where the parts of a method's trial come from; given what its state was made from, if that is known."""

    def of(method, made=None):
        [planned] = make_plan([tiny.trial(method, task=digits_task())], {}).trials
        if made is None:
            return unfinished(planned, "skipped", "why", registry, "f", 0.0).provenance
        return outcomes._result(planned, registry, "f", status="done", inputs=made).provenance

    return of


def test_a_method_is_told_with_its_plugin_and_source(provenance, method):
    found = provenance(method("snip"))
    assert found["method.plugin"] == found["model.plugin"] == found["dataset.plugin"]
    assert found["method.plugin"].startswith("prunebench ")
    assert found["data"] == "f"


@pytest.mark.parametrize("permuted", [True, False])
def test_a_row_says_whether_its_structure_holds_after_a_permutation_only(provenance, method, permuted):
    found = provenance(method("ria", structure=prunebench.Structure(1, 2, permuted)))
    said = (
        "1:2 of permuted channels: kernels for it need the weights and the inputs of each layer in the permuted order"
    )
    assert found.get("note.permuted") == (said if permuted else None)


def test_a_method_is_told_with_the_versions_that_its_keys_hold(provenance, method):
    found = provenance(method("snip"))
    assert found["protocol.version"] == str(PROTOCOL_VERSION)
    assert [found[f"{kind}.version"] for kind in ("method", "model", "dataset")] == ["1", "1", "1"]


def test_the_source_is_that_with_which_the_state_was_made(provenance, method, tiny, digits_task):
    now = inputs_of(tiny.trial(method("snip"), task=digits_task()), "f")
    made = now | {"method file snip.py": "other", "prunebench/training/loop.py": "other"}
    found, before = provenance(method("snip")), provenance(method("snip"), made)
    assert {name for name in found if found[name] != before[name]} == {"core.source", "method.source"}
    assert before["method.source"] == sources(made)["method"]
    assert found == provenance(method("snip"), now)


def test_the_source_of_another_method_that_made_the_state_is_not_taken_for_this_ones(
    provenance, method, tiny, digits_task
):
    made = inputs_of(tiny.trial(method("magnitude"), task=digits_task()), "f") | {
        "prunebench/training/loop.py": "other"
    }
    found, before = provenance(method("snip")), provenance(method("snip"), made)
    assert {name for name in found if found[name] != before[name]} == {"core.source"}


def test_a_state_of_which_nothing_was_written_down_has_the_source_of_now(provenance, method):
    assert provenance(method("snip"), {}) == provenance(method("snip"))


def test_a_pipeline_is_told_with_the_methods_in_it(provenance, method):
    snip, magnitude = method("snip"), method("magnitude")
    stages = (Initialize(), Prune(by=snip, density=0.5), Train(), Prune(by=magnitude, density=0.5))
    found = provenance(Pipeline(chain=stages))
    assert "method.plugin" not in found
    assert found["method.source"] == found["core.source"]
    for part in (snip, magnitude):
        assert found[f"method.{part.name}.plugin"].startswith("prunebench ")
        assert found[f"method.{part.name}.source"] == provenance(part)["method.source"]
        assert found[f"method.{part.name}.version"] == "1"


def test_a_result_says_the_family_of_its_method_and_a_pipelines_of_its_first_that_has_one(provenance, method):
    assert provenance(method("snip"))["method.family"] == "at initialization"
    deploy, prune = prunebench.Deploy(by=method("int8")), Prune(by=method("magnitude"), density=0.5)
    assert provenance(Pipeline(chain=(Initialize(), Train(), prune, deploy)))["method.family"] == "after training"
    assert provenance(Pipeline(chain=(Initialize(), Train(), deploy)))["method.family"] == "other"


def evaluation(step, validation_loss, test_accuracy):
    figures = {"step": float(step), "test_accuracy": test_accuracy}
    return figures if validation_loss is None else figures | {"validation_loss": validation_loss}


def test_training_stops_early_where_the_validation_loss_is_lowest():
    history = [evaluation(100, 0.5, 0.80), evaluation(200, 0.2, 0.90), evaluation(300, 0.3, 0.95)]
    assert early_stop(history, ACCURACY) == {"early_stop_step": 200.0, "early_stop_accuracy": 0.90}


def test_of_equal_losses_the_earliest_counts():
    history = [evaluation(300, 0.2, 0.95), evaluation(200, 0.2, 0.90), evaluation(100, 0.3, 0.80)]
    assert early_stop(history, ACCURACY) == {"early_stop_step": 200.0, "early_stop_accuracy": 0.90}


def test_without_a_validation_split_or_a_training_nothing_stops_early():
    assert early_stop([evaluation(100, None, 0.8)], ACCURACY) == {}
    assert early_stop([], ACCURACY) == {}


def test_the_early_stop_is_told_in_the_objectives_primary_metric():
    metric = Metric(name="rmse", label="RMSE", direction="lower")
    points = ((1.0, 3.0), (2.0, 1.0))
    history = [{"step": step, "validation_loss": loss, "test_rmse": 2 * loss} for step, loss in points]
    assert early_stop(history, metric) == {"early_stop_step": 2.0, "early_stop_rmse": 2.0}
