"""Permutations of input channels under which N:M sparsity keeps more of the scores (Zhang et al. 2024, RIA).

The network computes the same with or without a permutation: it only says which M channels form a group.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment

from prunebench.api.stages import Structure
from prunebench.pruning.layer_context import LayerContext


def channel_order(scores: torch.Tensor, structure: Structure) -> torch.Tensor:
    """An order of the columns of `scores` in which N of every M consecutive ones keep much of the scores.

    As in RIA, channels are dealt out to the groups by their summed scores, so that each group has some of the best and
    some of the worst. Then, for one place of the groups after the other, the channels there are assigned to the groups
    anew so that the most is kept. Where this keeps less than the given order does, the given order is returned.

    Args:
        scores: not negative, of shape (rows, channels).

    Returns:
        the channel at each place, of shape (channels,).
    """
    given = torch.arange(scores.shape[1], device=scores.device)
    groups = _dealt(scores, structure.m)
    for place in range(structure.m):
        groups = _reassigned(scores, groups, place, structure.n)
    found = groups.flatten()
    better = retained(scores[:, found], structure) > retained(scores[:, given], structure)
    return found if better else given


def retained(scores: torch.Tensor, structure: Structure) -> float:
    """The sum of the N highest scores of every M consecutive ones in each row."""
    groups = scores.reshape(len(scores), -1, structure.m)
    return float(groups.topk(structure.n, dim=-1).values.sum())


def _dealt(scores: torch.Tensor, m: int) -> torch.Tensor:
    """Channels from the highest summed score to the lowest, dealt out to the groups to and fro: (groups, m)."""
    hands = torch.argsort(scores.sum(0), descending=True, stable=True).view(m, -1)
    return torch.stack([hand if number % 2 == 0 else hand.flip(0) for number, hand in enumerate(hands)], dim=1)


def _reassigned(scores: torch.Tensor, groups: torch.Tensor, place: int, n: int) -> torch.Tensor:
    """Exchange the channels at one place between the groups, so that the sum of the kept scores is highest."""
    moved, others = groups[:, place], torch.cat([groups[:, :place], groups[:, place + 1 :]], dim=1)
    if not others.shape[1] or n > others.shape[1]:
        return groups  # groups of one channel, or groups that keep all: nothing to gain
    # Of the other channels of a group the N highest are kept; one more channel gains what it is above the last of them.
    last = scores[:, others].topk(n, dim=-1).values[..., -1]
    gains = torch.stack([(scores[:, moved] - last[:, group, None]).clamp(min=0).sum(0) for group in range(len(groups))])
    _, chosen = linear_sum_assignment(gains.cpu().numpy(), maximize=True)
    changed = groups.clone()
    changed[:, place] = moved[torch.as_tensor(chosen, device=moved.device)]
    return changed


def search_flops(rows: int, channels: int, structure: Structure) -> float:
    """Floating-point operations of `channel_order`: three for each part of a gain, and the assignments.

    An assignment of g channels to g groups takes g³ operations at most.
    """
    groups = channels // structure.m
    return structure.m * (3.0 * rows * groups**2 + groups**3)


def columns_of(order: torch.Tensor, inputs: int) -> torch.Tensor:
    """The inputs of a layer with its channels in another order, the same at each place of a convolution's kernel."""
    places = torch.arange(0, inputs, len(order), device=order.device)
    return (places[:, None] + order).flatten()


def permuted(layer: LayerContext, columns: torch.Tensor) -> LayerContext:
    """The layer with its inputs in another order."""
    return replace(
        layer,
        weight=layer.weight[:, columns],
        moments=layer.moments[columns][:, columns],
        means=layer.means[columns],
    )
