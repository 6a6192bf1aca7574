"""Annotations of a dataclass as a JSON schema, and the schema in words."""

from typing import Annotated

import pytest
from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.api.tasks import Recipe
from prunebench.suite.annotations import choices, phrase, schema_of


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "a whole number of at least 1"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "a whole number from 1 to 9"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "a number above 0 and below 1"),
        ({"type": "number", "maximum": 0.5}, "a number of at most 0.5"),
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 2}, "text of at least 2 characters"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "object"}, "a mapping"),
        ({"const": "a"}, "'a'"),
        ({"enum": ["a", "b", 3]}, "'a', 'b' or 3"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}, "text or a whole number"),
        ({"type": "array"}, "a list"),
        ({"type": "array", "items": {"type": "string"}}, "a list of texts"),
        ({"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
         "a non-empty list of whole numbers of at least 1"),
        ({"type": "array", "items": {"type": "number"}, "minItems": 2}, "a list (at least 2 items) of numbers"),
        ({"type": "array", "items": {"type": "number"}, "maxItems": 2}, "a list (0 to 2 items) of numbers"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2, "minItems": 2, "maxItems": 2},
         "a list of 2 numbers"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "object"}}}, "a list of lists of mappings"),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_schema_is_put_into_words(schema, words):
    assert phrase(schema) == words


def test_optional_values_are_explained_by_what_they_are_otherwise():
    epochs = schema_of(Recipe)["properties"]["epochs"]
    assert phrase(epochs) == "a whole number of at least 1"


def test_a_schema_has_the_texts_of_annotations_and_of_union_members():
    class Texted(prunebench.Method):
        name = "texted"
        rounds: Annotated[int, Ge(1), Doc("how often")] = 1
        steps: Annotated[int, Doc("optimizer steps")] | None = None
        bare: int = 0

    keys = schema_of(Texted)["properties"]
    assert [keys[name].get("description") for name in ("rounds", "steps", "bare")] == [
        "how often",
        "optimizer steps",
        None,
    ]


def test_the_choices_of_a_schema_are_those_of_all_branches_in_their_order():
    assert choices({"anyOf": [{"enum": ["b", "a"]}, {"const": 3}, {"type": "null"}]}) == ("b", "a", 3)
    assert choices({"type": "integer"}) == ()
