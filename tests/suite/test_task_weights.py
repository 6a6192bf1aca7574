"""The weights that a task starts from, in a suite."""

import json

import pytest
import safetensors.torch
import torch

from prunebench.execution.job_specs import from_values, to_values
from prunebench.suite import from_plain, to_plain


@pytest.fixture
def with_weights(valid, tmp_path):
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    return lambda text: valid.replace("dataset: scans\n", f"dataset: scans\n    weights: {text}\n")


def test_a_path_alone_is_a_file(read, with_weights):
    found = read(with_weights("a.safetensors")).tasks[0].weights
    assert (found.file.path, found.prefix, found.fresh, found.ignore) == ("a.safetensors", "", (), ())


def test_a_mapping_says_what_is_left_out_and_travels(read, with_weights, fakes):
    suite = read(with_weights("{file: a.safetensors, prefix: model., fresh: ['^head'], ignore: [fc]}"))
    weights = suite.tasks[0].weights
    assert (weights.prefix, weights.fresh, weights.ignore) == ("model.", ("^head",), ("fc",))
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite
    assert from_values(json.loads(json.dumps(to_values(suite.tasks[0], fakes))), fakes) == suite.tasks[0]


def test_a_task_without_weights_does_not_mention_them(read, valid):
    assert read(valid).tasks[0].weights is None
    assert "weights" not in to_plain(read(valid))["tasks"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b.safetensors", "'b.safetensors' does not exist"),
        ("{prefix: model.}", "file"),
        ("{file: a.safetensors, fresh: ['(']}", "'(' is not a regular expression"),
        ("{file: a.safetensors, head: x}", "unknown key"),
    ],
)
def test_weights_that_cannot_be_used_are_an_error_at_their_place(mistakes, with_weights, text, message):
    assert message in mistakes(with_weights(text))[0]
