"""Published pages are those that the published trials give, and the README's tables are those of the boards."""

import math
from pathlib import Path

import pandas as pd
import pytest

from prunebench.leaderboard import select, stale, table
from prunebench.leaderboard.boards.markers import fill, linked, regions
from prunebench.leaderboard.boards.published import read_board

ROOT = Path(__file__).parents[2]
BOARDS = sorted(path.parent for path in (ROOT / "leaderboard").glob("*/trials.jsonl"))
REMEDY = "run `prunebench leaderboard leaderboard/NAME --output leaderboard/NAME --into README.md`"


def test_boards_are_published():
    assert BOARDS


@pytest.mark.parametrize("folder", BOARDS, ids=lambda folder: folder.name)
def test_a_published_board_is_what_its_trials_give(folder):
    board = read_board(folder)
    assert stale(board.results, folder, board.asked) == [], REMEDY


@pytest.mark.parametrize("folder", BOARDS, ids=lambda folder: folder.name)
def test_the_trials_of_a_board_are_those_of_its_table(folder):
    listed = pd.read_csv(folder / "trials.csv").set_index("trial")
    results = {result.trial: result for result in read_board(folder).results}
    assert set(listed.index) <= set(results)
    for trial, row in listed.iterrows():
        metric = results[trial].objective[0].name
        assert results[trial].metrics.get(metric, math.nan) == pytest.approx(row[metric], nan_ok=True)


def test_the_tables_of_the_readme_are_those_of_the_published_boards():
    text = (ROOT / "README.md").read_text("utf-8")
    found = [region.name for region in regions(text.splitlines(keepends=True), "README.md")]
    assert found[:2] == ["digits/pivot", "digits/cost"]
    for name in {region.partition("/")[0] for region in found}:
        folder = ROOT / "leaderboard" / name
        board = read_board(folder)
        frame = table(select(board.results, board.asked))
        assert fill(text, "README.md", name, frame, linked(folder, ROOT / "README.md")) == text, REMEDY
