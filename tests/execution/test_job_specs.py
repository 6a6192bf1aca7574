"""Trials, stages and networks travel to workers as plain JSON, and are the same values there."""

import dataclasses
import json

import pytest

from prunebench import session
from prunebench.api import plugins
from prunebench.api.errors import PrunebenchError
from prunebench.api.executors import JobSpec
from prunebench.api.registry import Registry
from prunebench.execution import worker
from prunebench.execution.job_specs import Assignment, NotPlain, from_values, to_values
from prunebench.network.description import describe
from prunebench.store.entries import Store
from tests import orders, runs

PLUGIN = '''
from dataclasses import dataclass, field
from typing import Literal

import prunebench


@dataclass(frozen=True)
class Window:
    """A parameter of a type of its own."""

    first: int = 1
    share: float = 0.5


class Mine(prunebench.Method):
    """A method with parameters of many types."""

    name = "mine"
    window: Window = Window()
    names: tuple[str, ...] = ("a", "b")
    table: dict[str, float] = field(default_factory=dict)
    mode: Literal["x", "y"] = "x"
    limit: float | None = None

    def scores(self, scoring):
        return {name: weight.abs() for name, weight in scoring.weights.items()}

    def stages(self, trial):
        yield prunebench.Initialize()
        yield prunebench.Prune(by=HELPED, density=trial.density)


class Helper(prunebench.Method):
    """Is not registered."""

    name = "helper"

    def scores(self, scoring):
        return {name: -weight.abs() for name, weight in scoring.weights.items()}


HELPED = Helper()


@prunebench.hookimpl
def register_methods():
    return [Mine]
'''
MINE = "{name: mine, window: {first: 3}, names: [c], table: {d: 1.5}, mode: y, limit: 0.1}"
PIPELINE = (
    "{label: chain, stages: [initialize, {train: {until: 2it}}, {prune: {by: {name: snip, batches: 2}, rounds: 2}}, "
    "{rewind: {to: 2it}}, {prune: {by: magnitude, structure: {n: 2, m: 4}}}, {train: {}}, {deploy: {by: int8}}]}"
)


@pytest.fixture
def loaded(tmp_path):
    """Trials of methods of all kinds: plain, with ablations, a pipeline, and one of a loose file."""
    (tmp_path / "mine.py").write_text(PLUGIN, "utf-8")
    methods = f"methods: [{{name: imp, shuffle: true}}, rigl, {MINE}, {PIPELINE}]\n"
    text = runs.SUITE.split("methods:")[0] + methods + "sparsities: [0.5]\nseeds: 1\n"
    return session.load_suite(runs.write_suite(tmp_path, text), plugin_files=[tmp_path / "mine.py"])


def travelled(value, registry):
    return from_values(json.loads(json.dumps(to_values(value, registry))), registry)


def test_a_trial_is_equal_after_the_journey_and_so_is_its_network(loaded):
    for trial in loaded.trials:
        again = travelled(trial, loaded.registry)
        assert again == trial
        assert repr(again) == repr(trial)  # a whole number does not become a fraction, nor a tuple a list
    network = describe(loaded.suite.tasks[0])
    assert travelled(network, loaded.registry) == network


@pytest.mark.parametrize("value", [None, True, 3, 3.0, 1e-320, 0.1, "", (1, ("a", 2.0)), [1, (2,)], {"a": (1,)}])
def test_plain_values_keep_their_types(value):
    assert repr(travelled(value, Registry())) == repr(value)


@pytest.mark.parametrize("value", [{1, 2}, {1: 2}, object(), 1j])
def test_other_values_are_refused(value):
    with pytest.raises(NotPlain):
        to_values(value, Registry())


@pytest.mark.parametrize(
    "plain", [{"class": "Popen", "fields": {}}, {"class": "Trial"}, {"component": "os", "kind": "method", "fields": {}}]
)
def test_text_that_names_anything_else_is_refused(plain):
    with pytest.raises((ValueError, PrunebenchError)):
        from_values(plain, Registry())


@pytest.fixture
def specs(loaded, tmp_path):
    return orders.orders_of(loaded, Store.open(tmp_path / "store"))


def test_a_worker_gets_the_stages_that_the_plan_has(loaded, specs, tmp_path):
    prepared = session.prepared_already(loaded, None, tmp_path / "store")
    plan = session.plan_suite(loaded, prepared)
    for spec in specs:
        nodes = Assignment(JobSpec.from_json(spec.to_json()), loaded.registry).nodes
        planned = [plan.nodes[key] for key in spec.path]
        assert [node.stage for node in nodes] == [node.stage for node in planned]
        if spec.stages:
            assert [dataclasses.replace(node, trial=None) for node in nodes] == [
                dataclasses.replace(node, trial=None) for node in planned
            ]
    assert any(not spec.stages for spec in specs)  # those whose stages name a class that no plugin registers
    assert any(spec.stages for spec in specs)


def test_a_worker_neither_validates_a_suite_nor_describes_a_network(loaded, specs, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("prunebench.suite.checking.checked", refuse)
    monkeypatch.setattr("prunebench.network.description._describe", refuse)
    for spec in specs:
        assert worker.run_job(spec) == 0


def test_a_worker_with_other_code_refuses_the_job(loaded, specs, monkeypatch):
    monkeypatch.setattr(plugins.load(*_given(specs[0])).find("method", "imp")[0], "version", 99)
    imp = [spec for spec in specs if spec.trial["fields"]["entry"]["fields"]["label"] == "imp"]
    assert imp
    with pytest.raises(PrunebenchError, match="changed while the run was on: run again"):
        Assignment(imp[0], loaded.registry).nodes  # noqa: B018


def _given(spec):
    return spec.plugins, frozenset(spec.blocked)
