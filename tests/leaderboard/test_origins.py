"""Rows of what was made elsewhere are marked in every table and plot."""

import json

import pytest

from prunebench.leaderboard import as_html, markdown, records, sections, select, table, text
from prunebench.leaderboard.boards.published import dump, parse
from prunebench.leaderboard.plots.gallery import every_plot
from prunebench.leaderboard.tables.latex import as_latex

SOURCE = "https://example.org/masks at 1a2b3c"


@pytest.fixture
def results(result, seeds):
    provenance = result().provenance | {"method.imported": SOURCE}
    dense = seeds(0.95, 0.96, 0.94, method="dense", control=True)
    mine = seeds(0.85, 0.87, 0.86, method="theirs", provenance=provenance)
    return [*dense, *seeds(0.9, 0.91, 0.89, method="ours"), *mine]


@pytest.fixture
def board(results):
    selection = select(results)
    return table(selection), selection


def test_an_imported_row_is_ranked_and_says_its_source(board):
    rows = {row["method"]: row for row in records(board[0])}
    assert {name: row["made_elsewhere"] for name, row in rows.items()} == {
        "theirs": SOURCE,
        "ours": None,
        "dense": None,
    }
    assert (rows["ours"]["against_best"], rows["theirs"]["against_best"]) == ("best", "worse")


def test_a_board_without_imported_rows_has_no_column_for_them(seeds):
    assert "made_elsewhere" not in table(select(seeds(0.9, 0.8))).columns


@pytest.mark.parametrize("form", [markdown, lambda frame, _: text(frame), lambda frame, _: as_latex(frame), as_html])
def test_every_form_marks_the_method_and_says_the_source(board, form):
    shown = " ".join(form(*board).split())
    assert "theirs (imported)" in shown
    assert "Imported masks, made elsewhere at a cost that is not part of the training cost" in shown
    assert "example.org/masks" in shown
    assert "ours (imported)" not in shown


def test_plots_mark_it_too(board):
    methods = {
        one["method"] for plot in every_plot(*board) for one in plot.specification["usermeta"].get("methods", ())
    }
    assert methods == {"ours", "theirs (imported)"}


def test_identical_methods_are_marked_one_by_one(result, seeds):
    provenance = result().provenance | {"method.imported": SOURCE}
    same = {"metrics": {"loss": 1.0}}
    one = seeds(0.9, 0.8, 0.7, method="b", provenance=provenance, **same)
    [section] = sections(table(select([*one, *seeds(0.9, 0.8, 0.7, method="a", metrics={"loss": 1.0})])))
    assert list(section.methods) == ["a, b (imported)"]
    assert section.names == {"a, b (imported)": ("a", "b")}


def test_a_published_board_keeps_the_mark(board, results):
    again, _ = parse(dump(results))
    assert json.dumps(records(table(select(again)))) == json.dumps(records(board[0]))
