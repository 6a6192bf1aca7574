"""Distillation in a suite: of a method and of a stage, and what says so in rows."""

import json

import pytest

from prunebench import Distillation
from prunebench.api.errors import SuiteError
from prunebench.execution.key_inputs import flattened
from prunebench.suite import from_plain, to_plain, trial_from_plain, trial_to_plain

STAGES = "{label: p, stages: [initialize, train, prune: {by: saliency}, train: {distillation: {weight: 0.2}}]}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name: coin, distillation: {}}", Distillation(2.0, 0.5)),
        ("{name: coin, distillation: {temperature: 4, weight: 1}}", Distillation(4.0, 1.0)),
        ("{name: coin}", None),
    ],
)
def test_a_method_says_how_its_trainings_imitate_the_dense_network(read, valid, fakes, text, expected):
    suite = read(valid.replace("  - coin\n", f"  - {text}\n"))
    assert suite.entries[1].distillation == expected
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite
    for trial in suite.trials():
        assert trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), fakes) == trial


def test_a_training_of_a_pipeline_says_it_too(read, valid, fakes):
    suite = read(valid.replace("  - coin\n", f"  - {STAGES}\n"))
    assert suite.entries[1].method.chain[3].distillation == Distillation(2.0, 0.2)
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite


def test_params_have_it_only_where_it_is_used(read, valid):
    suite = read(valid.replace("  - coin\n", "  - coin\n  - {name: coin, label: taught, distillation: {}}\n"))
    params = {
        trial.entry.label: {name for name in flattened(trial_to_plain(trial)) if "distillation" in name}
        for trial in suite.trials()
    }
    assert params["coin"] == set()
    assert params["taught"] == {"method.distillation.temperature", "method.distillation.weight"}


def test_the_control_has_no_teacher(read, valid):
    with pytest.raises(SuiteError, match="is the control, which is not pruned: remove this"):
        read(valid.replace("  - coin\n", "  - coin\n  - {name: dense, distillation: {}}\n"))
