"""The golden test itself: what changes numbers is noticed, and the version to raise is named."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from prunebench_plugins.drop_grow import DropGrow
from prunebench_plugins.snip import SNIP

from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.data import augmentation
from prunebench.training import recipes
from tests.golden import values
from tests.golden.values import differences


def other_rate(monkeypatch):
    monkeypatch.setattr(recipes, "math", SimpleNamespace(pi=math.pi, cos=lambda angle: math.cos(1.001 * angle)))


def other_rounding(monkeypatch):
    monkeypatch.setattr("prunebench.pruning.allocation.round", math.floor, raising=False)


def other_default(monkeypatch):
    monkeypatch.setitem(recipes.TORCH, "adam", partial(torch.optim.Adam, betas=(0.9, 0.99)))
    recipes.resolved_options.cache_clear()


def other_order(monkeypatch):
    def reversed_order(inputs, kinds, generator, augment=augmentation.augment):
        for kind in ("flip", "crop"):
            inputs = augment(inputs, [kind], generator) if kind in kinds else inputs
        return inputs

    monkeypatch.setattr("tests.golden.cases.augment", reversed_order)


def other_sign(monkeypatch):
    scores = SNIP.scores
    monkeypatch.setattr(SNIP, "scores", lambda self, given: {n: -score for n, score in scores(self, given).items()})


def other_interval(monkeypatch):
    share = DropGrow.share
    monkeypatch.setattr(DropGrow, "share", lambda self, training, made: share(self, training, made + 1))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_rate, "core/schedule/cosine"),
        (other_rounding, "core/rounding"),
        (other_default, "core/optimizer/adam"),
        (other_order, "core/augmentation/flip+crop"),
        (other_sign, "method/snip/default"),
        (other_interval, "method/rigl/default"),
    ],
)
def test_what_is_computed_otherwise_is_noticed(monkeypatch, change, name):
    case, known = values.cases()[name], values.stored()["cases"][name]["values"]
    change(monkeypatch)
    assert list(differences(known, case.measure(), case.tolerance))
    monkeypatch.undo()
    recipes.resolved_options.cache_clear()
    assert not list(differences(known, values.computed(name), case.tolerance))


@pytest.fixture
def changed(monkeypatch):
    """Says of a case that it gives something else now, and whether the core does."""

    def make(core):
        monkeypatch.setattr(values, "computed", lambda name: "something else")
        monkeypatch.setattr(values, "core_changed", lambda: core)

    return make


def test_the_version_of_a_component_is_named_with_its_file(changed):
    changed(core=False)
    said = values.problem("method/snip/default")
    assert said.startswith("method/snip/default is not what it was.\n")
    assert "raise `version` of SNIP in plugins/snip.py (now 1)" in said
    assert "python -m tests.golden --update" in said


@pytest.mark.parametrize("name", ["method/snip/default", "core/rounding"])
def test_the_version_of_the_protocol_is_named_where_the_core_changed(changed, name):
    changed(core=True)
    assert f"raise PROTOCOL_VERSION in prunebench/api/versions.py (now {PROTOCOL_VERSION})" in values.problem(name)


def test_values_of_another_version_are_to_be_written_anew(changed, monkeypatch):
    changed(core=False)
    monkeypatch.setattr(SNIP, "version", 2)
    assert values.problem("method/snip/default") == (
        "the stored values of method/snip/default are of another version: write those of this one with "
        "`python -m tests.golden --update`"
    )


def test_a_case_without_stored_values_fails(monkeypatch):
    monkeypatch.setattr(values, "stored", lambda: {"cases": {}, "timm": "another"})
    assert "has no stored values" in values.problem("method/snip/default")
    assert "method/snip/default" in values.missing()
    assert not [name for name in values.missing() if name.startswith(values.LIBRARY)]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (1.0, 1.000009, True),
        (1.0, 1.00002, False),
        ([100.0, 0.0], [100.0, 0.0009], True),  # a pair is compared by its larger number
        ([100.0, 0.0], [100.0, 0.002], False),
        ([1.0, 2.0, 0.0], [1.0, 2.0, 1e-4], False),
        (3, 4, False),
        ("a", "b", False),
        ([1.0], [1.0, 2.0], False),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}, False),
        ({"a": [1, [2.0, 3.0]]}, {"a": [1, [2.0, 3.0]]}, True),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
    ],
)
def test_numbers_are_close_and_all_else_is_equal(before, after, same):
    assert (list(differences(before, after, 1e-5)) == []) is same
