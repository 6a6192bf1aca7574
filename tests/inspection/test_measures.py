"""Numbers that can be worked out by hand."""

import pytest
import torch

from prunebench.api.errors import PrunebenchError
from prunebench.inspection.measures import TOTAL, Density, barrier, between, densities, movements, overlaps


def test_densities_are_counted_by_layer_and_of_all(layer):
    rows = densities([layer("a", 2, 3), layer("b", 2, 2)], {"a": 2})
    assert rows == [Density("a", 6, 2), Density("b", 4, 4), Density(TOTAL, 10, 6)]
    assert [row.density for row in rows] == [1 / 3, 1.0, 0.6]


def test_overlap_is_intersection_over_union_beside_that_of_random_masks(layer):
    layers = [layer("a", 1, 8), layer("b", 1, 2)]
    one = {"a": torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]]).bool()}
    other = {"a": torch.tensor([[0, 0, 1, 1, 0, 0, 0, 0]]).bool(), "b": torch.tensor([[1, 0]]).bool()}
    first, second, total = overlaps(layers, one, other)
    assert (first.kept, first.other, first.both) == (4, 2, 2)
    assert first.iou == 2 / 4
    assert first.by_chance == 1.0  # of the other's 2 weights half are in the one's 4 of 8
    assert first.chance == 1 / 5
    assert (second.both, second.iou, second.chance) == (1, 1 / 2, 1 / 2)  # the one is dense there
    assert (total.layer, total.size, total.kept, total.other, total.both) == (TOTAL, 10, 6, 3, 3)
    assert total.iou == 3 / 6
    assert total.chance == 2 / 7


def test_chance_is_what_random_masks_share_on_average(layer):
    torch.manual_seed(0)
    size, kept, other = 400, 100, 40
    found = []
    for _ in range(2000):
        draws = [torch.zeros(1, size).bool() for _ in range(2)]
        for mask, count in zip(draws, (kept, other), strict=True):
            mask[0, torch.randperm(size)[:count]] = True
        found.append(overlaps([layer("a", 1, size)], {"a": draws[0]}, {"a": draws[1]})[0])
    assert sum(one.both for one in found) / len(found) == pytest.approx(found[0].by_chance, abs=0.2)
    assert sum(one.iou for one in found) / len(found) == pytest.approx(found[0].chance, abs=0.002)


def test_the_overlap_of_nothing_with_nothing_is_no_number(layer):
    nothing = {"a": torch.zeros(1, 4).bool()}
    assert overlaps([layer("a", 1, 4)], nothing, nothing)[0].iou is None


def test_masks_of_other_shapes_are_an_error(layer):
    with pytest.raises(PrunebenchError, match=r"'a' are of shapes \(1, 4\) and \(1, 5\)"):
        overlaps([layer("a", 1, 4)], {"a": torch.ones(1, 4).bool()}, {"a": torch.ones(1, 5).bool()})


def test_movement_is_the_mean_distance_of_those_that_a_mask_names(layer):
    initial = {"a": torch.tensor([[1.0, 1.0, 1.0, 1.0]])}
    trained = {"a": torch.tensor([[2.0, 4.0, 1.0, 0.0]])}
    final = {"a": torch.tensor([[1.5, 0.0, 2.0, 0.0]])}
    alive, left = torch.tensor([[True, True, True, False]]), torch.tensor([[True, False, True, False]])
    [row] = movements([layer("a", 1, 4)], (initial, final, {"a": left}), (initial, trained, {"a": alive}, {"a": left}))
    assert row.kept == (0.5 + 1.0) / 2
    assert row.survived == (1.0 + 0.0) / 2
    assert row.removed == 3.0  # and not that of the fourth, which earlier pruning had removed


def test_without_a_training_before_the_pruning_only_the_kept_have_moved(layer):
    initial, final = {"a": torch.zeros(1, 2)}, {"a": torch.tensor([[1.0, 3.0]])}
    [row] = movements([layer("a", 1, 2)], (initial, final, {}), None)
    assert (row.kept, row.survived, row.removed) == (2.0, None, None)
    [row] = movements([layer("a", 1, 2)], (initial, final, {"a": torch.zeros(1, 2).bool()}), None)
    assert row.kept is None


def test_a_barrier_is_the_highest_error_above_the_mean_of_the_ends():
    assert barrier([0.1, 0.5, 0.3]) == pytest.approx(0.3)
    assert barrier([0.1, 0.15, 0.3]) == pytest.approx(0.1)  # the worse end is above the mean
    assert barrier([0.25, 0.125, 0.25]) == 0.0


def test_between_two_networks_lies_a_straight_line():
    one, other = (
        {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([4.0, 2.0]), "n": torch.tensor(5)},
    )
    halfway = between(one, other, 0.25)
    assert halfway["w"].tolist() == [1.0, 2.0]
    assert halfway["n"] == 3
    assert torch.equal(between(one, other, 0.0)["w"], one["w"])
    assert torch.equal(between(one, other, 1.0)["w"], other["w"])


def test_between_a_network_and_itself_lies_itself_to_the_bit():
    torch.manual_seed(0)
    one = {"w": torch.randn(1000)}
    assert all(torch.equal(between(one, one, point / 10)["w"], one["w"]) for point in range(11))
