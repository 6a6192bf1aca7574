"""A method of a file that `--plugin` names is tried in any suite, by `--only`, without a change of the suite."""

import textwrap

import pytest

from prunebench import session
from prunebench.api.errors import SuiteError
from tests import runs

SOURCE = """
    import prunebench

    class Mine(prunebench.Method):
        name = "mine"

    class Needy(prunebench.Method):
        name = "needy"
        strength: float

    @prunebench.hookimpl
    def register_methods():
        return [Mine, Needy]
"""


@pytest.fixture
def load(tmp_path):
    """Loads the tiny suite with a loose plugin of two methods."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(SOURCE), "utf-8")
    path = runs.write_suite(tmp_path)
    return lambda *only: session.load_suite(path, only=only, plugin_files=[tmp_path / "mine.py"])


def labels(loaded):
    return {trial.entry.label for trial in loaded.trials}


def test_it_stands_beside_the_suites_own_methods(load):
    loaded = load("method=mine,random")
    assert labels(loaded) == {"dense", "mine", "random"}
    mine = [trial for trial in loaded.trials if trial.entry.label == "mine"]
    assert sorted({(trial.sparsity, trial.seed) for trial in mine}) == [(0.5, 0), (0.5, 1), (0.7, 0), (0.7, 1)]


def test_other_keys_narrow_it_as_any_method(load):
    loaded = load("method=mine,seed=1", "sparsity=0.7")
    assert [(t.sparsity, t.seed) for t in loaded.trials if t.entry.label == "mine"] == [(0.7, 1)]


@pytest.mark.parametrize("only", [(), ("seed=0",), ("method=random",), ("method=*",)])
def test_nobody_gets_it_who_did_not_ask_for_it(load, only):
    assert "mine" not in labels(load(*only))


def test_an_installed_method_that_the_suite_does_not_list_is_still_a_mistake(load):
    with pytest.raises(SuiteError, match="the suite has no method 'snip'"):
        load("method=snip")


def test_one_that_needs_parameters_says_so(load):
    with pytest.raises(SuiteError, match="strength"):
        load("method=needy")


def test_a_suite_that_lists_it_is_left_as_it_is(load, tmp_path):
    listed = runs.SUITE.replace("- random", "- {name: mine, label: theirs}\n  - random")
    (tmp_path / "tiny.yaml").write_text(listed, "utf-8")
    assert labels(load("method=mine")) == {"dense", "theirs"}
