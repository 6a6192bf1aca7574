"""Four filters of two weights, whose scores are computed by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from prunebench.network.groups import find_groups


@pytest.fixture
def scoring(scoring_of):
    module = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 6.0], [1.0, 1.0], [-1.0, 0.5]]))
    lent = scoring_of(module, (2,))
    found = find_groups(module, lent.inputs, [layer.name for layer in lent.layers])
    return replace(lent, groups=found.found)


def scored(method, scoring):
    (scores,) = method.channel_scores(scoring).values()
    return scores.tolist()


def test_l1_is_the_sum_of_absolute_weights(method, scoring):
    assert scored(method("l1-filters"), scoring) == [7.0, 6.0, 2.0, 1.5]


def test_l2_is_the_euclidean_norm(method, scoring):
    assert scored(method("l2-filters"), scoring) == pytest.approx([5.0, 6.0, math.sqrt(2), math.sqrt(1.25)])


def test_fpgm_is_the_distance_to_all_other_filters(method, scoring):
    filters = [(3.0, -4.0), (0.0, 6.0), (1.0, 1.0), (-1.0, 0.5)]
    expected = [sum(math.dist(one, other) for other in filters) for one in filters]
    assert scored(method("fpgm"), scoring) == pytest.approx(expected)
    assert expected.index(min(expected)) in (2, 3)


def test_random_draws_depend_on_the_seed_alone(method, scoring):
    one, again = (scored(method("random-channels"), scoring) for _ in range(2))
    other = scored(method("random-channels"), replace(scoring, seed=1))
    assert one == again != other
