"""The context that is passed to the hooks of an updater."""

import pytest
import torch

from prunebench.training.state import State, snapshot
from prunebench.training.training_context import TrainingContext
from prunebench.training.trial_context import fresh_model


@pytest.mark.parametrize("trains_dense", [True, False])
def test_sparse_flops_are_exact_and_a_tensor_only_where_masks_are_applied(tiny, context_of, trains_dense):
    trial = tiny.trial(tiny.ByChance())
    context = context_of(trial)
    begun = State(step=0, **snapshot(fresh_model(trial, "initialize")), masks={})
    run = TrainingContext(context, begun, trains_dense)
    masks = {layer.name: torch.arange(layer.size).view(layer.shape) % 3 == 0 for layer in context.network.layers}
    run.set_masks(masks)
    flops = run.sparse_flops
    assert float(flops) == context.network.flops_at({name: int(mask.sum()) for name, mask in masks.items()})
    assert (getattr(flops, "dtype", float) == torch.float64) if trains_dense else (type(flops) is float)
