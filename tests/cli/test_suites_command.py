"""`prunebench suites`, and commands that are given the name of a shipped suite."""

import importlib.util
import json
from pathlib import Path

import click
import pytest

from prunebench.cli.shared.suite_argument import SuiteFile
from prunebench.suite.shipped import shipped


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Two shipped suites: planning all of them takes seconds."""
    found = {name: path for name, path in shipped().items() if name in ("digits", "tables")}
    monkeypatch.setattr("prunebench.cli.suites.shipped", lambda: found)
    return found


def test_the_listing_says_of_each_suite_how_large_it_is_and_what_it_is_about(few, prunebench):
    result = prunebench("suites")
    assert result.exit_code == 0
    assert "digits  255 trials with 5 seeds; about " in result.stdout
    assert "Pruning methods and their controls on scikit-learn's 8x8" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_the_listing_as_json_has_trials_methods_and_both_times(few, prunebench):
    digits, tables = json.loads(prunebench("suites", "--json").stdout)
    assert (digits["name"], digits["tasks"], digits["seeds"]) == ("digits", ["digits-mlp"], 5)
    assert digits["trials"] == 5 * (1 + 10 * 5)  # dense, and ten methods at five sparsities
    assert digits["methods"][:2] == ["dense", "random"]
    assert tables["name"] == "tables"
    assert set(digits["seconds"]) == {"cpu", "cuda"}
    assert all(seconds > 1 for seconds in digits["seconds"].values())


def test_a_suite_that_needs_what_is_not_here_is_listed_with_the_reason(few, prunebench):
    text = few["tables"].read_text("utf-8").replace("name: mlp", "name: mlq")
    few["other"] = Path("other")
    few["other"].write_text(text, "utf-8")
    result = prunebench("suites")
    assert result.exit_code == 0
    assert "other   cannot be read here: " in result.stdout
    assert "unknown model 'mlq'" in " ".join(result.stdout.split())
    assert "unknown model 'mlq'" in json.loads(prunebench("suites", "--json").stdout)[2]["error"]


def test_a_suite_of_which_a_profile_needs_what_is_not_here_is_listed_with_its_others(few, prunebench, monkeypatch):
    few["mnist-lenet"], find = shipped()["mnist-lenet"], importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "numba" else find(name))
    lenet = next(one for one in json.loads(prunebench("suites", "--json").stdout) if one["name"] == "mnist-lenet")
    assert lenet["trials"] == lenet["profiles"]["quick"]["trials"]
    assert "needs the package numba" in lenet["profiles"]["sparse"]["error"]
    result = prunebench("suites")
    assert result.exit_code == 0
    assert "--profile sparse: cannot be read here" in " ".join(result.stdout.split())


def test_a_shipped_suite_is_printed_byte_for_byte_and_its_copy_is_a_suite(prunebench):
    shown = prunebench("suites", "show", "digits")
    assert shown.exit_code == 0
    assert shown.stdout_bytes == shipped()["digits"].read_bytes()
    Path("mine.yaml").write_bytes(shown.stdout_bytes.replace(b"seeds: 5", b"seeds: 1"))
    plan = json.loads(prunebench("plan", "mine.yaml", "--json").stdout)
    assert plan["trials"] == 51


def test_an_unknown_suite_is_refused_with_the_most_similar_name(prunebench):
    result = prunebench("suites", "show", "digit")
    assert result.exit_code == 2
    assert "no shipped suite is called 'digit'; did you mean 'digits'?" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "tables"),
        ("status", "tables"),
        ("why", "tables", "diabetes-mlp/dense/0/0"),
        ("cache", "tables"),
        ("sync", "tables"),
    ],
)
def test_commands_that_take_the_file_of_a_suite_take_its_name(words, prunebench):
    result = prunebench(*words)
    assert result.exit_code == 0, result.output


def test_a_leaderboard_of_a_shipped_suite_can_be_narrowed(prunebench):
    refused = prunebench("leaderboard", "tables", "--only", "method=nothing")
    assert "the suite has no method 'nothing'" in refused.stderr
    refused = prunebench("leaderboard", "elsewhere", "--only", "method=random")
    assert "--only can change only the YAML file of a suite, and 'elsewhere' is not one" in refused.stderr


def test_a_plan_says_that_the_suite_is_the_shipped_one(prunebench):
    assert prunebench("plan", "tables").stdout.startswith("tables: the shipped suite\n")


def test_a_file_of_the_same_name_is_mentioned_once(prunebench):
    Path("tables.yaml").write_bytes(shipped()["tables"].read_bytes())
    result = prunebench("plan", "tables")
    assert result.stderr == "note: 'tables' is the shipped suite; for the file in this folder write 'tables.yaml'\n"
    assert result.stdout.startswith("tables: the shipped suite\n")
    assert prunebench("plan", "tables.yaml").stderr == ""


def test_shells_complete_the_names():
    found = SuiteFile().shell_complete(click.Context(click.Command("run")), click.Argument(["suite"]), "cifar10-c")
    assert [item.value for item in found if item.type == "plain"] == ["cifar10-conv", "cifar10-conv-6"]
