"""What the keys of a trial are made of, in words."""

import textwrap

import pytest

from prunebench import session
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.execution.key_inputs import in_no_key, inputs_of, sources
from prunebench.records.sources import core_hashes
from tests import runs


@pytest.fixture
def inputs(tmp_path):
    """The inputs of the first trial of a method in the tiny suite."""

    def of(method, *settings, **source):
        loaded = session.load_suite(runs.write_suite(tmp_path), settings=settings, **source)
        return inputs_of(next(trial for trial in loaded.trials if trial.entry.label == method), "print")

    return of


def differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_a_parameter_is_an_input_by_its_dotted_name(inputs):
    found = inputs("imp")
    assert found["recipe.epochs"] == 2
    assert found["model.hidden"] == "[12]"
    assert found["method.rewind_to"] == "3it"
    assert (found["seed"], found["sparsity"], found["data"]) == (0, 0.5, "print")
    assert differing(found, inputs("imp", "tasks.recipe.epochs=3")) == {"recipe.epochs"}


def test_a_label_is_no_input(inputs):
    assert differing(inputs("imp"), inputs("renamed", "methods.1.label=renamed", "name=other")) == set()


def test_every_source_file_of_a_component_is_an_input_that_its_version_speaks_for(inputs):
    found = inputs("imp")
    files = {name for name in found if " file " in name}
    assert {"method file imp.py", "method file ladder.py", "model file mlp.py", "dataset file digits.py"} <= files
    assert all(map(in_no_key, files))
    assert not [name for name in found if " source " in name]


def test_versions_are_inputs(inputs):
    found = inputs("imp")
    assert found["protocol version"] == PROTOCOL_VERSION
    assert [found[f"{kind} version"] for kind in ("method", "model", "dataset")] == [1, 1, 1]
    assert not in_no_key("protocol version")
    assert not in_no_key("method version")


def test_a_method_without_a_version_is_an_input_by_its_files_and_by_the_version_of_what_it_builds_on(tmp_path, inputs):
    source = """
        import prunebench
        from prunebench_plugins.snip import SNIP

        class Mine(SNIP):
            name = "mine"

        @prunebench.hookimpl
        def register_methods():
            return [Mine]
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(source), "utf-8")
    found = inputs("mine", 'methods=["mine"]', plugin_files=[tmp_path / "mine.py"])
    assert found["method base snip version"] == 1
    assert "method version" not in found
    assert [name for name in found if name.startswith("method source ")] == [
        next(name for name in found if name.endswith("mine.py"))
    ]
    assert any(name.startswith("method file ") and name.endswith("snip.py") for name in found)


def test_every_module_of_the_core_that_computes_is_an_input_that_is_in_no_key(inputs):
    found = inputs("random")
    assert {"prunebench/training/loop.py", "prunebench/plan/planning.py", "prunebench/training/optimizers.py"} < set(
        found
    )
    assert all(in_no_key(f"prunebench/{name}") for name in core_hashes())


def test_the_sources_of_inputs_are_one_hash_of_each_component(inputs):
    found = inputs("imp")
    one = sources(found)
    assert one.keys() == {"core", "method", "model", "dataset"}
    edited = sources(found | {"method file imp.py": "other"})
    assert {kind for kind in one if one[kind] != edited[kind]} == {"method"}
    edited = sources(found | {"prunebench/training/loop.py": "other"})
    assert {kind for kind in one if one[kind] != edited[kind]} == {"core"}
