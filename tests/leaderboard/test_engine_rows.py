"""Engines on a board: their rows are compared, and the page says which engine trained what."""

from prunebench.leaderboard.rows import records, rows
from prunebench.leaderboard.selection import select
from prunebench.leaderboard.tables.markdown import markdown

SPARSE = {"engine": "sparse", "key": "k", "data": "fingerprint-1", "machine": "one machine"}


def found_in(results):
    return records(rows(results))


def test_a_board_of_dense_trainings_has_no_column_for_engines_or_what_was_not_measured(result):
    (row,) = found_in([result()])
    assert not {"engine", "processor_seconds"} & row.keys()


def test_rows_of_two_engines_are_in_one_table_and_say_which(result):
    results = [
        result(method="one", metrics={"processor_seconds": 8.0}),
        result(method="two", provenance=SPARSE, metrics={"processor_seconds": 2.0}),
        result(method="two", seed=1, provenance=SPARSE, metrics={"processor_seconds": 3.0}),
    ]
    found = {row["method"]: (row["engine"], row["processor_seconds"], row["n"]) for row in found_in(results)}
    assert found == {"one": ("", 8.0, 1), "two": ("sparse", 2.5, 2)}


def test_the_page_says_how_engines_compare_only_where_there_are_several(result):
    def page(*results):
        return markdown(rows(results), select(results))

    dense, sparse = result(), result(method="other", provenance=SPARSE)
    assert "sparse engine" not in page(dense)
    assert "Rows of the sparse engine were trained on their kept weights only" in page(dense, sparse)
