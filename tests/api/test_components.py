"""What a plugin's class gets by subclassing."""

import dataclasses
from types import SimpleNamespace
from typing import Annotated, ClassVar

import pytest
from annotated_types import Ge

import prunebench


class Plain(prunebench.Method):
    name = "plain"


class Tuned(prunebench.Method):
    name = "tuned"
    label: ClassVar[str] = "not a parameter"
    rounds: Annotated[int, Ge(1)] = 1
    rate: float


class Finer(Tuned):
    name = "finer"
    rounds: Annotated[int, Ge(1)] = 10


def parameters(component):
    return {field.name: getattr(component, field.name) for field in dataclasses.fields(component)}


def test_annotated_fields_are_parameters_in_their_order():
    assert list(parameters(Tuned(rate=0.5)).items()) == [("rounds", 1), ("rate", 0.5)]


def test_class_variables_are_no_parameters():
    assert parameters(Plain()) == {}


def test_a_parameter_without_a_default_must_be_given():
    with pytest.raises(TypeError, match="rate"):
        Tuned()


def test_parameters_are_given_by_name_only():
    with pytest.raises(TypeError, match="positional"):
        Tuned(1, 0.5)


def test_a_parameter_that_does_not_exist_is_an_error():
    with pytest.raises(TypeError, match="round"):
        Tuned(rate=0.5, round=3)


def test_a_component_never_changes():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tuned(rate=0.5).rounds = 2


def test_components_are_equal_by_class_and_parameters():
    assert Tuned(rate=0.5) == Tuned(rate=0.5, rounds=1)
    assert hash(Tuned(rate=0.5)) == hash(Tuned(rate=0.5))
    assert Tuned(rate=0.5) != Tuned(rate=0.4)
    assert Finer(rate=0.5, rounds=1) != Tuned(rate=0.5, rounds=1)


def test_a_subclass_inherits_parameters_and_may_change_their_defaults():
    assert parameters(Finer(rate=0.5)) == {"rounds": 10, "rate": 0.5}


def test_a_default_that_could_be_changed_is_an_error():
    with pytest.raises(ValueError, match="mutable default"):

        class Shared(prunebench.Method):
            values: list[int] = []


def test_a_method_scores_once_at_initialization_unless_it_says_otherwise():
    method = Plain()
    chain = list(method.stages(SimpleNamespace(density=0.2)))
    assert chain == [prunebench.Initialize(), prunebench.Prune(by=method, density=0.2), prunebench.Train()]


def test_a_method_without_scores_says_whose_they_are():
    with pytest.raises(NotImplementedError, match="method 'plain' has no scores"):
        Plain().scores(SimpleNamespace())


def test_scores_cost_nothing_unless_a_method_says_so():
    assert Plain().scoring_flops(SimpleNamespace(), density=1.0) == 0.0


def test_a_method_is_no_control_unless_it_says_so():
    assert not Plain.control


@pytest.mark.parametrize(
    "call",
    [
        lambda: prunebench.Model().build((1, 8, 8), 10),
        lambda: prunebench.Dataset().facts(),
        lambda: prunebench.Dataset().load(None),
    ],
)
def test_a_model_or_data_set_must_bring_its_own(call):
    with pytest.raises(NotImplementedError):
        call()


def test_a_model_prunes_the_weights_of_its_convolutions_and_linear_layers():
    from torch import nn

    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    assert list(prunebench.Model().prunable(network)) == ["0.weight", "3.weight"]


def test_a_data_set_is_taken_to_be_the_same_for_ever_unless_it_says_otherwise(tmp_path):
    assert prunebench.Dataset().signature(None) == prunebench.Dataset().signature(tmp_path) == ""
