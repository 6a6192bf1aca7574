"""Tables: those of scikit-learn, and CSV files."""

import numpy as np
import pytest
from sklearn import datasets

from prunebench.api.errors import DataError
from prunebench.data.prepared import prepare

TABLE = """id,height,width,kind
1,1.5,2,round
2,0.5,3,square
3,2.5,4,round
4,3.5,5,square
"""


@pytest.fixture
def table(built_in, tmp_path):
    """A data set of a CSV file with some content."""

    def made(content=TABLE, **parameters):
        (tmp_path / "a.csv").write_text(content, "utf-8")
        sizes = {"features": 2, "classes": 2, "train": 3, "test": 1, "leave_out": ("id",), "tests": "last"}
        return built_in("dataset", "csv", **{"path": "a.csv", "target": "kind", **sizes, **parameters})

    return made


@pytest.mark.parametrize("name", ["breast-cancer", "diabetes", "iris", "wine"])
def test_the_tables_of_scikit_learn_are_divided_and_nothing_is_lost(built_in, tmp_path, name):
    dataset = built_in("dataset", "tables", table=name)
    prepare(dataset, None, tmp_path)  # raises for data that is not what its facts say
    features, targets = getattr(datasets, f"load_{name.replace('-', '_')}")(return_X_y=True)
    loaded = dataset.load(None)
    assert len(loaded.test_inputs) == len(features) // 4
    rows = np.column_stack([np.concatenate([loaded.train_inputs, loaded.test_inputs]),
                            np.concatenate([loaded.train_labels, loaded.test_labels])])  # fmt: skip
    expected = np.column_stack([features.astype(np.float32), targets])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, expected))
    assert loaded.train_labels.dtype == (np.float32 if name == "diabetes" else np.int64)


def test_a_table_of_classes_is_read_as_it_stands(table, tmp_path):
    loaded = table().load(tmp_path)
    assert loaded.train_inputs.tolist() == [[1.5, 2], [0.5, 3], [2.5, 4]]
    assert loaded.train_labels.tolist() == [0, 1, 0]
    assert (loaded.test_inputs.tolist(), loaded.test_labels.tolist()) == ([[3.5, 5]], [1])
    prepare(table(), tmp_path, tmp_path / "cache")


def test_a_target_without_classes_is_a_number(table, tmp_path):
    dataset = table(target="width", classes=0, features=1, leave_out=("id", "kind"))
    assert dataset.facts().targets == "numbers"
    assert dataset.load(tmp_path).train_labels.tolist() == [2, 3, 4]


def test_test_rows_are_drawn_the_same_each_time(table, tmp_path):
    one, again = (table(tests="drawn").load(tmp_path) for _ in range(2))
    assert one.test_inputs.tolist() == again.test_inputs.tolist()
    assert sorted(map(tuple, [*one.train_inputs, *one.test_inputs])) == [(0.5, 3), (1.5, 2), (2.5, 4), (3.5, 5)]


def test_columns_may_be_separated_by_something_else(table, tmp_path):
    assert table(TABLE.replace(",", ";"), delimiter=";").load(tmp_path).train_labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("content", "parameters", "message"),
    [
        (TABLE, {"target": "sort"}, "has no column 'sort'; its columns are id, height, width, kind"),
        (TABLE, {"leave_out": ("ID",)}, "has no column 'ID'"),
        (TABLE, {"leave_out": ()}, "the suite must say features: 3, classes: 2, train \\+ test: 4"),
        (TABLE, {"train": 9}, "the suite must say features: 2, classes: 2, train \\+ test: 4"),
        (TABLE, {"classes": 3}, "the suite must say features: 2, classes: 2, train \\+ test: 4"),
        (TABLE.replace("2.5", "tall"), {}, r"a\.csv, line 4: 'tall' in column 'height' is not a number"),
        (TABLE.replace("2.5", ""), {}, r"line 4: '' in column 'height' is not a number"),
        (TABLE.replace("2.5", "inf"), {}, r"line 4: 'inf' in column 'height' is not a number"),
        (TABLE + "5,1.0\n", {"train": 4}, "line 6: there are 2 columns, and should be 4"),
        (TABLE.replace("height", "width"), {}, "two columns have the same name"),
        ("", {}, "has no column 'kind'"),
    ],
)
def test_a_table_that_does_not_fit_is_told(table, tmp_path, content, parameters, message):
    with pytest.raises(DataError, match=message):
        table(content, **parameters).load(tmp_path)


def test_a_file_that_is_missing_or_no_text_is_told(table, tmp_path):
    dataset = table()
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        dataset.load(tmp_path)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(DataError, match="is not there"):
        dataset.load(tmp_path)
