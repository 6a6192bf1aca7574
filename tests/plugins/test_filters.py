"""Four filters of two weights, whose scores are computed by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import prunebench
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


def test_a_cut_network_trains_again_from_an_earlier_learning_rate(method, tiny):
    one = method("l2-filters", rewind_to="25%", rounds=2)
    first, *trained = [stage for stage in one.stages(tiny.trial(one)) if not isinstance(stage, prunebench.Cut)]
    again = [prunebench.Rewind(to="25%", weights=False), prunebench.Train()]
    assert first == prunebench.Initialize()
    assert trained == [prunebench.Train(until="25%"), prunebench.Train(), *again, *again]


def test_fine_tuning_and_training_again_exclude_each_other(method):
    with pytest.raises(ValueError, match="has `finetune` and `rewind_to`, after which it trains to the end"):
        method("l2-filters", rewind_to="25%", finetune="2ep")
