"""The scripts of `reproductions/`, and boards made by hand for them."""

import importlib
from pathlib import Path

import pytest

from tests.leaderboard.conftest import make


@pytest.fixture
def script(monkeypatch):
    """Imports a script of `reproductions/` by its name, as it is found when it is run."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "reproductions")
    return importlib.import_module


@pytest.fixture
def boards(script, tmp_path):
    """Boards in memory: boards(structured=[...results]); `_` in a name is `-`."""

    def made(**results):
        cache = {name.replace("_", "-"): tuple(some) for name, some in results.items()}
        return script("answers").Boards(tmp_path / "boards", tmp_path / "pages", cache)

    return made


@pytest.fixture
def rows():
    """Results of three seeds and more: rows({("imp", 0.9): (0.9, 0.91, 0.92)}), accuracies or dicts of metrics."""

    def made(figures, **changes):
        return [
            make(
                method=method,
                sparsity=sparsity,
                seed=seed,
                control=method == "dense",
                metrics=value if isinstance(value, dict) else {"accuracy": value},
                **changes,
            )
            for (method, sparsity), values in figures.items()
            for seed, value in enumerate(values)
        ]

    return made
