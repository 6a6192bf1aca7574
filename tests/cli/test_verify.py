"""A published row is run again as it was run, whatever its run was asked to change."""

import json
import textwrap

import pytest

from prunebench import session
from prunebench.cli.boards.verify import _differences
from prunebench.execution.results import flattened
from prunebench.leaderboard import write
from prunebench.suite.reading import trial_to_plain
from tests import runs
from tests.leaderboard.conftest import make

LOOSE = """
    import prunebench

    class Mine(prunebench.Method):
        name = "mine"

    @prunebench.hookimpl
    def register_methods():
        return [Mine]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.write_suite(tmp_path)
    return tmp_path


@pytest.fixture
def publish(here):
    """Publishes the trials of the tiny suite as a run with these options would, and says nothing of them if `mute`."""

    def publish(*settings, only=("task=tiny",), mute=False, files=()):
        loaded = session.load_suite("tiny.yaml", settings=settings, only=only, plugin_files=files)
        results = [
            make(
                trial=str(trial),
                suite=trial.suite,
                task=trial.task.label,
                method=trial.entry.label,
                sparsity=trial.sparsity,
                seed=trial.seed,
                control=trial.entry.method.control,
                params=flattened(trial_to_plain(trial)),
                provenance={"suite.file": "tiny.yaml"} if mute else dict(loaded.origin),
            )
            for trial in loaded.trials
        ]
        write(results, here / "board", loaded.asked)

    return publish


@pytest.fixture
def verify(prunebench, monkeypatch):
    """Verifies a row of the board: what was said, and the trials that were to be run."""
    found = []

    def run(loaded, options):
        found.extend(loaded.trials)
        return session.Outcome({}, None)

    monkeypatch.setattr(session, "run_suite", run)

    def verify(row, *options):
        found.clear()
        result = prunebench("verify", "tiny.yaml", row, "--board", "./board", *options)
        return " ".join(result.output.split()), list(found)

    return verify


def test_the_settings_of_the_run_are_those_of_the_board(publish, verify):
    publish("tasks.recipe.epochs=1", "methods.1.rewind_to=5it")
    said, trials = verify("tiny/imp/0.5")
    assert "recorded options: --set tasks.recipe.epochs=1 --set methods.1.rewind_to=5it" in said
    assert [(trial.seed, trial.task.recipe.epochs, trial.entry.method.rewind_to) for trial in trials] == [
        (0, 1, "5it"),
        (1, 1, "5it"),
    ]


def test_a_row_that_only_settings_make_is_found_with_its_seeds(publish, verify):
    publish("sparsities=[0.25]", "seeds=[7]")
    _, (trial,) = verify("tiny/random/0.25")
    assert (trial.sparsity, trial.seed) == (0.25, 7)


def test_settings_that_are_given_again_do_no_harm_and_others_come_after_them(publish, verify):
    publish("methods.3.finetune=2ep", "methods=[random, imp]", "tasks.recipe.epochs=1")
    again = ("--set", "methods.3.finetune=2ep", "--set", "resources.num_cpus=2")
    _, trials = verify("tiny/random/0.5", *again)
    assert len(trials) == 2


def test_nothing_is_said_of_settings_where_there_were_none(publish, verify):
    publish()
    said, trials = verify("tiny/random/0.5", "--seed", "1")
    assert "recorded options" not in said
    assert [trial.seed for trial in trials] == [1]


@pytest.mark.parametrize(
    ("settings", "row", "add"),
    [
        (["tasks.recipe.epochs=1"], "tiny/imp/0.5", "epochs 1, not 2: add --set tasks.0.recipe.epochs=1"),
        (["tasks.recipe.epochs=null", "tasks.recipe.steps=9"], "tiny/dense/0", "tasks.0.recipe.steps=9"),
        (["tasks.model.hidden=[8, 4]"], "tiny/random/0.5", "add --set 'tasks.0.model.hidden=[8, 4]'"),
        (["methods.1.rewind_to=5it"], "tiny/imp/0.5", "add --set methods.1.rewind_to=5it"),
        (["seeds=[5, 6]"], "tiny/random/0.5", "none of the published seeds [5, 6] of 'tiny/random/0.5': add --set"),
        (["sparsities=[0.25]"], "tiny/random/0.25", "add --set 'sparsities=[0.25]'"),
        (["methods.1.sparsities=[0.25]", "seeds=[9]"], "tiny/imp/0.25", "=[0.25]' --set 'seeds=[9]'"),
    ],
)
def test_where_the_board_does_not_tell_the_error_says_what_to_add(publish, verify, settings, row, add):
    publish(*settings, mute=True)
    said, trials = verify(row)
    assert (add in said, trials) == (True, []), said
    words = said.partition(": add ")[2].replace("'", "").split("--set ")[1:]
    said, trials = verify(row, *(word for one in words for word in ("--set", one.strip())))
    assert trials, said


def test_what_no_setting_mends_is_run_and_told_with_the_verdict(publish, verify, here):
    publish(mute=True)
    path = here / "board" / "trials.jsonl"
    path.write_text(path.read_text("utf-8").replace('"task.recipe.clip', '"x').replace("recipe.compile", "recipe.old"))
    assert len(verify("tiny/random/0.5")[1]) == 2


def test_settings_that_the_suite_no_longer_takes_are_an_error_that_names_them(publish, verify, here):
    publish("methods.3.finetune=2ep", only=("method=random",))
    runs.write_suite(here, runs.SUITE.replace("  - {name: magnitude, finetune: 1ep}\n", ""))
    said, trials = verify("tiny/random/0.5")
    assert "'tiny/random/0.5' was run with --set methods.3.finetune=2ep, which tiny.yaml does not accept" in said
    assert "there is no 3" in said
    assert trials == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"[\"tasks.recipe.epochs=1\"]", r"[\"tasks.recipe.epochs=\\u001b[2J1\"]"),
        ('"task.recipe.evaluate_every": "1ep"', r'"task.recipe.evaluate_every": "[1, \"\u009b2J\"]", "\u001b": "1"'),
        ('"task.recipe.precision": "float32"', r'"task.recipe.precision": "bfloat16", "\u001b[2J": "1"'),
    ],
)
def test_a_board_cannot_write_to_the_terminal(publish, verify, here, old, new):
    publish("tasks.recipe.epochs=1")
    path = here / "board" / "trials.jsonl"
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    said, _ = verify("tiny/random/0.5")
    assert said.isprintable()


def test_a_plugin_of_the_run_is_not_loaded_unasked_but_named(publish, verify, here):
    (here / "loose.py").write_text(textwrap.dedent(LOOSE), "utf-8")
    publish(only=("method=mine",), files=["loose.py"])
    said, trials = verify("tiny/mine/0.5")
    assert "has no row 'tiny/mine/0.5': it was run with --plugin loose.py; add that" in said
    assert trials == []
    assert [trial.seed for trial in verify("tiny/mine/0.5", "--plugin", "loose.py")[1]] == [0, 1]


def test_a_run_with_settings_is_verified_without_them(here, prunebench):
    asked = {"settings": ["tasks.recipe.epochs=1", "seeds=1"], "only": ["method=random,sparsity=0.5"]}
    session.run_suite(session.load_suite("tiny.yaml", **asked), output=here / "run")
    assert prunebench("leaderboard", "tiny", "--output", "board").exit_code == 0
    for row in json.loads((here / "board/rows.json").read_text("utf-8")):
        assert "--set tasks.recipe.epochs=1 --set seeds=1" in row["command"]
    assert (here / "board/rows.json").read_bytes() == (here / "run/rows.json").read_bytes()
    result = prunebench("verify", "tiny.yaml", "tiny/random/0.5", "--board", "./board", "--store", ".prunebench")
    assert result.exit_code == 0, result.output
    assert "reproduced, equal (seed 0" in result.output


def test_another_device_is_named_and_nothing_that_one_of_them_does_not_have():
    on = [[make(provenance=facts)] for facts in ({"device": "NVIDIA A100", "cuda": "13"}, {"device": "cpu"})]
    assert list(_differences(*on)) == ["another device: NVIDIA A100 → cpu"]
    assert list(_differences(on[0], on[0])) == []
