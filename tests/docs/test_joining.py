"""The files for people who join: they agree with the package, and the check of submitted rows finds what is new."""

import json
import runpy
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import prunebench
from prunebench.leaderboard.boards.published import read_board

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / ".github").rglob("*.yml"))


def load(path):
    return YAML(typ="safe").load(path.read_text("utf-8"))


def test_the_citation_has_the_version_of_the_package_and_of_its_latest_release():
    citation = load(ROOT / "CITATION.cff")
    assert citation["version"] == prunebench.__version__
    released = f"## [{citation['version']}] - {citation['date-released']}\n"
    assert released in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert citation["license"] == "Apache-2.0"


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_forms_and_workflows_are_yaml_with_what_they_need(path):
    found = load(path)
    if path.parent.name == "workflows":
        assert found["permissions"]
        assert all(job["timeout-minutes"] for job in found["jobs"].values())
        inputs = [step["run"] for job in found["jobs"].values() for step in job["steps"] if "run" in step]
        assert not any("${{" in text for text in inputs), "inputs come as variables, so that a shell never parses them"
    elif path.stem != "config":
        assert {"name", "description", "body"} <= found.keys()


def test_the_development_container_is_built_from_a_file_that_is_there():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).is_file()


# --- submitted rows


@pytest.fixture(scope="module")
def rows():
    return runpy.run_path(str(ROOT / ".ci" / "submitted_rows.py"))


@pytest.fixture(scope="module")
def published():
    return read_board(ROOT / "leaderboard" / "digits").results


def test_of_an_unchanged_board_no_row_is_new(rows, published):
    assert rows["chosen"](published, published, 5) == []


def test_a_row_that_is_added_or_has_other_figures_is_new(rows, published):
    [dropped] = [one for one in published if (one.method, one.sparsity, one.seed) == ("snip", 0.9, 1)]
    others = [one for one in published if one is not dropped]
    assert rows["chosen"](published, others, 5) == [dropped]
    better = replace(dropped, metrics={**dropped.metrics, "accuracy": 0.999})
    assert rows["chosen"]([*others, better], published, 5) == [better]


def test_the_cheapest_new_rows_are_chosen_with_one_seed_each(rows, published):
    found = rows["chosen"](published, (), 3)
    names = [rows["row_of"](one) for one in found]
    assert len(set(names)) == 3
    cheapest = min(one.metrics["wall_seconds"] for one in published if one.status == "done")
    assert found[0].metrics["wall_seconds"] == cheapest


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("digits", "digits"),
        ("suites/digits.yaml", str(ROOT / "suites" / "digits.yaml")),
        ("../digits.yaml", None),
        ("/etc/passwd", None),
        ("docs/site.py", None),
        ("--plugin=evil.py", None),
        ("", None),
    ],
)
def test_only_suites_of_the_repository_are_run(rows, published, file, found):
    assert rows["suite_of"](replace(published[0], provenance={"suite.file": file})) == found


def test_boards_are_those_whose_trials_a_change_touches(rows):
    known = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    if known.returncode:
        pytest.skip("this is no clone")
    assert rows["before"](ROOT / "leaderboard" / "no-such-board", "HEAD") == ()
    assert len(rows["before"](ROOT / "leaderboard" / "digits", "HEAD")) > 100
