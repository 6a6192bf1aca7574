"""The best of several states by their validation figures, and what they cost together."""

import math

import pytest

from prunebench.training.choosing import best_of
from prunebench.training.cost import Cost
from prunebench.training.state import State


def state(name, flops):
    return State(step=1, parameters={name: None}, buffers={}, masks={}, cost=Cost(training_flops=flops, steps=1))


STATES = [state(name, flops) for name, flops in (("a", 10.0), ("b", 12.0), ("c", 15.0))]


class OnlyValidation(dict):
    """Figures of which only those of the validation split may be read."""

    def __getitem__(self, name):
        assert name.startswith("validation_"), f"the choice reads {name}"
        return super().__getitem__(name)


def chosen(values, sign=1, common=()):
    by_name = dict(zip("abc", values, strict=True))

    def figures(one):
        [name] = one.parameters
        return OnlyValidation(validation_metric=by_name[name], test_metric=-by_name[name])

    return best_of(["x", "y", "z"], [*STATES, *common], figures, "metric", sign)


@pytest.mark.parametrize(
    ("values", "sign", "best"),
    [
        ((0.1, 0.3, 0.2), 1, "b"),
        ((0.1, 0.3, 0.2), -1, "a"),
        ((0.2, 0.3, 0.3), 1, "b"),
        ((0.1, 0.1, 0.2), -1, "a"),
        ((math.nan, -5.0, math.inf), 1, "b"),
    ],
)
def test_the_best_on_the_validation_split_is_taken_and_the_first_of_equals(values, sign, best):
    found = chosen(values, sign)
    assert list(found.parameters) == [best]
    assert found.tuned["chosen"] == "abc".index(best)


def test_all_candidates_are_paid_for_and_what_they_share_once():
    assert chosen((0.1, 0.3, 0.2)).cost == Cost(training_flops=37.0, steps=3)
    shared = state("shared", 8.0)
    assert chosen((0.1, 0.3, 0.2), common=[shared, shared]).cost == Cost(training_flops=21.0, steps=1)


def test_the_scores_of_all_candidates_are_kept():
    assert chosen((0.1, 0.3, 0.2)).tuned == {"chosen": 1, "scores": {"x": 0.1, "y": 0.3, "z": 0.2}}
