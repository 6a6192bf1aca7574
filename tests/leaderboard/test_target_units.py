"""Rows whose target is a reduction stand beside those of a sparsity, and say what the target is a share of."""

from prunebench.leaderboard.rows import records, rows, unit_of


def test_only_other_units_than_weights_are_said():
    assert unit_of({"unit": "macs"}) == "macs"
    assert unit_of({}) is None
    assert unit_of({"unit": "weights"}) is None
    assert unit_of({"unit": "<b>macs</b>"}) is None


def test_a_row_has_its_unit_and_the_parameters_that_are_left(result):
    cut = result(method="cut", params={"unit": "macs"}, metrics={"parameters_left": 400.0, "sparsity": 0.7})
    (row, other) = sorted(records(rows([cut, result()])), key=lambda row: row["method"])
    assert (row["target_unit"], row["parameters_left"]) == ("macs", 400.0)
    assert (other["target_unit"], other["parameters_left"]) == (None, None)


def test_tables_without_such_rows_have_no_such_columns(result):
    assert not {"target_unit", "parameters_left"} & set(rows([result()]).columns)
