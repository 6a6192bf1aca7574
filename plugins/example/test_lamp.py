"""LAMP: scores computed by hand, and the conformance tests that every method must pass."""

import pytest
import torch
from prunebench_lamp import LAMP, lamp

import prunebench.testing


def test_the_scores_of_four_weights_by_hand() -> None:
    # The squares are 4, 1, 9, 16; the sums of the squares that are not smaller are 29, 30, 25, 16.
    weight = torch.tensor([[2.0, -1.0], [3.0, -4.0]])
    expected = torch.tensor([[4 / 29, 1 / 30], [9 / 25, 1.0]], dtype=torch.float64)
    assert torch.equal(lamp(weight), expected)


def test_pruned_weights_do_not_change_the_sums() -> None:
    assert lamp(torch.tensor([0.0, 2.0, 0.0, -1.0])).tolist() == [0.0, 1.0, 0.0, 1 / 5]


def test_equal_weights_are_ranked_by_index() -> None:
    assert lamp(torch.tensor([1.0, 1.0])).tolist() == [1 / 2, 1.0]


def test_a_layer_of_zeros_scores_zero() -> None:
    assert lamp(torch.zeros(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_scale_of_a_layer_makes_no_difference() -> None:
    weight = torch.tensor([0.5, -0.25, 0.125, 2.0])
    assert torch.equal(lamp(weight), lamp(1024 * weight))


@pytest.mark.parametrize("check", prunebench.testing.checks(LAMP()), ids=str)
def test_conformance(check: prunebench.testing.Check) -> None:
    check()
