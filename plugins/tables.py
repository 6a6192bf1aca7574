"""Tables of numbers: those that come with scikit-learn, and CSV files."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Len
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import DataError

from .image_folder import missing, signature_of


@dataclass(frozen=True)
class Shipped:
    """Sizes of a table of scikit-learn; without classes its targets are numbers."""

    rows: int
    features: int
    classes: int = 0

    @property
    def test(self) -> int:
        return self.rows // 4


SHIPPED: Mapping[str, Shipped] = {
    "breast-cancer": Shipped(569, 30, 2),
    "diabetes": Shipped(442, 10),
    "iris": Shipped(150, 4, 3),
    "wine": Shipped(178, 13, 3),
}


class Tables(prunebench.Dataset):
    """Small tables that come with scikit-learn: a quarter of the rows, drawn once for all, is for testing.

    diabetes is a regression (how far the disease has gone after a year); breast-cancer, iris and wine have classes.
    """

    name = "tables"
    version = 1
    variant = "table"
    reference = "Pedregosa et al. 2011, scikit-learn: Machine Learning in Python, JMLR 12"

    table: Annotated[Literal["breast-cancer", "diabetes", "iris", "wine"], Doc("which of them")]

    def facts(self) -> prunebench.DataFacts:
        table = SHIPPED[self.table]
        return facts_of_rows(table.features, table.classes, table.rows - table.test, table.test)

    def load(self, root: Path | None) -> prunebench.Arrays:
        from sklearn import datasets  # a second to import, needed once a machine

        features, targets = getattr(datasets, f"load_{self.table.replace('-', '_')}")(return_X_y=True)
        return drawn(features, targets, self.facts())


class CSVTable(prunebench.Dataset):
    """A table of your own: a CSV file with a header, whose columns are numbers but for those left out and the target.

    With `classes`, the values of the target column are names of classes, numbered in their order; without, they are
    numbers. The test rows are drawn once for all from the rows of the file, or are its last ones. A plan reads no data,
    so a suite says how many rows, features and classes there are; if the file has others, the error says how many.
    """

    name = "csv"
    version = 1

    path: Annotated[str, Doc("the file, below the folder of data sets")]
    target: Annotated[str, Doc("the column to predict")]
    features: Annotated[int, Ge(1), Doc("number of the other columns")]
    train: Annotated[int, Ge(1), Doc("number of training rows")]
    test: Annotated[int, Ge(1), Doc("number of test rows")]
    classes: Annotated[int, Doc("number of classes; 0 where the target is a number"), Ge(0)] = 0
    leave_out: Annotated[tuple[str, ...], Doc("columns that are not used, such as row numbers")] = ()
    tests: Annotated[Literal["drawn", "last"], Doc("which rows are for testing")] = "drawn"
    delimiter: Annotated[str, Len(1, 1), Doc("between columns")] = ","

    def facts(self) -> prunebench.DataFacts:
        return facts_of_rows(self.features, self.classes, self.train, self.test)

    def load(self, root: Path | None) -> prunebench.Arrays:
        path = (root or Path("DIR")) / self.path
        if root is None or not path.is_file():
            raise missing(self.name, [str(path)])
        header, rows = self._rows(path)
        column = header.index(self.target)
        chosen = [place for place, name in enumerate(header) if name != self.target and name not in self.leave_out]
        values = [row[column] for _, row in rows]
        names = sorted(set(values)) if self.classes else []
        self._check_sizes(path, len(chosen), len(rows), len(names))
        features = [[_number(path, line, header[place], row[place]) for place in chosen] for line, row in rows]
        targets: list[float] = [
            names.index(row[column]) if self.classes else _number(path, line, self.target, row[column])
            for line, row in rows
        ]
        arranged = drawn if self.tests == "drawn" else divided
        return arranged(np.array(features), np.array(targets), self.facts())

    def _rows(self, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
        """The names of the columns, and each row with its line in the file."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self.delimiter)
                header = [name.strip() for name in next(reader, [])]
                rows = [(reader.line_num, row) for row in reader if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read as CSV: {error}") from error
        if len(set(header)) < len(header):
            raise DataError(f"{path}: two columns have the same name: {', '.join(header)}")
        for name in (self.target, *self.leave_out):
            if name not in header:
                raise DataError(f"{path} has no column {name!r}; its columns are {', '.join(header)}")
        for line, row in rows:
            if len(row) != len(header):
                raise DataError(f"{path}, line {line}: there are {len(row)} columns, and should be {len(header)}")
        return header, rows

    def _check_sizes(self, path: Path, features: int, rows: int, classes: int) -> None:
        expected = {"features": self.features, "classes": self.classes, "train + test": self.train + self.test}
        found = {"features": features, "classes": classes, "train + test": rows}
        if found != expected:
            numbers = ", ".join(f"{key}: {number}" for key, number in found.items())
            raise DataError(f"data set {self.name!r}: for {path} the suite must say {numbers}")

    def signature(self, root: Path | None) -> str:
        return signature_of(root and root / self.path)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not isfinite(found):
        raise DataError(f"{path}, line {line}: {text[:40]!r} in column {column!r} is not a number")
    return found


def facts_of_rows(features: int, classes: int, train: int, test: int) -> prunebench.DataFacts:
    """The facts of a table whose target is one of some classes, or a number where there are none."""
    targets: Literal["classes", "numbers"] = "classes" if classes else "numbers"
    return prunebench.DataFacts((features,), classes, train, test, kind="features", targets=targets)


def drawn(features: np.ndarray, targets: np.ndarray, facts: prunebench.DataFacts) -> prunebench.Arrays:
    """The rows in an order that is drawn, the same for every seed; RandomState draws the same in all of NumPy."""
    order = np.random.RandomState(0).permutation(len(targets))
    return divided(features[order], targets[order], facts)


def divided(features: np.ndarray, targets: np.ndarray, facts: prunebench.DataFacts) -> prunebench.Arrays:
    """The first rows for training and the last ones for testing."""
    features = features.astype(np.float32)
    targets = targets.astype(np.int64 if facts.targets == "classes" else np.float32)
    train = facts.train
    return prunebench.Arrays(features[:train], targets[:train], features[train:], targets[train:])


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [CSVTable, Tables]
