"""What a layerwise method is passed: exact counts, and least squares worked out by hand."""

import pytest
import torch

from prunebench import Structure
from prunebench.api.errors import PrunebenchError
from prunebench.pruning.layer_context import LayerContext

F64 = torch.float64


def layer_of(weight, moments=None, keep=0, structure=None):
    weight = torch.tensor(weight, dtype=F64)
    moments = torch.eye(weight.shape[1], dtype=F64) if moments is None else torch.tensor(moments, dtype=F64)
    return LayerContext("layer", weight, moments, torch.zeros(len(moments), dtype=F64), 10, keep, structure)


def scores(*rows):
    return torch.tensor(rows, dtype=F64)


def test_the_highest_of_the_whole_layer_are_kept_the_first_among_equals():
    layer = layer_of([[0.0] * 3] * 2, keep=3)
    assert layer.keep_highest(scores([5, 1, 2], [2, 9, 2])).tolist() == [[True, False, True], [False, True, False]]


def test_by_row_each_output_keeps_as_many():
    layer = layer_of([[0.0] * 3] * 2, keep=4)
    assert layer.keep_highest(scores([5, 6, 7], [1, 0, 1]), by_row=True).tolist() == [
        [False, True, True],
        [True, False, True],
    ]


def test_a_remainder_goes_to_the_outputs_whose_next_score_is_the_highest():
    layer = layer_of([[0.0] * 3] * 3, keep=5)
    found = layer.keep_highest(scores([9, 1, 0], [9, 3, 0], [9, 2, 0]), by_row=True)
    assert found.sum(1).tolist() == [1, 2, 2]
    assert found.tolist()[1] == [True, True, False]


def test_permuted_outputs_keep_the_same_weights():
    torch.manual_seed(0)
    values, order = torch.rand(5, 7, dtype=F64), torch.randperm(5)
    layer = layer_of([[0.0] * 7] * 5, keep=17)
    for by_row in (True, False):
        assert torch.equal(layer.keep_highest(values, by_row)[order], layer.keep_highest(values[order], by_row))


def test_a_structure_is_kept_in_each_group_whatever_else_is_said():
    layer = layer_of([[0.0] * 8] * 1, keep=4, structure=Structure(2, 4))
    found = layer.keep_highest(scores([1, 2, 3, 4, 90, 80, 70, 60]), by_row=True)
    assert found.tolist() == [[False, False, True, True, True, True, False, False]]


@pytest.mark.parametrize("wrong", [scores([1, 2]), scores([1, 2, float("nan")]), scores([1, 2, float("inf")])])
def test_scores_that_do_not_fit_are_an_error(wrong):
    with pytest.raises(PrunebenchError, match="scores of 'layer' must be finite and of shape"):
        layer_of([[0.0] * 3], keep=1).keep_highest(wrong)


def test_two_weights_reconstructed_by_hand():
    """M = [[2, 1], [1, 2]], w = (3, 4), only the first kept: w' = w0 + M01 / M00 * w1 = 3 + 4 / 2 = 5."""
    layer = layer_of([[3.0, 4.0]], [[2.0, 1.0], [1.0, 2.0]])
    found = layer.reconstructed(torch.tensor([[True, False]]), damping=0.0)
    assert found.tolist() == [[pytest.approx(5.0), 0.0]]
    # With d = 0.5 * 2 on the diagonal: 3 + 4 * 1 / 3.
    damped = layer.reconstructed(torch.tensor([[True, False]]), damping=0.5)
    assert damped.tolist() == [[pytest.approx(3 + 4 / 3), 0.0]]


def test_three_weights_reconstructed_by_hand():
    """The kept two solve [[2, 1], [1, 2]] x = M_S: w = [2 + 1 + 1, 1 + 2 + 1], so x = (4/3, 4/3)."""
    layer = layer_of([[1.0, 1.0, 1.0]], [[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    found = layer.reconstructed(torch.tensor([[True, True, False]]), damping=0.0)
    assert found.tolist() == [[pytest.approx(4 / 3), pytest.approx(4 / 3), 0.0]]
    # Of d = (1/3, 1/3, -1): d d + (sum of d)² = 11/9 + 1/9; of leaving the third weight out: 1 + 1.
    assert layer.error(found, layer.moments) == pytest.approx(4 / 3)
    assert layer.error(torch.tensor([[1.0, 1.0, 0.0]], dtype=F64), layer.moments) == pytest.approx(2.0)


def test_with_everything_kept_nothing_changes():
    torch.manual_seed(0)
    weight, inputs = torch.randn(3, 4, dtype=F64), torch.randn(2, 4, dtype=F64)
    layer = layer_of(weight.tolist(), (inputs.T @ inputs).tolist())  # of rank 2
    assert torch.allclose(layer.reconstructed(torch.ones(3, 4, dtype=torch.bool)), weight)


def test_unused_inputs_keep_their_weights_and_a_row_without_any_is_zero():
    moments = [[2.0, 0.0], [0.0, 0.0]]
    layer = layer_of([[3.0, 7.0], [1.0, 1.0]], moments)
    found = layer.reconstructed(torch.tensor([[True, True], [False, False]]))
    assert torch.allclose(found, torch.tensor([[3.0, 7.0], [0.0, 0.0]], dtype=F64))
    dead = layer_of([[3.0, 7.0]], [[0.0, 0.0], [0.0, 0.0]])
    assert torch.allclose(dead.reconstructed(torch.tensor([[True, False]])), torch.tensor([[3.0, 0.0]], dtype=F64))


def test_it_is_the_least_squares_solution_on_the_inputs_themselves():
    """Ridge regression towards the dense weight, solved by torch.linalg.lstsq on stacked inputs."""
    torch.manual_seed(1)
    inputs, weight = torch.randn(30, 6, dtype=F64), torch.randn(2, 6, dtype=F64)
    moments = inputs.T @ inputs / 30
    layer = layer_of(weight.tolist(), moments.tolist())
    mask = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1]], dtype=torch.bool)
    found = layer.reconstructed(mask, damping=0.05)
    ridge = (0.05 * moments.diagonal().mean()).sqrt() * torch.eye(6, dtype=F64)
    stacked = torch.cat([inputs / 30**0.5, ridge])
    for row, kept in enumerate(mask):
        exact = torch.linalg.lstsq(stacked[:, kept], stacked @ weight[row]).solution
        assert torch.allclose(found[row, kept], exact)


def test_the_error_is_that_of_the_outputs():
    torch.manual_seed(2)
    inputs, weight, other = (torch.randn(*shape, dtype=F64) for shape in ((20, 3), (2, 3), (2, 3)))
    layer = layer_of(weight.tolist(), (inputs.T @ inputs / 20).tolist())
    outputs = inputs @ (weight - other).T
    assert layer.error(other, layer.moments) == pytest.approx(float(outputs.square().sum(1).mean()))
