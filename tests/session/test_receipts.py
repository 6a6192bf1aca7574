"""A finished run is recognized without doing it again, and only while nothing that it depends on has changed."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from prunebench import session
from prunebench.api.files import File
from prunebench.leaderboard import text as text_of
from prunebench.session import receipts
from prunebench.session.finished import _files_in
from prunebench.store.entries import Store
from tests import runs

SUITE = runs.SUITE.replace("[0.5, 0.7]", "[0.7]").replace("seeds: 2", "seeds: 1")
PLUGIN = '''
import receipt_helper
import prunebench


class Never(prunebench.Method):
    """A method that the suite does not name."""

    name = "never"

    def scores(self, scoring):
        return receipt_helper.scores(scoring)


@prunebench.hookimpl
def register_methods():
    return [Never]
'''
HELPER = "def scores(scoring):\n    return {name: weight.abs() for name, weight in scoring.weights.items()}\n"


class Place:
    """A folder with a finished run, and the command that made it."""

    def __init__(self, folder):
        self.folder, self.store, self.board = folder, Store(folder / "store"), folder / "board"
        self.arguments = ["run", "tiny.yaml", "--plugin", "mine.py", "--store", "store", "--output", "board"]

    def run(self):
        """Run the suite in this process; writes a receipt, if the run finds that there is nothing left to do."""
        request, left = receipts.Request.of(self.arguments), []
        loaded = session.load_suite("tiny.yaml", plugin_files=["mine.py"])
        options = session.RunOptions(store=Path("store"), output=Path("board"), workers=2)
        outcome = session.run_suite(loaded, options, on_finished=left.append)
        if left:
            receipts.write(request, self.store, left[0], text_of(outcome.frame, width=80), 80)
        return outcome

    def find(self, *arguments, width=80):
        return receipts.find(receipts.Request.of([*self.arguments, *arguments]), Path("store"), width)

    def files(self, pattern):
        found = sorted(path for path in self.folder.glob(pattern) if path.is_file())
        assert found
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The place of a finished run, and a copy of it."""
    folder = tmp_path_factory.mktemp("receipts").resolve() / "place"
    (folder / "installed" / "other-1.0.dist-info").mkdir(parents=True)
    (folder / "installed" / "other-1.0.dist-info" / "entry_points.txt").write_text("[other]\n", "utf-8")
    runs.write_suite(folder, SUITE)
    (folder / "mine.py").write_text(PLUGIN, "utf-8")
    (folder / "installed" / "receipt_helper.py").write_text(HELPER, "utf-8")
    core = folder / "core"
    core.mkdir()
    (core / "loop.py").write_text("step = 1\n", "utf-8")
    with pytest.MonkeyPatch.context() as patched:
        _enter(patched, folder)
        assert Place(folder).run().ok
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


def _enter(patched, folder):
    patched.chdir(folder)
    patched.syspath_prepend(folder / "installed")
    patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    patched.setattr(receipts, "_CORE", folder / "core")
    patched.setattr(receipts, "_PASSING", {*receipts._PASSING, "PYTEST_CURRENT_TEST"})
    patched.setattr(receipts, "MARGIN", -(10**12))  # all of this was just written


@pytest.fixture
def place(made, monkeypatch):
    """A finished run whose receipt stands; whatever is done to its folder is undone."""
    _enter(monkeypatch, made)
    found = Place(made)
    assert found.run().counts.keys() == {"cached"}
    assert found.find() is not None
    yield found
    shutil.rmtree(made)
    shutil.copytree(made.with_name("copy"), made)


def touched(path):
    """Other bytes, of the same size and time."""
    content, before = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_receipt_has_what_the_run_prints(place):
    receipt, outcome = place.find(), place.run()
    assert receipt.texts["80"] == text_of(outcome.frame, width=80)
    assert (receipt.finished.trials, receipt.finished.folder) == (len(outcome.results), "board")
    loaded = session.load_suite("tiny.yaml")
    plan = session.plan_suite(loaded, session.prepared_already(loaded, None, Path("store")))
    assert receipt.finished.stages == len(plan.nodes)


@pytest.mark.parametrize("pattern", ["tiny.yaml", "mine.py", "installed/receipt_helper.py", "core/loop.py"])
def test_code_and_suite_are_the_same_bytes(place, pattern):
    (path,) = place.files(pattern)
    touched(path)
    assert place.find() is None


@pytest.mark.parametrize("kind", ["record.json", "weights.safetensors", "masks.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("change", [touched, Path.unlink])
def test_states_are_whole(place, kind, change):
    receipt = place.find()
    ends = [path for path in place.files(f"store/states/*/*/{kind}") if path.parent.name in receipt.finished.keys]
    change(ends[-1])
    assert place.find() is None


def test_a_state_that_is_gone_is_computed_again_by_the_run(place):
    key = place.find().finished.keys[0]
    shutil.rmtree(place.store.folder(key))
    assert place.find() is None
    assert place.run().counts["done"] == 1
    assert place.store.has(key)


@pytest.mark.parametrize("pattern", ["store/data/*.json", "store/data/*/test_labels.npy"])
@pytest.mark.parametrize("change", [touched, Path.unlink])
def test_data_is_what_was_verified(place, pattern, change):
    change(place.files(pattern)[0])
    assert place.find() is None


@pytest.mark.parametrize("change", [touched, Path.unlink])
@pytest.mark.parametrize("name", ["README.md", "rows.json", "index.html"])
def test_the_board_is_what_was_written(place, change, name):
    change(place.board / name)
    assert place.find() is None


def test_a_board_that_is_gone_is_written_again_by_the_run(place):
    shutil.rmtree(place.board)
    assert place.find() is None
    place.run()
    assert (place.board / "README.md").exists()
    assert place.find() is not None


@pytest.mark.parametrize("statement", ["DELETE FROM runs WHERE rowid = 1", "UPDATE params SET value = 'x'"])
def test_mlflow_has_the_results(place, statement):
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(statement)
    assert place.find() is None


def test_an_mlflow_without_database_or_artifacts_is_filled_again_by_the_run(place):
    place.files("mlruns/**/*")[0].unlink()
    assert place.find() is None
    (place.folder / "mlflow.db").unlink()
    assert place.find() is None
    assert place.run().ok
    assert place.find() is not None


def test_another_command_folder_width_or_environment_has_no_receipt(place, monkeypatch):
    assert place.find("--workers", "2") is None
    assert place.find("--set", "seeds=2") is None
    assert place.find(width=81) is None
    monkeypatch.setenv("WINDOWID", "7")
    assert place.find() is not None
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert place.find() is None
    monkeypatch.undo()
    assert place.find() is None


def test_a_file_that_an_option_names_counts_by_its_content(place, tmp_path):
    ticket = tmp_path / "ticket"
    ticket.write_text("one", "utf-8")
    option = f"tasks.method.ticket={ticket}"
    before = receipts.Request.of(["run", "--set", option])
    assert before == receipts.Request(before.name, before.circumstances, frozenset([str(ticket)]), before.begun)
    touched(ticket)
    assert receipts.Request.of(["run", "--set", option]).circumstances != before.circumstances


def test_files_that_parameters_name_are_found_at_any_depth(tmp_path):
    @dataclass(frozen=True)
    class Ticketed:
        ticket: File
        others: dict

    files = [tmp_path / name for name in "abc"]
    for path in files:
        path.write_text(path.name, "utf-8")
    a, b, c = (File.at(str(path)) for path in files)
    assert list(_files_in([Ticketed(a, {"more": (b, [c])}), Ticketed, "text", 7])) == [a, b, c]


def test_what_is_installed_counts_by_name_version_and_plugins(place):
    info = place.folder / "installed" / "other-1.0.dist-info"
    (info / "entry_points.txt").write_text("[prunebench]\nother = other\n", "utf-8")
    assert place.find() is None
    place.run()
    assert place.find() is not None
    info.rename(info.with_name("other-1.1.dist-info"))
    assert place.find() is None
    place.run()
    (place.folder / "installed" / "shadow.py").write_text("", "utf-8")
    assert place.find() is None


@pytest.mark.parametrize("name", ["running/a.json", "checkpoints/a", "states/.x.gone"])
def test_what_another_run_has_left_is_tidied_up_by_a_run(place, name):
    (place.folder / "store" / name).write_text("", "utf-8")
    assert place.find() is None


def test_results_that_wait_in_the_outbox_are_sent_by_a_run(place):
    (place.folder / "store" / "unsent" / place.find().finished.note).write_text("{}", "utf-8")
    assert place.find() is None


@pytest.mark.parametrize("change", [touched, Path.unlink, lambda path: path.write_bytes(b"[]")])
def test_a_damaged_receipt_is_none(place, change):
    (path,) = place.files("store/receipts/*.json")
    change(path)
    assert place.find() is None


@pytest.mark.parametrize("field", ["finished", "texts", "files", "keys", "board", "data"])
@pytest.mark.parametrize("value", [None, 7, [7], {"a": 7}])
def test_a_receipt_of_other_types_is_none(place, field, value):
    (path,) = place.files("store/receipts/*.json")
    plain = json.loads(path.read_text("utf-8"))["receipt"]
    (plain if field in plain else plain["finished"])[field] = value
    path.write_text(json.dumps({"receipt": plain, "checksum": receipts._hash(plain)}), "utf-8")
    assert place.find() is None
    place.run()
    assert place.find() is not None


def test_widths_of_terminals_are_remembered_beside_each_other(place):
    request, receipt = receipts.Request.of(place.arguments), place.find()
    left = []
    loaded = session.load_suite("tiny.yaml", plugin_files=["mine.py"])
    options = session.RunOptions(store=Path("store"), output=Path("board"))
    session.run_suite(loaded, options, on_finished=left.append)
    receipts.write(request, place.store, left[0], "wide", 120)
    assert place.find().texts == {**receipt.texts, "120": "wide"}
    touched(place.folder / "installed" / "receipt_helper.py")
    receipts.write(request, place.store, left[0], "other", 120)
    assert place.find(width=120).texts == {"120": "other"}  # the first was of other code


def test_receipts_of_the_last_commands_are_kept(place, monkeypatch):
    monkeypatch.setattr(receipts, "KEPT", 3)
    for number in range(4):
        path = place.folder / "store" / "receipts" / f"{number}.json"
        path.write_text("{}", "utf-8")
        os.utime(path, (number, number))
    place.run()
    assert [path.name for path in place.files("store/receipts/?.json")] == ["2.json", "3.json"]
    assert place.find() is not None


def test_code_that_changed_while_the_run_was_on_leaves_no_receipt(place, monkeypatch):
    place.files("store/receipts/*.json")[0].unlink()
    monkeypatch.setattr(receipts, "MARGIN", 0)
    request, left = receipts.Request.of(place.arguments), []
    loaded = session.load_suite("tiny.yaml", plugin_files=["mine.py"])
    options = session.RunOptions(store=Path("store"), output=Path("board"))
    session.run_suite(loaded, options, on_finished=left.append)
    time.sleep(0.02)
    touched(place.folder / "core" / "loop.py")
    receipts.write(request, place.store, left[0], "text", 80)
    assert place.find() is None


def test_a_state_that_changes_after_it_was_read_leaves_no_receipt(place, monkeypatch):
    written = []

    def damaged_meanwhile(left):
        touched(place.store.folder(min(left.keys)) / "weights.safetensors")
        written.append(receipts.write(receipts.Request.of(place.arguments), place.store, left, "text", 80))

    loaded = session.load_suite("tiny.yaml", plugin_files=["mine.py"])
    options = session.RunOptions(store=Path("store"), output=Path("board"))
    session.run_suite(loaded, options, on_finished=damaged_meanwhile)
    assert written
    assert place.find() is None


@pytest.mark.parametrize("change", ["board", "mlflow", "data"])
def test_what_changes_before_the_end_of_the_run_leaves_nothing_finished(place, monkeypatch, change):
    from prunebench.session import running

    finished = running.finished

    def changed_before(*arguments):
        if change == "board":
            touched(place.board / "README.md")
        elif change == "data":
            touched(place.files("store/data/*/test_labels.npy")[0])
        else:
            with sqlite3.connect(place.folder / "mlflow.db") as database:
                database.execute("UPDATE params SET value = 'x'")
        return finished(*arguments)

    monkeypatch.setattr(running, "finished", changed_before)
    left = []
    loaded = session.load_suite("tiny.yaml", plugin_files=["mine.py"])
    options = session.RunOptions(store=Path("store"), output=Path("board"))
    session.run_suite(loaded, options, on_finished=left.append)
    assert left == []


def test_a_data_set_whose_own_signature_decides_has_no_receipt(place, monkeypatch):
    from prunebench_plugins.digits import Digits

    monkeypatch.setattr(Digits, "signature", lambda self, root: "")
    place.files("store/receipts/*.json")[0].unlink()
    place.run()
    assert place.find() is None


SCRIPT = Path(sys.executable).with_name("prunebench")


def test_the_command_line_answers_from_the_receipt_without_torch_pandas_and_mlflow(tmp_path):
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir(), elsewhere.mkdir()
    suite = runs.write_suite(place, SUITE)
    command = [SCRIPT, "run", suite, "--store", place / "store", "--output", place / "board"]
    environment = runs.environment(PYTHONPROFILEIMPORTTIME="1", MLFLOW_TRACKING_URI=f"sqlite:///{place / 'mlflow.db'}")

    def called():
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        return done, done.stdout.splitlines(), said

    first, printed, _ = called()
    for _ in range(5):
        again, printed_again, said = called()
        if "| torch" not in again.stderr.replace("  ", ""):
            break  # uv, which installs by hard links, may touch the files of this environment from another one
    assert (first.returncode, again.returncode) == (0, 0)
    assert "| torch" in first.stderr.replace("  ", "")
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "pandas", "mlflow", "numpy", "pydantic", "sqlalchemy"})
    table = len(printed) - 2
    assert printed_again[:table] == printed[:table]
    assert printed_again[table].startswith("5 trials: 0 done, 5 cached, 0 failed, 0 skipped; ")
    assert printed_again[-1] == printed[-1] == f"leaderboard: {place / 'board' / 'README.md'}"
    assert said[0].startswith("5 trials in ")


# --- shipped suites by name


def test_the_file_of_a_shipped_suite_is_among_the_files_of_a_command_that_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = receipts.Request.of(["run", "digits"])
    assert [Path(file).name for file in request.files] == ["digits.yaml"]
    changed = tmp_path / "installed.yaml"
    changed.write_text("name: digits\n", "utf-8")
    monkeypatch.setattr(receipts, "shipped", lambda: {"digits": changed})
    other = receipts.Request.of(["run", "digits"])
    assert (other.name, other.circumstances != request.circumstances) == (request.name, True)


def test_where_a_name_and_a_file_could_be_meant_there_is_no_receipt(place, monkeypatch):
    assert place.run().ok
    assert place.find() is not None
    monkeypatch.setattr(receipts, "ambiguity", lambda word: "said" if word == "tiny.yaml" else "")
    assert place.find() is None
    for path in place.files("store/receipts/*.json"):
        path.unlink()
    assert place.run().ok
    assert list(place.folder.glob("store/receipts/*.json")) == []


def test_caches_that_come_and_go_in_a_folder_of_the_path_are_no_change(place):
    for name in (".hypothesis", ".pytest_cache", "__pycache__"):
        (place.folder / "installed" / name).mkdir(exist_ok=True)
    assert place.find() is not None
    (place.folder / "installed" / "package").mkdir()
    assert place.find() is None
