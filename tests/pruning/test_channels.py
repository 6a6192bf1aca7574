"""Which channels go: the lowest scores, as few as reach the target."""

import pytest
import torch

from prunebench.api.errors import PluginError, Unreachable
from prunebench.api.layers import Group, Part
from prunebench.pruning.channels import check_scores, keep_highest_channels


def group(name, size, kind="channels"):
    return Group(name, kind, (Part(name, 0, "output", tuple((channel,) for channel in range(size))),))


GROUPS = (group("a", 4), group("b", 2))
SCORES = {"a": torch.tensor([3.0, 1.0, 2.0, 10.0]), "b": torch.tensor([0.5, 20.0])}


def at_most(count):
    return lambda kept: sum(map(len, kept.values())) <= count


def keep(count, allocation="global", align=1, groups=GROUPS, scores=SCORES):
    return keep_highest_channels(scores, groups, allocation, align, at_most(count))


def test_the_lowest_scores_of_all_groups_go_first():
    assert keep(6) == {"a": (0, 1, 2, 3), "b": (0, 1)}
    assert keep(5) == {"a": (0, 1, 2, 3), "b": (1,)}
    assert keep(4) == {"a": (0, 2, 3), "b": (1,)}
    assert keep(3) == {"a": (0, 3), "b": (1,)}


def test_each_group_keeps_a_channel():
    scores = {"a": torch.tensor([3.0, 1.0, 2.0, 10.0]), "b": torch.tensor([0.5, 0.6])}
    assert keep(4, scores=scores) == {"a": (0, 2, 3), "b": (1,)}
    assert keep(2, scores=scores) == {"a": (3,), "b": (1,)}
    with pytest.raises(Unreachable):
        keep(1, scores=scores)


def test_uniform_removes_the_same_share_of_each_group():
    assert keep(3, "uniform") == {"a": (0, 3), "b": (1,)}
    equal = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.tensor([100.0, 200.0])}
    assert keep(3, "uniform", scores=equal) == {"a": (2, 3), "b": (1,)}
    assert keep(3, "global", scores=equal) == {"a": (3,), "b": (0, 1)}


def test_aligned_groups_keep_multiples_but_never_more_than_they_have():
    groups, scores = (group("a", 8), group("b", 3)), {"a": torch.arange(8.0), "b": torch.arange(3.0)}
    kept = keep(9, align=4, groups=groups, scores=scores)
    assert kept == {"a": (4, 5, 6, 7), "b": (0, 1, 2)}
    with pytest.raises(Unreachable):
        keep(6, align=4, groups=groups, scores=scores)


def test_heads_are_not_aligned():
    groups, scores = (group("a", 6, "heads"),), {"a": torch.arange(6.0)}
    assert keep(3, align=4, groups=groups, scores=scores) == {"a": (3, 4, 5)}


def test_among_equal_scores_the_first_stay():
    groups = (group("a", 3), group("b", 3))
    scores = {"a": torch.zeros(3), "b": torch.zeros(3)}
    assert keep(4, groups=groups, scores=scores) == {"a": (0, 1, 2), "b": (0,)}
    assert keep(4, "uniform", groups=groups, scores=scores) == {"a": (0, 1), "b": (0, 1)}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "must return a dict of tensors by the names of the groups"),
        ({"a": SCORES["a"]}, r"a tensor of shape \(2,\) for group 'b', and returned None"),
        ({**SCORES, "b": torch.ones(3)}, r"shape \(2,\) for group 'b', and returned a tensor of shape \(3,\)"),
        ({**SCORES, "b": torch.tensor([1.0, torch.nan])}, "the scores of group 'b' are not all finite"),
    ],
)
def test_scores_that_are_none_are_refused(scores, message):
    with pytest.raises(PluginError, match=message):
        check_scores(scores, GROUPS, "mine")


def test_scores_of_whole_numbers_are_compared_exactly():
    scores = {"a": torch.tensor([1, 2, 2**40, 2**40 + 1]), "b": torch.tensor([5, 6])}
    assert keep(2, scores=check_scores(scores, GROUPS, "mine")) == {"a": (3,), "b": (1,)}
