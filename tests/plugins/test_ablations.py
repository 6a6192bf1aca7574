"""The ablations of masks that a training makes."""

import pytest
import torch

from prunebench import Initialize, Reinitialize, Shuffle, Train

MASKED_BY_TRAINING = ["edge-popup", "gradual", "rigl", "set", "snfs", "sr-ste", "ste"]


def trial_of(tiny, method, name, **ablations):
    return tiny.trial(method(name), **({"sparsity": 0.5} if name == "sr-ste" else {}), **ablations)


def first_training(chain):
    """The state in which the mask is found."""
    return next(chain.states[node.key] for node in chain.nodes if isinstance(node.stage, Train))


@pytest.mark.parametrize("name", MASKED_BY_TRAINING)
def test_a_shuffled_mask_goes_back_to_the_first_weights_and_is_trained_once_more(tiny, method, run_chain, name):
    chain = run_chain(trial_of(tiny, method, name, shuffle=True))
    found, begun, shuffled = first_training(chain), chain.after(Initialize), chain.after(Shuffle)
    assert shuffled.step == 0
    assert found.kept() == shuffled.kept() == chain.end.kept()
    assert any(not torch.equal(mask, shuffled.masks[layer]) for layer, mask in found.masks.items())
    for layer, mask in shuffled.masks.items():
        assert torch.equal(shuffled.parameters[layer], torch.where(mask, begun.parameters[layer], 0.0))
        assert torch.equal(chain.end.masks[layer], mask)
        assert not chain.end.parameters[layer][~mask].any()
    assert chain.end.cost.steps == found.cost.steps + chain.nodes[-1].stop


@pytest.mark.parametrize("name", MASKED_BY_TRAINING)
def test_new_weights_are_trained_under_the_mask_that_was_found(tiny, method, run_chain, name):
    chain = run_chain(trial_of(tiny, method, name, reinitialize=True))
    found, redrawn = first_training(chain), chain.after(Reinitialize)
    assert redrawn.step == 0
    for layer, mask in found.masks.items():
        assert torch.equal(chain.end.masks[layer], mask)
        assert not torch.equal(
            redrawn.parameters[layer], torch.where(mask, chain.after(Initialize).parameters[layer], 0.0)
        )
    assert chain.end.cost.steps == found.cost.steps + chain.nodes[-1].stop
