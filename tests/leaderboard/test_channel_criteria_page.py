"""Whether criteria beat random channels, asked of results made by hand."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def page(script, result, monkeypatch, tmp_path):
    """The page of a board with the accuracies of three seeds of each method, at a reduction of 8."""
    channels = script("channels")

    def make(**methods):
        results = [
            result(method=method.replace("_", "-"), sparsity=0.875, seed=seed, accuracy=accuracy)
            for method, accuracies in methods.items()
            for seed, accuracy in enumerate(accuracies)
        ]
        monkeypatch.setattr(channels, "read_board", lambda folder: SimpleNamespace(results=results))
        return channels.page_of(tmp_path)

    return make


def test_a_criterion_is_better_only_if_chance_is_excluded(page):
    text = page(
        random_channels=(0.60, 0.61, 0.62),
        good=(0.80, 0.81, 0.82),
        bad=(0.40, 0.41, 0.42),
        wide=(0.50, 0.65, 0.80),
        magnitude=(0.9, 0.9, 0.9),
    )
    assert (
        "At 8 times, 1 of 3 criteria are better than random channels, 1 are worse, and 1 are undecided; by the means "
        "random channels are number 3 of 4."
    ) in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    # Equal deviations of 0.01: the difference 0.20 ± t(4, 97.5 %) * 0.01 * √(2/3) = 2.7764 * 0.0081650.
    assert rows[0] == "| good | 81.0 ± 1.0 | +20.0 [+17.7, +22.3] points | **better** |"
    assert rows[1].startswith("| wide | 65.0 ± 15.0 | +4.0 [")
    assert rows[1].endswith("| undecided |")
    assert rows[2] == "| bad | 41.0 ± 1.0 | -20.0 [-22.3, -17.7] points | **worse** |"
    assert rows[3] == "| random-channels | 61.0 ± 1.0 | | |"
    assert rows[4] == "| magnitude, single weights at 87.5 % sparsity | 90.0 ± 0.0 | | |"


def test_many_criteria_make_a_difference_harder_to_show(page):
    """t = 0.035 / 0.0081650 = 4.29 has p = 0.013: enough alone, and not beside nine others, where it takes 0.005."""
    chance, criterion = (0.600, 0.610, 0.620), (0.635, 0.645, 0.655)
    alone = page(random_channels=chance, criterion=criterion)
    assert "1 of 1 criteria are better" in alone
    others = {f"other{number}": (0.601, 0.612, 0.618) for number in range(9)}
    among = page(random_channels=chance, criterion=criterion, **others)
    assert "0 of 10 criteria are better" in among
