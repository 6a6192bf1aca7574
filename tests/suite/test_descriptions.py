"""What the listings say is read from the class."""

import json
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Len, MultipleOf
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PluginError
from prunebench.api.plugins import load
from prunebench.api.registry import Plugin
from prunebench.suite.descriptions import as_json, describe, describe_all, parameters, plain

PLUGIN = Plugin("mine", "/plugins/mine.py", "mine-dist", "1.2")


class Inner(prunebench.Method):
    name = "inner"
    rounds: int = 1
    rate: float = 0.5


class Described(prunebench.Method):
    """Keeps what matters.

    And says why.
    """

    name = "described"
    reference = "Nobody 2026"
    presets = {"paper": prunebench.Preset("table 1", {"rounds": 3})}
    rounds: Annotated[int, Ge(1), Doc("how often")] = 1
    rate: Annotated[float, Interval(ge=0, lt=1)]
    steps: Annotated[int, Gt(0), Doc("optimizer steps")] | None = None
    mode: Annotated[Literal["train", "eval"], Doc("of BatchNorm")] = "eval"
    levels: tuple[float, ...] = (0.5, 0.25)
    method: prunebench.Method = field(default_factory=lambda: Inner(rounds=2))


def parameter(name, cls=Described):
    return {found.name: found for found in parameters(cls)}[name]


def test_a_description_has_the_class_s_own_words():
    description = describe("method", Described, PLUGIN)
    assert description.summary == "Keeps what matters."
    assert description.text == "Keeps what matters.\n\nAnd says why."
    assert description.reference == "Nobody 2026"
    assert description.presets["paper"].values == {"rounds": 3}


def test_a_class_without_a_docstring_has_no_summary():
    assert describe("method", Inner, PLUGIN).summary == ""


def test_a_parameter_has_type_default_range_and_text():
    rounds = parameter("rounds")
    assert (rounds.values, rounds.default, rounds.required) == ("a whole number of at least 1", 1, False)
    assert (rounds.schema["minimum"], rounds.description) == (1, "how often")


def test_a_parameter_without_a_default_is_required():
    assert parameter("rate").required


def test_an_interval_has_both_ends():
    assert parameter("rate").values == "a number of at least 0 and below 1"


def test_what_is_annotated_inside_of_an_optional_type_counts():
    steps = parameter("steps")
    assert (steps.values, steps.description) == ("a whole number above 0", "optimizer steps")


def test_a_literal_names_its_choices():
    assert parameter("mode").values == "'train' or 'eval'"
    assert parameter("mode").choices == ("train", "eval")


def test_the_choices_of_a_literal_that_may_be_none_are_found():
    class Choosy(prunebench.Method):
        name = "choosy"
        mode: Annotated[Literal["a", "b"], Doc("one of two")] | None = None

    (mode,) = parameters(Choosy)
    assert (mode.choices, mode.description) == (("a", "b"), "one of two")


def test_a_default_factory_is_called():
    assert parameter("method").default == Inner(rounds=2)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "text"),
        (Path, "a path"),
        (prunebench.File, "a path"),
        (Any, "anything"),
        (str | int, "text or a whole number"),
        (int | float | None, "a whole number or a number"),
        (Literal["global", "uniform", "erk"] | None, "'global', 'uniform' or 'erk'"),
        (tuple[str, ...], "a list of texts"),
        (list[Annotated[int, Ge(1)]], "a list of whole numbers of at least 1"),
        (tuple[float, float], "a list of 2 numbers"),
        (Annotated[tuple[str, ...], Len(1, 3)], "a list (1 to 3 items) of texts"),
        (Annotated[int, MultipleOf(8)], "a whole number that is a multiple of 8"),
        (list[Annotated[int, MultipleOf(8)]], "a list of whole numbers that are multiples of 8"),
        (Mapping[str, float], "a mapping"),
        (prunebench.Structure, "a mapping"),
        (object(), "anything"),
    ],
)
def test_the_values_of_a_type_are_put_into_words(hint, expected):
    holder = make_dataclass("Holder", [("value", hint)])
    assert [one.values for one in parameters(holder)] == [expected]


def test_a_parameter_whose_type_pydantic_does_not_know_has_a_name_and_a_default():
    class Odd(prunebench.Method):
        name = "odd"
        registry: Callable[..., int] | None = None

    (registry,) = parameters(Odd)
    assert (registry.name, registry.values, registry.default) == ("registry", "anything", None)


def test_a_nested_component_is_its_name_and_what_it_changes():
    assert plain(Inner(rounds=2)) == {"name": "inner", "rounds": 2}


def test_json_has_everything_and_no_default_where_one_must_be_given():
    description = json.loads(json.dumps(as_json(describe("method", Described, PLUGIN))))
    by_name = {found["name"]: found for found in description["parameters"]}
    assert by_name["rounds"] == {
        "name": "rounds",
        "type": "integer",
        "required": False,
        "default": 1,
        "minimum": 1,
        "description": "how often",
    }
    assert "default" not in by_name["rate"]
    assert by_name["steps"]["default"] is None
    assert by_name["mode"]["enum"] == ["train", "eval"]
    assert by_name["levels"]["default"] == [0.5, 0.25]
    assert by_name["method"]["default"] == {"name": "inner", "rounds": 2}
    assert description["presets"] == {"paper": {"source": "table 1", "values": {"rounds": 3}}}
    assert description["plugin"] == {
        "name": "mine",
        "distribution": "mine-dist",
        "version": "1.2",
        "file": "/plugins/mine.py",
    }


def test_annotations_that_cannot_be_read_name_the_class():
    class Lost(prunebench.Method):
        name = "lost"
        rounds: "Unknown" = 1  # noqa: F821

    with pytest.raises(PluginError, match=r"the annotations of .*Lost cannot be read: name 'Unknown' is not defined"):
        describe("method", Lost, PLUGIN)


@pytest.mark.parametrize("kind", ["method", "model", "dataset"])
def test_every_registered_component_describes_itself(kind):
    for description in describe_all(load(), kind):
        assert description.summary, f"{description.name} has no docstring"
        assert json.dumps(as_json(description), allow_nan=False)
