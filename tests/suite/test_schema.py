"""The JSON Schema of a suite: what it allows, checked with a validator of the few words that it uses."""

import re
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from ruamel.yaml import YAML

from prunebench.api import plugins
from prunebench.suite import suite_schema
from prunebench.suite.annotations import schema_of
from tests import suites

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
LIMITS = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
    "minLength": lambda value, limit: len(value) >= limit,
    "minItems": lambda value, limit: len(value) >= limit,
    "minProperties": lambda value, limit: len(value) >= limit,
    "maxItems": lambda value, limit: len(value) <= limit,
    "uniqueItems": lambda value, limit: len({repr(item) for item in value}) == len(value),
    "pattern": lambda value, limit: re.search(limit, value) is not None,
    "enum": lambda value, limit: value in limit,
    "const": lambda value, limit: value == limit,
    "required": lambda value, limit: set(limit) <= set(value),
}
TEXTS = {"$schema", "title", "description", "default", "format"}


def allows(schema, value):
    """Whether a schema allows a value. Fails for a word of JSON Schema that is not understood here."""
    assert set(schema) <= {
        *LIMITS,
        *TEXTS,
        "type",
        "anyOf",
        "properties",
        "additionalProperties",
        "items",
        "prefixItems",
    }
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if not all(LIMITS[word](value, limit) for word, limit in schema.items() if word in LIMITS):
        return False
    if "anyOf" in schema and not any(allows(branch, value) for branch in schema["anyOf"]):
        return False
    if isinstance(value, dict):
        rest = schema.get("additionalProperties", True)
        inner = [(schema.get("properties", {}).get(key, rest), item) for key, item in value.items()]
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        inner = [(first[n] if n < len(first) else schema.get("items", True), item) for n, item in enumerate(value)]
    else:
        inner = []
    return all(allows(one, item) if isinstance(one, dict) else one for one, item in inner)


def load(text):
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("path", suites.SUITES, ids=lambda path: path.stem)
def test_the_suites_that_come_along_agree_with_the_schema(path):
    suite = load(path.read_text("utf-8"))
    assert allows(suite_schema(), suite)
    assert allows(suite_schema(plugins.load()), suite)


GOOD = [
    ("  - coin", "  - {name: coin, label: c, shuffle: true, reinitialize: true, invert: true, allocation: erk}"),
    ("  - coin", "  - {name: ladder, preset: paper, label: c, levels: null, widths: [1, 2], rewind_to: 3ep}"),
    ("  - coin", "  - {name: opaque, depth: 3}"),
    ("{name: net, hidden: [30, 10]}", "family/deep"),
    ("{name: net, hidden: [30, 10]}", "{name: family/deep, stem: small}"),
    ("{name: net, hidden: [30, 10]}", "{name: family, member: deep}"),
    ("  - coin", "  - {name: coin, sparsities: [0.5]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency}}, train]}"),
    ("  - coin", "  - {label: p, sparsities: [0.5], invert: true, stages: [initialize, {train: {by: null}}]}"),
    ("  - coin", "  - {label: p, stages: [{initialize: {}}, {prune: {by: {name: saliency, preset: paper}}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {train: {by: {name: mover, interval: 5it}, density: target}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency, allocation: [[a, 0.5], [b, 1]]}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency}}, shuffle, {rewind: {to: 0}}]}"),
    ("dataset: scans", "dataset: {name: scans, size: 3}"),
    ("dataset: scans", "label: x.1\n    dataset: scans"),
    ("seeds: 3", "seeds: [3, 1]"),
    ("seeds: 3", "seeds: 1\ndescription: x"),
    ("seeds: 3", "seeds: 3"),
    ("    recipe:", "    prunable: {first: false, exclude: [a]}\n    recipe:"),
    ("lr: 1.2e-3}", "lr: 1, betas: [0, 0.5]}, schedule: {name: multistep, milestones: [1ep, 0], warmup: 0}"),
]  # fmt: skip
BAD = [
    ("name: small", "name: a b"),
    ("name: small", "nam: small"),
    ("  - coin", "  - {name: coin, label: a/b}"),
    ("  - coin", "  - 3"),
    ("  - coin", "  - {name: coin, sparsities: [0.5, 0.5]}"),
    ("  - coin", "  - {name: coin, sparsities: 0.5}"),
    ("  - coin", "  - {label: p, stages: []}"),
    ("  - coin", "  - {stages: [initialize, {prune: {by: saliency}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, prune]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prun: {by: saliency}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency, density: 2}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency, densiti: 0.2}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: null}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency}, train: {}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: saliency, allocation: [[a, 2]]}}]}"),
    ("seeds: 3", "seeds: 0"),
    ("seeds: 3", "seeds: 10001"),
    ("seeds: 3", "seeds: [0, 0]"),
    ("seeds: 3", "seeds: [-1]"),
    ("[0.8, 0.95]", "[0.8, 0.8]"),
    ("[0.8, 0.95]", "[1]"),
    ("[0.8, 0.95]", "[]"),
    ("epochs: 4", "epochs: 0"),
    ("epochs: 4", "epoch: 4"),
    ("lr: 1.2e-3", "lr: 0"),
    ("lr: 1.2e-3", "lr: '1'"),
    ("lr: 1.2e-3", "lr: 1, betas: [0.1]"),
    ("lr: 1.2e-3}", "lr: 1}, augmentation: [flop]"),
    ("    recipe:", "    prunable: {firs: false}\n    recipe:"),
    ("    recipe:", "    recipee:"),
]
BAD_NAMES = [
    ("  - coin", "  - cion"),
    ("  - coin", "  - {name: coin, alocation: erk}"),
    ("  - coin", "  - {name: coin, allocation: er}"),
    ("  - coin", "  - {name: coin, preset: paper}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: salience}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: {name: saliency, batches: 0}}}]}"),
    ("  - coin", "  - {label: p, stages: [initialize, {prune: {by: {name: saliency, label: x}}}]}"),
    ("rate: 0.3", "rate: 1"),
    ("rate: 0.3", "preset: papr"),
    ("rate: 0.3", "iterative: 1"),
    ("{name: net, hidden: [30, 10]}", "family"),
    ("{name: net, hidden: [30, 10]}", "{name: net, hidden: []}"),
    ("{name: net, hidden: [30, 10]}", "{name: family/deep, stem: middle}"),
    ("{name: net, hidden: [30, 10]}", "{name: families/deep}"),
    ("dataset: scans", "dataset: {name: scans, shuffle: true}"),
]


@pytest.mark.parametrize(("old", "new"), GOOD)
def test_the_schema_allows_what_reading_allows(read, valid, fakes, old, new):
    text = valid.replace(old, new)
    assert read(text)
    assert allows(suite_schema(fakes), load(text))
    assert allows(suite_schema(), load(text))


@pytest.mark.parametrize(("old", "new"), BAD + BAD_NAMES)
def test_the_schema_refuses_what_reading_refuses(mistakes, valid, fakes, old, new):
    text = valid.replace(old, new)
    assert text != valid
    assert mistakes(text)
    assert not allows(suite_schema(fakes), load(text))
    assert allows(suite_schema(), load(text)) is ((old, new) in BAD_NAMES)


def test_texts_of_the_annotations_describe_the_keys():
    task = suite_schema()["properties"]["tasks"]["items"]["properties"]
    assert task["recipe"]["properties"]["clip_norm"]["description"] == "gradients are scaled down to this norm"
    assert task["recipe"]["properties"]["optimizer"]["properties"]["name"]["description"].startswith("sgd, adam, adamw")
    assert task["prunable"]["properties"]["first"]["description"] == "false: the first layer stays dense"
    assert task["label"]["description"] == "its name in results; DATASET-MODEL by default"
    assert suite_schema()["properties"]["seeds"]["description"].startswith("how many seeds")


def test_components_are_described_by_their_docstring_and_texts(fakes):
    schema = suite_schema(fakes)
    choices = schema["properties"]["methods"]["items"]["anyOf"]
    [coin] = [one for one in choices if one.get("properties", {}).get("name") == {"const": "coin"}]
    assert coin["description"] == "Prunes by chance."
    assert coin["properties"]["allocation"] == {
        "type": "string",
        "enum": ["global", "erk"],
        "default": "global",
        "description": "how the density is shared out",
    }


def test_a_class_whose_annotations_cannot_be_read_spoils_no_other_s_schema(fakes, valid):
    text = valid.replace("  - coin", "  - {name: unreadable, what: 3}")
    assert allows(suite_schema(fakes), load(text))


def test_a_schema_names_its_dialect_and_refers_to_nothing():
    schema = suite_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$ref" not in str(schema)
    assert "$defs" not in schema


def test_a_schema_is_the_caller_s_to_change():
    suite_schema()["properties"].clear()
    assert suite_schema()["properties"]


def test_a_class_that_contains_itself_has_a_schema():
    assert schema_of(Tree)["properties"]["children"]["items"] == {}


@dataclass(frozen=True)
class Tree:
    children: "tuple[Tree, ...]" = field(default=())


def test_the_schema_needs_nothing_heavy():
    code = "import sys; from prunebench.suite.schema import suite_schema; suite_schema(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "timm", "mlflow", "pandas", "prunebench_plugins"}.isdisjoint(done.stdout.split())
