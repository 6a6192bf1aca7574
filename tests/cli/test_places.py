"""Folders that cannot be written to: full, read-only, without inodes, or no folders. One sentence, before the work."""

import shutil
import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner

from prunebench.cli import main
from prunebench.leaderboard.boards import published
from prunebench.records.files import unwritable, write_file
from tests import runs
from tests.leaderboard.conftest import make


@pytest.fixture
def mounted(tmp_path):
    """Makes a folder that is a small file system of its own."""
    made = []

    def mount(name, options):
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("only root mounts file systems")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", folder], check=True)


def full(mounted):
    folder = mounted("full", "size=16k")
    with pytest.raises(OSError, match="No space"):
        (folder / "filling").write_bytes(bytes(2**20))
    return folder


def without_inodes(mounted):
    folder = mounted("inodes", "nr_inodes=2,size=1m")
    (folder / "last").touch()
    return folder


def read_only(mounted):
    folder = mounted("readonly", "size=1m")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    return folder


PLACES = {"full": full, "without inodes": without_inodes, "read-only": read_only}


def refused(*command):
    done = CliRunner().invoke(main, [*map(str, command)])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    said = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(said) == 1, done.stderr
    return said[0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    runs.write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    board = tmp_path / "board"
    board.mkdir()
    results = [replace(make(seed=seed), suite="s") for seed in (0, 1)]
    (board / published.FILE).write_text(published.dump(results), "utf-8")
    return tmp_path


@pytest.mark.parametrize("kind", PLACES)
def test_a_run_says_before_its_work_where_it_cannot_write(kind, here, mounted, monkeypatch):
    place = PLACES[kind](mounted)
    before = sorted(here.iterdir())
    for option, what in (("--store", "store"), ("--output", "leaderboard")):
        assert what in refused("run", "tiny.yaml", option, place / "below")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    assert "MLflow" in refused("run", "tiny.yaml")
    assert not (here / ".prunebench").exists() or not list(here.glob(".prunebench/states/*"))
    assert set(here.iterdir()) - set(before) <= {here / ".prunebench"}


@pytest.mark.parametrize("kind", PLACES)
def test_other_commands_say_it_too(kind, here, mounted):
    place = PLACES[kind](mounted)
    refused("merge", "./board", "--output", place / "both")
    refused("leaderboard", "./board", "--output", place / "again")
    assert unwritable(place)


@pytest.mark.parametrize("name", ["a file", "a file/below", "nowhere", "x" * 300])
def test_what_is_no_folder_is_said_to_be(name, here):
    (here / "a file").write_text("x", "utf-8")
    (here / "nowhere").symlink_to("gone/away")
    for command in (
        ["run", "tiny.yaml", "--output", name],
        ["run", "tiny.yaml", "--store", name],
        ["merge", "./board", "--output", name],
        ["leaderboard", "./board", "--output", name],
    ):
        said = refused(*command)
        assert name[:20] in said, said


def test_a_file_where_results_belong_is_known_before_the_work(here):
    (here / "results").write_text("mine", "utf-8")
    assert "results/tiny" in refused("run", "tiny.yaml")
    assert not list(here.glob(".prunebench/states/*/*"))


def test_a_folder_where_a_file_belongs_is_said_to_be(here):
    shutil.copytree(here / "board", here / "other")
    (here / "other" / "README.md").mkdir()
    assert "README.md" in refused("leaderboard", "./board", "--output", "other")


def test_a_disk_that_fills_up_leaves_what_was_there(mounted):
    place = mounted("small", "size=64k")
    write_file(place / "page", b"old")
    with pytest.raises(OSError, match=r"No space left on device: .*page"):
        write_file(place / "page", bytes(2**20))
    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [("page", b"old")]
    assert unwritable(place / "new" / "folder") == ""
    assert [path.name for path in place.iterdir()] == ["page"]


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a b", "q'\"q", "a&b;c", "a:b@c", "é", "-dash", "new\nline"])
def test_boards_are_written_and_read_in_folders_of_any_name(name, here):
    done = CliRunner().invoke(main, ["merge", "./board", "--output", f"./{name}/in"])
    assert done.exit_code == 0, done.output
    assert {"README.md", published.FILE} <= {path.name for path in (here / name / "in").iterdir()}
    again = CliRunner().invoke(main, ["compare", f"./{name}/in", "./board"])
    assert again.exit_code == 0, again.output
