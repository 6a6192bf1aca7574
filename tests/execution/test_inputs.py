"""What the keys of a trial are made of, in words."""

import pytest

from prunebench import session
from prunebench.execution.inputs import inputs_of
from prunebench.identity import NUMERICS, core_hashes, core_version
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


def test_every_source_file_of_a_component_is_an_input(inputs):
    files = {name for name in inputs("imp") if " source " in name}
    assert {"method source imp.py", "method source ladder.py", "model source mlp.py"} <= files
    assert "dataset source digits.py" in files


def test_every_module_of_the_core_that_a_key_depends_on_is_an_input(inputs):
    modules = {f"prunebench/{name.replace('.', '/')}.py" for name in NUMERICS}
    assert modules < set(inputs("random"))
    assert "prunebench/plan.py" in inputs("random")
    assert len(set(core_hashes().values())) == len(core_hashes())
    assert core_version() not in core_hashes().values()
