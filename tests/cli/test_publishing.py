"""Boards on the command line: publish, fill, check, compare, merge."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from prunebench.leaderboard import write
from prunebench.tracking import Tracker
from tests.leaderboard.conftest import make

PAGE = "# Mine\n\n<!-- prunebench:begin board/pivot -->\n<!-- prunebench:end board/pivot -->\n"


def seeds(*accuracies, **changes):
    return [make(seed=seed, accuracy=accuracy, **changes) for seed, accuracy in enumerate(accuracies)]


RESULTS = [
    *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
    *seeds(0.920, 0.931, 0.945, method="good"),
    *seeds(0.810, 0.802, 0.821, method="poor"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def published(here):
    """Publishes results in a folder of this name, and gives it."""

    def publish(name, results):
        write(results, here / name)
        return here / name

    return publish


@pytest.fixture
def board(published):
    return published("board", RESULTS)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_published_folder_is_made_anew_from_its_trials(board, prunebench):
    before = contents(board)
    for name in before.keys() - {"trials.jsonl"}:
        (board / name).unlink()
    result = prunebench("leaderboard", "./board", "--output", "board")
    assert result.exit_code == 0, result.output
    assert contents(board) == before


def test_publishing_twice_touches_no_file(board, prunebench):
    before = {path.name: path.stat().st_mtime_ns for path in board.iterdir()}
    prunebench("leaderboard", "board", "--output", "board")
    assert {path.name: path.stat().st_mtime_ns for path in board.iterdir()} == before


def test_check_names_what_is_stale_and_changes_nothing(board, prunebench, here):
    (here / "page.md").write_text(PAGE, "utf-8")
    prunebench("leaderboard", "board", "--into", "page.md")
    fresh = prunebench("leaderboard", "board", "--check", "--into", "page.md")
    assert (fresh.exit_code, fresh.output) == (0, "up to date\n")
    page = (board / "README.md").read_text("utf-8")
    (board / "README.md").write_text(page.replace("93.2", "99.9"), "utf-8")
    (board / "digits.svg").unlink()
    (here / "page.md").write_text((here / "page.md").read_text("utf-8").replace("93.2", "99.9"), "utf-8")
    before = contents(board) | contents_of(here / "page.md")
    stale = prunebench("leaderboard", "board", "--check", "--into", "page.md")
    assert stale.exit_code == 1
    assert stale.output.splitlines() == ["stale: board/digits.svg", "stale: board/README.md", "stale: page.md"]
    assert contents(board) | contents_of(here / "page.md") == before


def contents_of(path):
    return {path.name: path.read_bytes()}


def test_plots_of_another_version_of_the_library_are_not_stale(board, prunebench):
    for path in board.glob("*.svg"):
        path.write_bytes(re.sub(rb"vl-convert [\w.]+", b"vl-convert 1.2.3", path.read_bytes()) + b"<!-- -->")
    assert prunebench("leaderboard", "board", "--check").exit_code == 0


def test_places_in_pages_are_filled_and_nothing_is_printed(board, prunebench, here):
    (here / "page.md").write_text(PAGE, "utf-8")
    result = prunebench("leaderboard", "board", "--into", "page.md")
    assert (result.exit_code, result.stdout) == (0, "")
    text = (here / "page.md").read_text("utf-8")
    assert "**93.2 ± 1.3**" in text
    prunebench("leaderboard", "board", "--into", "page.md")
    assert (here / "page.md").read_text("utf-8") == text


def test_no_page_is_written_when_one_of_them_cannot_be_filled(board, prunebench, here):
    (here / "good.md").write_text(PAGE, "utf-8")
    (here / "bad.md").write_text("# Nothing\n", "utf-8")
    result = prunebench("leaderboard", "board", "--into", "good.md", "--into", "bad.md")
    assert result.exit_code == 2
    assert "bad.md has no place for the board 'board'" in result.output
    assert (here / "good.md").read_text("utf-8") == PAGE


@pytest.mark.parametrize("option", [["--set", "seeds=1"], ["--only", "method=imp"], ["--plugin", "x.py"]])
def test_options_of_a_yaml_are_an_error_without_one(board, prunebench, option):
    for arguments in (["leaderboard", "board"], ["leaderboard", "of-mine"], ["leaderboard"]):
        result = prunebench(*arguments, *option)
        assert result.exit_code == 2
        assert f"{option[0]} can change only the YAML file of a suite" in result.output


def test_check_without_anything_published_is_an_error(here, prunebench):
    with Tracked(RESULTS):
        result = prunebench("leaderboard", "s", "--check")
    assert result.exit_code == 2
    assert "name a folder" in result.output


class Tracked:
    """Results in the mlflow.db of this folder, or of another."""

    def __init__(self, results, folder="."):
        tracker = Tracker(f"sqlite:///{folder}/mlflow.db")
        for result in results:
            tracker.publish(result)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json", "latex", "html"])
def test_every_format_shows_the_accuracy(board, prunebench, form):
    result = prunebench("leaderboard", "board", "--format", form)
    assert result.exit_code == 0, result.output
    assert re.search(r"93\.2|0\.932", result.stdout)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "is not a published board"), ("{}", "no list of trials"), ("\0" * 9, "not JSON")],
)
def test_a_broken_folder_is_one_clear_error(here, prunebench, content, complaint):
    (here / "broken").mkdir()
    if content is not None:
        (here / "broken" / "trials.jsonl").write_text(content, "utf-8")
    for command in (["leaderboard", "./broken"], ["compare", "./broken", "./broken"]):
        result = prunebench(*command)
        assert result.exit_code == 2
        assert complaint in result.output
        assert "Traceback" not in result.output


def test_a_suite_without_results_is_an_error_that_names_those_there_are(here, prunebench):
    Tracked([make()])
    result = prunebench("leaderboard", "nonsense")
    assert result.exit_code == 2
    assert "has no results of suite 'nonsense'; it has those of s" in result.output


@pytest.mark.slow
def test_two_stores_a_suite_and_a_board_are_compared(published, prunebench, here):
    better = [
        replace(one, metrics=one.metrics | {"accuracy": one.metrics["accuracy"] + 0.1 + one.seed / 1000})
        if one.method == "poor"
        else one
        for one in RESULTS
    ]
    published("one", RESULTS)
    (here / "two").mkdir()
    Tracked(better, "two")
    Tracked(better)
    for after in ("two", "two/mlflow.db", "sqlite:///two/mlflow.db", "sqlite:///two/mlflow.db#s", "s"):
        result = prunebench("compare", "one", after)
        assert result.exit_code == 0, result.output
        assert "▲ 1 better, = 2 same" in " ".join(result.output.split())
    assert prunebench("compare", "one", "s", "--fail-on", "worse").exit_code == 0
    worse = prunebench("compare", "s", "one", "--fail-on", "worse", "--format", "json")
    assert worse.exit_code == 1
    assert json.loads(worse.stdout)["counts"]["worse"] == 1
    assert "| ▼ worse" in prunebench("compare", "s", "one", "--format", "markdown").stdout


def test_boards_are_merged_without_doubles(published, prunebench, here):
    more = [make(method="good", seed=seed, accuracy=0.9) for seed in (2, 3, 4)]
    published("one", RESULTS)
    published("two", more)
    result = prunebench("merge", "one", "two", "--output", "both")
    assert result.exit_code == 0, result.output
    assert result.stdout == "11 trials, 1 doubles, 1 conflicts: both/README.md\n"
    assert "digits/good/0.9/seed 2: accuracy is 0.9" in result.stderr
    assert prunebench("leaderboard", "both", "--check").exit_code == 0
    rows = json.loads((here / "both" / "rows.json").read_text("utf-8"))
    assert [row["n"] for row in rows if row["method"] == "good"] == [5]
    refused = prunebench("merge", "one", "two", "--output", "never", "--fail-on-conflict")
    assert refused.exit_code == 1
    assert not Path("never").exists()


def test_merging_what_is_merged_changes_nothing(published, prunebench):
    published("one", RESULTS)
    prunebench("merge", "one", "one", "--output", "again")
    assert contents(Path("again")) == contents(Path("one"))


def test_a_board_that_cannot_be_written_is_an_error_before_anything_is_read(here, prunebench, monkeypatch):
    (here / "file").write_text("x", "utf-8")
    result = prunebench("leaderboard", "no such suite", "--output", "file/board")
    assert (result.exit_code, "no such suite" in result.output) == (2, False)
    words = " ".join(result.output.split())
    assert "Invalid value for '--output': cannot write to file/board: Not a directory" in words


def test_a_check_needs_no_writable_folder(board, prunebench, monkeypatch):
    from prunebench.cli.shared import options

    monkeypatch.setattr(options, "unwritable", lambda folder: "Read-only file system")
    assert prunebench("leaderboard", "./board", "--check").exit_code == 0
    assert prunebench("leaderboard", "./board", "--output", "board", "--check").exit_code == 0
    assert "Read-only file system" in prunebench("leaderboard", "./board", "--output", "board").output
