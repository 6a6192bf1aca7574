"""A board is not made again that stands as it would be made; nothing that a note says is believed."""

import json

import pandas as pd
import pytest

from prunebench.leaderboard import files, rows
from prunebench.leaderboard.boards import cache as standing
from prunebench.records.files import write_file


@pytest.fixture(scope="module")
def board(seeds):
    """The files and rows of a board."""
    results = [*seeds(0.9, 0.91, control=True, method="dense"), *seeds(0.8, 0.81), *seeds(0.7, method="other")]
    return files(results), rows(results)


@pytest.fixture
def noted(board, tmp_path):
    """The folder of a board, and the note of it."""
    contents, frame = board
    folder, note = tmp_path / "board", tmp_path / "notes" / "one.json"
    folder.mkdir()
    written = [write_file(folder / name, content) for name, content in contents.items()]
    standing.note_down(note, "source", folder, written, frame)
    return folder, note


def test_the_rows_of_a_board_that_stands_are_those_that_were_written(noted, board):
    folder, note = noted
    found = standing.standing(note, "source", folder)
    pd.testing.assert_frame_equal(found, board[1])


def test_a_board_made_from_something_else_does_not_stand(noted):
    folder, note = noted
    assert standing.standing(note, "another source", folder) is None


def test_a_board_made_by_other_code_does_not_stand(noted, monkeypatch):
    folder, note = noted
    monkeypatch.setattr(standing, "_code", lambda: "changed")
    assert standing.standing(note, "source", folder) is None


def test_no_file_of_a_board_may_be_changed_or_missing(noted, board):
    folder, note = noted
    assert len(board[0]) > 6
    for name, content in board[0].items():
        path = folder / name
        path.write_bytes(content + b" ")
        assert standing.standing(note, "source", folder) is None, name
        path.unlink()
        assert standing.standing(note, "source", folder) is None, name
        path.mkdir()
        assert standing.standing(note, "source", folder) is None, name
        path.rmdir()
        path.write_bytes(content)
    assert standing.standing(note, "source", folder) is not None


def test_overlaps_that_were_put_beside_a_board_are_seen(noted, board):
    folder, note = noted
    assert "overlaps.csv" not in board[0]
    (folder / "overlaps.csv").write_text("suite\n", "utf-8")
    assert standing.standing(note, "source", folder) is None


def test_a_note_that_names_fewer_files_is_not_believed(noted):
    folder, note = noted
    said = json.loads(note.read_text("utf-8"))
    said["files"].remove("README.md")
    note.write_text(json.dumps(said), "utf-8")
    assert standing.standing(note, "source", folder) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"seal": 1, "files": 2}',
        b'{"seal": "x", "files": [3]}',
        b"[" * 10**5,
    ],
)
def test_whatever_stands_in_a_note_the_board_is_made_again(noted, content):
    folder, note = noted
    note.write_bytes(content)
    assert standing.standing(note, "source", folder) is None


def test_a_note_that_is_not_there_or_cannot_be_written_is_no_trouble(noted, board, tmp_path):
    folder, _ = noted
    assert standing.standing(tmp_path / "none.json", "source", folder) is None
    (tmp_path / "file").write_text("no folder", "utf-8")
    standing.note_down(tmp_path / "file" / "one.json", "source", folder, [], board[1])


def test_rows_that_the_folder_cannot_give_back_are_not_noted(noted, board, tmp_path):
    folder, frame = noted[0], board[1].copy()
    frame.loc[0, "metric_mean"] = float("inf")
    note = tmp_path / "infinite.json"
    standing.note_down(note, "source", folder, [], frame)
    assert not note.exists()


def test_the_code_is_that_of_every_file_of_the_package_and_of_what_is_installed(tmp_path, monkeypatch):
    def code():
        standing._code.cache_clear()
        return standing._code()

    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "page.css").write_text("a", "utf-8")
    monkeypatch.setattr(standing, "_PACKAGE", package)
    try:
        found = [code()]
        (package / "inner" / "page.css").write_text("b", "utf-8")
        found.append(code())
        monkeypatch.setattr(standing, "installed", lambda: "another version")
        found.append(code())
        (package / "__pycache__").mkdir()
        (package / "__pycache__" / "one.pyc.140234").write_text("being compiled", "utf-8")
        assert code() == found[-1]
        assert len(set(found)) == 3
    finally:
        standing._code.cache_clear()
