"""From chains to results."""

import pytest

from prunebench import Initialize, Prune, Train
from prunebench.execution.outcomes import early_stop, unfinished
from prunebench.identity import core_version, source_hash
from prunebench.plan import make_plan
from prunebench.suite.pipelines import Composed


@pytest.fixture
def provenance(tiny, registry, digits_task):
    """Where the parts of a method's trial come from."""

    def of(method):
        [planned] = make_plan([tiny.trial(method, task=digits_task())], {}).trials
        return unfinished(planned, "skipped", "why", registry, "f", 0.0).provenance

    return of


def test_a_method_is_told_with_its_plugin_and_source(provenance, method):
    found = provenance(method("snip"))
    assert found["method.plugin"] == found["model.plugin"] == found["dataset.plugin"]
    assert found["method.plugin"].startswith("prunebench ")
    assert found["method.source"] == source_hash(type(method("snip")))
    assert found["data"] == "f"


def test_a_pipeline_is_told_with_the_methods_in_it(provenance, method):
    snip, magnitude = method("snip"), method("magnitude")
    stages = (Initialize(), Prune(by=snip, density=0.5), Train(), Prune(by=magnitude, density=0.5))
    found = provenance(Composed(chain=stages))
    assert "method.plugin" not in found
    assert found["method.source"] == core_version()
    for part in (snip, magnitude):
        assert found[f"method.{part.name}.plugin"].startswith("prunebench ")
        assert found[f"method.{part.name}.source"] == source_hash(type(part))


def evaluation(step, validation_loss, test_accuracy):
    figures = {"step": float(step), "test_accuracy": test_accuracy}
    return figures if validation_loss is None else figures | {"validation_loss": validation_loss}


def test_training_stops_early_where_the_validation_loss_is_lowest():
    history = [evaluation(100, 0.5, 0.80), evaluation(200, 0.2, 0.90), evaluation(300, 0.3, 0.95)]
    assert early_stop(history) == {"early_stop_step": 200.0, "early_stop_accuracy": 0.90}


def test_of_equal_losses_the_earliest_counts():
    history = [evaluation(300, 0.2, 0.95), evaluation(200, 0.2, 0.90), evaluation(100, 0.3, 0.80)]
    assert early_stop(history) == {"early_stop_step": 200.0, "early_stop_accuracy": 0.90}


def test_without_a_validation_split_or_a_training_nothing_stops_early():
    assert early_stop([evaluation(100, None, 0.8)]) == {}
    assert early_stop([]) == {}
