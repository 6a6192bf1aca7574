"""The command of a row, which does its work again."""

import json
import shlex

import pytest

from prunebench import session
from prunebench.leaderboard.boards.commands import command
from prunebench.leaderboard.rows import rows
from tests import runs


def asked(**said):
    return {f"suite.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}


def test_a_command_names_the_suite_and_the_cell(result):
    found = command(result(method="imp", sparsity=0.988, provenance=asked(file="suites/digits.yaml")))
    assert found == "prunebench run suites/digits.yaml --only task=digits,method=imp,sparsity=0.988"


def test_the_dense_network_is_asked_for_by_its_task(result):
    found = command(result(method="dense", control=True, provenance=asked(file="a.yaml")))
    assert found == "prunebench run a.yaml --only task=digits"


def test_what_a_shell_would_change_is_quoted(result):
    said = asked(file="my suites/a$b.yaml", settings=["name=it's; rm -rf *", "seeds=[0, 1]"], plugins=["my plugin.py"])
    words = shlex.split(command(result(provenance=said | {"threads": "2", "device": "a GPU"})))
    assert words[2] == "my suites/a$b.yaml"
    assert words[5:] == [
        *("--set", "name=it's; rm -rf *", "--set", "seeds=[0, 1]"),
        *("--plugin", "my plugin.py", "--threads", "2", "--device", "cuda"),
    ]


@pytest.mark.parametrize("text", ["no JSON", "7", "[", '{"a": 1}'])
def test_settings_that_nobody_can_read_are_left_out(result, text):
    said = asked(file="a.yaml") | {"suite.settings": text}
    assert command(result(provenance=said)) == "prunebench run a.yaml --only task=digits,method=snipper,sparsity=0.9"


def test_what_would_be_more_than_one_line_is_no_command(result):
    assert command(result(provenance=asked(file="a.yaml\n```\n# Mine"))) == ""
    assert command(result(provenance=asked(file="a.yaml", settings=["x\ny"]))) == ""


def test_without_a_recorded_suite_there_is_no_command(result):
    assert command(result()) == ""


def test_the_command_of_a_row_gives_that_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.write_suite(tmp_path)
    loaded = session.load_suite("tiny.yaml", settings=["seeds=1", "tasks.recipe.epochs=1"], only=["method=random"])
    frame = session.run_suite(loaded, workers=2).frame
    row = frame[frame["target_sparsity"] == 0.7].iloc[0]
    (tmp_path / "elsewhere").mkdir()
    runs.write_suite(tmp_path / "elsewhere")
    words = shlex.split(row["command"])
    assert words[0] == "prunebench"
    again = runs.prunebench(*words[1:], "--output", "board", cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stderr
    published = json.loads((tmp_path / "elsewhere/board/rows.json").read_text("utf-8"))
    (found,) = [one for one in published if not one["control"]]
    for name in ("method", "target_sparsity", "n", "metric_mean", "difference", "training_flops", "command"):
        assert found[name] == row[name], name


@pytest.mark.parametrize("label", ["dense", "random"])
def test_every_row_of_a_run_has_its_command(label, result):
    frame = rows([result(method=label, control=label == "dense", provenance=asked(file="a.yaml"))])
    assert frame["command"].str.startswith("prunebench run a.yaml").all()


def test_a_row_of_runs_for_some_seeds_each_has_a_command_for_all(result):
    def of(seed, *settings):
        return result(seed=seed, finished=1700000000.0 + seed, provenance=asked(file="a.yaml", settings=settings))

    both = rows([of(0, "tasks.recipe.steps=100", "seeds=1"), of(4, "tasks.recipe.steps=100", "seeds=[4]")])
    assert shlex.split(both["command"].iloc[0])[5:] == ["--set", "tasks.recipe.steps=100", "--set", "seeds=[0, 4]"]
    same = rows([of(0, "seeds=2"), of(1, "seeds=2")])
    assert shlex.split(same["command"].iloc[0])[5:] == ["--set", "seeds=2"]


def test_the_profile_of_a_run_is_an_option_of_its_own(result):
    said = asked(file="digits", settings=["profile=quick", "seeds=1"], profile="quick: seeds=2")
    found = command(result(method="imp", sparsity=0.9, provenance=said))
    assert found == "prunebench run digits --only task=digits,method=imp,sparsity=0.9 --profile quick --set seeds=1"
