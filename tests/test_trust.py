"""No code is loaded because data says so: plugins are installed, or a person names them."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from prunebench import load_ticket, session, tracking
from prunebench.api.errors import PrunebenchError
from prunebench.cli import main
from prunebench.inspection.tickets import Facts, Ticket
from prunebench.records.results import OPTION
from prunebench.session import outbox as unsent
from prunebench.store.entries import Store
from tests import runs

BOARD = Path(__file__).parents[1] / "leaderboard" / "cifar10-dropout" / "trials.jsonl"


class Silent:
    """An MLflow server that has no runs and accepts all."""

    def __init__(self, **options):
        pass

    def published(self, suite):
        return {}

    def publish(self, result):
        pass


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A Python file that writes a marker when it is imported, beside a pickle that does when it is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "Tracker", Silent)
    marker = tmp_path / "marker"
    file = tmp_path / "evil.py"
    file.write_text(f"open({str(marker)!r}, 'w').close()\n", "utf-8")
    with (tmp_path / "evil.pkl").open("wb") as content:
        pickle.dump(Touching(str(marker)), content)
    yield file
    assert not marker.exists()


class Touching:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def prunebench(*words):
    """What a command says; a traceback is never an answer."""
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert "Traceback" not in done.output
    return done.exit_code, " ".join(done.output.split())


NAMED = {
    "a path": "{file}",
    "a relative path": "./evil.py",
    "a module": "evil",
    "a class of a module": "evil.Evil",
    "a class after a colon": "evil:Evil",
    "an address": "file://{file}",
    "timm's local folder": "timm/local-dir:{folder}",
    "timm's hub": "timm/hf-hub:someone/something",
    "timm by path": "timm/../{file}",
    "Python's own": "os.system",
}


def test_the_file_would_leave_a_marker(evil, tmp_path):
    prunebench("methods", "--plugin", evil)
    assert (tmp_path / "marker").exists()
    (tmp_path / "marker").unlink()


# Suites


@pytest.mark.parametrize("what", ["method", "model", "dataset", "optimizer", "plugins", "stage", "executor"])
@pytest.mark.parametrize("named", NAMED)
def test_a_suite_loads_nothing(what, named, evil, tmp_path):
    name = NAMED[named].format(file=evil, folder=tmp_path)
    changes = {
        "method": ("- random", f"- {{name: '{name}'}}"),
        "model": ("name: mlp", f"name: '{name}'"),
        "dataset": ("dataset: digits", f"dataset: '{name}'"),
        "optimizer": ("name: sgd", f"name: '{name}'"),
        "plugins": ("name: tiny", f"plugins: ['{name}']\nname: tiny"),
        "stage": ("- random", f"- {{label: x, stages: [{{'{name}': {{}}}}]}}"),
        "executor": ("name: tiny", f"executor: '{name}'\nname: tiny"),
    }
    runs.write_suite(tmp_path, runs.SUITE.replace(*changes[what]))
    for command in ("plan", "run"):
        code, said = prunebench(command, "tiny.yaml")
        assert code == 2
        assert "tiny.yaml" in said


# Notes


def note(tmp_path, evil, **changes):
    """A note in a store, as an attacker writes it."""
    suite = {
        "name": "tiny",
        "tasks": [
            {
                "label": "tiny",
                "dataset": {"name": "digits"},
                "model": {"name": "mlp", "hidden": [12]},
                "recipe": {"epochs": 2, "batch_size": 100, "optimizer": {"name": "sgd", "lr": 0.1}},
            }
        ],
        "methods": [{"name": "random"}],
        "sparsities": [0.5],
        "seeds": [0],
    }
    said = {
        "suite": suite,
        "trials": ["tiny/random/0.5/0", "tiny/evil/0.5/0"],
        "keys": {},
        "prints": {},
        "files": [str(evil)],
        "blocked": [],
        "origin": {OPTION + "plugins": json.dumps([str(evil)])},
    }
    folder = Store.open(tmp_path / ".prunebench").root / session.UNSENT
    folder.mkdir()
    path = folder / "note.json"
    path.write_text(json.dumps({**said, **{name: change(said) for name, change in changes.items()}}), "utf-8")
    return path


def with_method(name):
    return lambda said: {**said["suite"], "methods": [{"name": "random"}, {"name": name}]}


NOTES = {
    "that names a file": {},
    "that names a file for a method": {"suite": with_method("evil")},
    "that names a module": {"files": lambda said: ["evil"]},
    "that names a folder": {"files": lambda said: ["."]},
    "whose method is a path": {"suite": with_method("./evil.py")},
    "whose method is a class": {"suite": with_method("evil:Evil")},
    "whose suite has plugins": {"suite": lambda said: {**said["suite"], "plugins": said["files"]}},
    "whose keys lead out": {"keys": lambda said: {said["trials"][0]: "../../../etc"}},
    "whose files are no list": {"files": lambda said: said["files"][0]},
    "whose files are numbers": {"files": lambda said: [7]},
}


@pytest.mark.parametrize("kind", NOTES)
def test_a_note_loads_nothing(kind, evil, tmp_path):
    note(tmp_path, evil, **NOTES[kind])
    code, said = prunebench("sync")
    assert code in (0, 1)
    assert said


def test_what_needs_a_plugin_waits_for_it_to_be_named(evil, tmp_path):
    path = note(tmp_path, evil, **NOTES["that names a file for a method"])
    code, said = prunebench("sync")
    assert code == 1
    assert "1 not sent yet: they need plugin files, which are loaded only when they are named: " in said
    assert f"`prunebench sync --plugin {evil}` sends them" in said
    assert path.exists()
    Path(evil).rename(tmp_path / "gone.py")
    code, said = prunebench("sync")
    assert not path.exists()


def test_a_plugin_that_is_named_is_loaded_and_no_other(evil, tmp_path):
    """The person's file has the name of the note's, which is another."""
    path = note(tmp_path, evil, **NOTES["that names a file for a method"])
    own = tmp_path / "own" / "evil.py"
    own.parent.mkdir()
    own.write_text(MINE, "utf-8")
    code, said = prunebench("sync", "--plugin", own)
    assert (code, said) == (0, "tiny: 0 sent, 0 sent before, 2 not finished")
    assert not path.exists()


MINE = """
import prunebench

class Evil(prunebench.Method):
    name = "evil"

@prunebench.hookimpl
def register_methods():
    return [Evil]
"""


# Boards


@pytest.fixture
def board(evil, tmp_path):
    """A published board that says it was made with the file."""
    folder = tmp_path / "board"
    folder.mkdir()
    said = {OPTION + "file": str(evil), OPTION + "plugins": json.dumps([str(evil)]), OPTION + "settings": '["seeds=1"]'}
    lines = []
    for line in BOARD.read_text("utf-8").splitlines():
        values = json.loads(line)
        if "provenance" in values:
            values["provenance"] |= said
        lines.append(json.dumps(values))
    (folder / "trials.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def test_a_board_loads_nothing(board, evil, tmp_path):
    runs.write_suite(tmp_path)
    assert prunebench("leaderboard", board)[0] == 0
    assert prunebench("compare", board, board)[0] == 0
    assert prunebench("merge", board, "--output", tmp_path / "merged")[0] == 0
    row = next(
        f"{one['task']}/{one['method']}/{one['sparsity']:g}"
        for one in session_rows(board)
        if one["method"] not in ("dense", "random")
    )
    code, said = prunebench("verify", "tiny.yaml", row, "--board", board)
    assert code == 2
    assert said.startswith("Error: ")


def session_rows(board):
    """The trials of a board, with their tasks."""
    task = ""
    for line in (board / "trials.jsonl").read_text("utf-8").splitlines():
        values = json.loads(line)
        if "trial" in values:
            yield {**values, "task": task}
        task = values.get("task", task)


# Tickets and states


@pytest.mark.parametrize("named", NAMED)
def test_a_ticket_loads_nothing(named, evil, tmp_path):
    name = NAMED[named].format(file=evil, folder=tmp_path)
    weights = {"w": torch.zeros(2, 3)}
    facts = Facts(
        trial="tiny/mine/0.5/0",
        configuration={"plugins": [str(evil)], "task": {"model": {"name": name}, "dataset": {"name": name}}},
        layers=(("w", (2, 3)),),
        shape=(1, 6, 6),
        classes=3,
        initial_step=0,
        figures={},
        key="k",
        protocol="p",
        fingerprint="f",
        environment={"plugins": str(evil), "threads": "1"},
    )
    Ticket(facts, {}, weights, weights).save("one.safetensors")
    ticket = load_ticket("one.safetensors")
    for use in (ticket.model, ticket.evaluate):
        with pytest.raises(PrunebenchError):
            use()


def test_a_pickle_is_no_ticket(evil):
    with pytest.raises(PrunebenchError, match="pickles are never loaded"):
        load_ticket("evil.pkl")


def test_states_and_checkpoints_load_nothing(evil, tmp_path):
    runs.write_suite(tmp_path)
    loaded = session.load_suite("tiny.yaml")
    store = Store.open(tmp_path / ".prunebench")
    plan = session.plan_suite(loaded, {})
    key, pickled = plan.trials[0].key, (tmp_path / "evil.pkl").read_bytes()
    record = {
        "trial": str(plan.trials[0].trial),
        "node": key,
        "plugins": [str(evil)],
        "inputs": {"method source evil.py": str(evil), "method.name": str(evil)},
        "environment": {"method.plugin": str(evil)},
        "finished": 1.0,
    }
    for entries, name in ((store, key), (store.checkpoints(key), "000000000003")):
        entries.write(name, record, {})
        (entries.folder(name) / "weights.safetensors").write_bytes(pickled)
    for name in ("status", "plan", "cache"):
        assert prunebench(name, "tiny.yaml")[0] == 0
    assert prunebench("why", "tiny.yaml", str(plan.trials[0].trial))[0] == 0
    assert prunebench("cache", "--check")[0] in (0, 1)


# Links


def test_a_link_in_a_store_is_not_written_through(evil, tmp_path):
    """A store that was copied from somebody may have links to files of ours."""
    ours = tmp_path / "ours"
    ours.write_text("precious", "utf-8")
    store = Store.open(tmp_path / ".prunebench")
    for name, write in (
        ("failures/a.json", lambda: store.write_failure("a", {"reason": "no luck", "time": 1.0})),
        ("unsent/a.json", lambda: unsent._write(store.root / "unsent" / "a.json", "{}")),
    ):
        path = store.root / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(ours)
        write()
        assert ours.read_text("utf-8") == "precious"
        assert not path.is_symlink()
    assert os.path.lexists(ours)
