"""Early-bird tickets: masks are watched, and the network is pruned when they no longer change."""

import pytest
import torch

from prunebench import Train
from prunebench.api.errors import PrunebenchError


@pytest.fixture
def watched(training_of, method):
    """The step in which each of some weights is made, after which they are pruned to two; None if they never are."""

    def steps(values, **parameters):
        training = training_of({"a": [0.0] * 3, "b": [0.0] * 3}, masks={"a": [1] * 3, "b": [1] * 3}, step=0)
        updater = method("early-bird", **{"interval": "1it", "window": 3, **parameters}).updater(2 / 6)
        updater.begin(training)
        for step, weights in enumerate(values):
            training.step = step
            with torch.no_grad():
                training.weights["a"].copy_(torch.tensor(weights[:3]))
                training.weights["b"].copy_(torch.tensor(weights[3:]))
            updater.after_step(training)
            if not training.masks["a"].all() or not training.masks["b"].all():
                return step + 1, [*training.masks["a"].tolist(), *training.masks["b"].tolist()]
        return None

    return steps


FIRST = [9.0, -8.0, 1.0, 2.0, 3.0, 4.0]
SAME = [5.0, -7.0, 1.0, 2.0, 3.0, 4.0]
OTHER = [9.0, 1.0, 1.0, 2.0, -8.0, 4.0]
"""Keeps one of the two weights that the first two keep."""


def test_it_prunes_when_as_many_masks_as_the_window_has_are_the_same(watched):
    assert watched([FIRST, SAME, FIRST, SAME]) == (3, [True, True, False, False, False, False])
    assert watched([FIRST, SAME, FIRST, SAME], window=4) == (4, [True, True, False, False, False, False])
    assert watched([FIRST, SAME]) is None


def test_one_mask_that_is_far_from_the_others_must_leave_the_window_first(watched):
    assert watched([OTHER, FIRST, SAME, FIRST]) == (4, [True, True, False, False, False, False])
    assert watched([FIRST, SAME, OTHER, FIRST, SAME]) is None


def test_the_distance_is_the_share_of_the_kept_weights_that_another_mask_lacks(watched):
    assert watched([OTHER, FIRST, OTHER], distance=0.5) == (3, [True, False, False, False, True, False])
    assert watched([OTHER, FIRST, OTHER], distance=0.49) is None


def test_masks_are_looked_at_in_intervals(watched):
    assert watched([FIRST, OTHER] * 4, interval="2it") == (6, [True, False, False, False, True, False])


def test_it_prunes_at_the_latest_when_that_is_due(watched):
    found = watched([FIRST, OTHER] * 6, until="8it")
    assert found == (8, [True, False, False, False, True, False])


def test_the_network_trains_on_from_its_weights_and_costs_less_from_then_on(tiny, method, run_stages):
    rule = method("early-bird", interval="1it", window=2, distance=1.0)
    chain = run_stages(tiny.task(), *(Train(f"{step}it", by=rule, density=0.25) for step in (1, 2, 3, 4)))
    states = [chain.states[node.key] for node in chain.nodes[1:]]
    assert [sum(int(mask.sum()) for mask in state.masks.values()) for state in states] == [0, 117, 117, 117]
    costs = [state.cost.training_flops for state in states]
    assert costs[1] - costs[0] == costs[0]
    assert costs[3] - costs[2] < 0.5 * costs[0]
    assert states[3].masks.keys() == states[1].masks.keys()
    assert all(torch.equal(states[3].masks[name], mask) for name, mask in states[1].masks.items())


def test_a_training_in_pieces_sees_the_same_masks(tiny, method, run_stages):
    rule = method("early-bird", interval="1it", window=3, distance=0.6)
    whole = run_stages(tiny.task(), Train(by=rule, density=0.25)).end
    pieces = run_stages(tiny.task(), *(Train(f"{step}it", by=rule, density=0.25) for step in range(1, 21))).end
    for name, value in whole.parameters.items():
        assert torch.equal(pieces.parameters[name], value)


def test_times_that_make_no_sense_are_refused(tiny, method, run_stages):
    with pytest.raises(PrunebenchError, match="until: '150%' is not after step 0 of the recipe"):
        run_stages(tiny.task(), Train(by=method("early-bird", until="150%"), density=0.5))
    with pytest.raises(PrunebenchError, match="needs a density"):
        method("early-bird").updater(None)
