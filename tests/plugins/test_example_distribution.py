"""`plugins/example`: a third party's distribution, separate from this package. `.ci/run` installs it beside a wheel."""

import importlib.util
import tomllib
from pathlib import Path

import pytest
import torch

from prunebench import session
from prunebench.api import plugins
from prunebench.plan.planning import make_plan
from tests import installing, runs

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "plugins" / "example"
FILE = EXAMPLE / "prunebench_lamp.py"


def test_its_method_is_none_of_the_built_in_ones():
    assert "lamp" not in plugins.load().names("method")
    (plugin,) = [one for one in plugins.load((str(FILE),)).plugins if one.file == str(FILE)]
    assert plugin.provides == ("method lamp",)
    assert plugin.error == ""


def test_it_is_in_no_package_of_ours():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert not [name for name in setuptools["packages"] if "example" in name]
    assert not (EXAMPLE / "__init__.py").exists()


def test_it_uses_the_public_names_only():
    lines = FILE.read_text("utf-8").splitlines()
    assert [line for line in lines if "prunebench." in line and line.startswith(("import", "from"))] == []


def test_its_scores_are_squares_over_the_sums_of_the_squares_that_are_not_smaller():
    spec = importlib.util.spec_from_file_location("example", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scores = module.lamp(torch.tensor([2.0, -1.0, 3.0, -4.0]))
    assert scores.tolist() == [4 / 29, 1 / 30, 9 / 25, 1.0]


def test_its_suite_can_be_planned():
    loaded = session.load_suite(EXAMPLE / "suite.yaml", plugin_files=[FILE])
    plan = make_plan(loaded.trials, {})
    assert [planned.skipped for planned in plan.trials if planned.skipped] == []
    assert "lamp" in {planned.trial.entry.label for planned in plan.trials}


@pytest.mark.slow
def test_once_installed_its_tests_pass_and_its_suite_runs(tmp_path):
    site = installing.install(EXAMPLE, tmp_path / "site")
    done = installing.pytest(EXAMPLE, site)
    assert done.returncode == 0, done.stdout
    short = ("--set", "seeds=1", "--set", "tasks.recipe.epochs=1")
    run = runs.prunebench("run", EXAMPLE / "suite.yaml", *short, cwd=tmp_path, **installing.with_site(site))
    assert run.returncode == 0, run.stderr
    assert "\nlamp " in run.stdout
