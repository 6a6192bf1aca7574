"""Networks without half of each group, compared with whole ones with zeros."""

import torch

from prunebench.api.components import Input
from prunebench.api.weights import prunable_by_default
from prunebench.data.inputs import as_floats, random_inputs
from prunebench.network.cuts import cut_out
from prunebench.network.groups import cut_of, find_groups
from prunebench.network.modules import copied

IMAGE = (Input((3, 16, 16)),)


def found_in(module, inputs=IMAGE, allowed=None):
    return find_groups(module, inputs, prunable_by_default(module) if allowed is None else allowed)


def halved(groups):
    """Every other channel of each group, the odd ones."""
    return {group.name: range(1, group.size, 2) for group in groups}


def randomized(module):
    """Other values than zeros and ones, in which mistakes would not be seen."""
    with torch.no_grad():
        for parameter in module.parameters():
            # Weights that were positive on average would saturate bounded activations in deep networks.
            parameter.add_(0.1 * (torch.rand(parameter.shape) - (0.5 if parameter.dim() > 1 else 0.0)))
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape))
    return module


def assert_cut_equals_masked(module, inputs, allowed=None):
    """Returns the groups, and the share of the parameters that is left."""
    randomized(module)
    groups = found_in(module, inputs, allowed).found
    cut = cut_of(groups, halved(groups), module)
    examples = as_floats(random_inputs(inputs, 8), torch.device("cpu"), torch.float64)
    module = module.double().eval()
    smaller, masked = cut_out(copied(module), cut), copied(module)
    with torch.no_grad():
        for name, value in (*masked.named_parameters(), *masked.named_buffers()):
            if name in cut.names:
                value.copy_(cut.whole(name, cut.of(name, value)))
        expected, outputs = masked(examples), smaller(examples)
        untouched = module(examples)
    assert bool(expected.isfinite().any())  # an example whose tokens are all padding may have no outputs
    largest = float(expected.nan_to_num().abs().max())
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-7 * largest, equal_nan=True)
    assert float((untouched - expected).nan_to_num().abs().max()) > 1e-5 * largest
    return groups, sum(map(torch.numel, smaller.parameters())) / sum(map(torch.numel, module.parameters()))
