"""Whether criteria beat random channels, asked of results made by hand."""

import pytest


@pytest.fixture
def page(script, boards, rows):
    """The page of a board with the accuracies of three seeds of each method, at a reduction of 8."""

    def make(**methods):
        results = rows({(name.replace("_", "-"), 0.875): accuracies for name, accuracies in methods.items()})
        return script("channels").page(boards(structured=results))

    return make


def row_of(page):
    return page.answers[""][0].row


def test_a_criterion_is_better_only_if_chance_is_excluded(page):
    made = page(
        random_channels=(0.60, 0.61, 0.62),
        good=(0.80, 0.81, 0.82),
        bad=(0.40, 0.41, 0.42),
        wide=(0.50, 0.65, 0.80),
        magnitude=(0.9, 0.9, 0.9),
    )
    counts = "8 times: as good as 1 of 3 criteria, 1 are significantly better and 1 worse, number 3 of 4 by the means"
    assert f"{counts} | undecided" in row_of(made)
    lines = [line for line in made.details if line.startswith("| ")][1:]
    # Equal deviations of 0.01: the difference 0.20 ± t(4, 97.5 %) * 0.01 * √(2/3) = 2.7764 * 0.0081650.
    assert lines[0] == "| good | 81.0 ± 1.0 | +20.0 [+17.7, +22.3] points | **better** |"
    assert lines[1].startswith("| wide | 65.0 ± 15.0 | +4.0 [")
    assert lines[1].endswith("| undecided |")
    assert lines[2] == "| bad | 41.0 ± 1.0 | -20.0 [-22.3, -17.7] points | **worse** |"
    assert lines[3] == "| random-channels | 61.0 ± 1.0 | | |"
    assert lines[4] == "| magnitude, single weights at 87.5 % sparsity | 90.0 ± 0.0 | | |"


def test_many_criteria_make_a_difference_harder_to_show(page):
    """t = 0.035 / 0.0081650 = 4.29 has p = 0.013: enough alone, and not beside nine others, where it takes 0.005."""
    chance, criterion = (0.600, 0.610, 0.620), (0.635, 0.645, 0.655)
    alone = page(random_channels=chance, criterion=criterion)
    assert "1 are significantly better" in row_of(alone)
    others = {f"other{number}": (0.601, 0.612, 0.618) for number in range(9)}
    among = page(random_channels=chance, criterion=criterion, **others)
    assert "0 are significantly better" in row_of(among)


@pytest.mark.parametrize(
    ("criteria", "verdict"),
    [
        # A point is the margin: 0.1 below with a deviation of 0.1 is matched, wide ones and better ones are not.
        (((0.609, 0.610, 0.611), (0.608, 0.609, 0.610), (0.90, 0.91, 0.92)), "**seen**"),
        (((0.609, 0.610, 0.611), (0.90, 0.91, 0.92), (0.91, 0.92, 0.93)), "**not seen**"),
        (((0.50, 0.65, 0.80), (0.55, 0.62, 0.69), (0.609, 0.610, 0.611)), "undecided"),
    ],
)
def test_most_criteria_decide(page, criteria, verdict):
    made = page(random_channels=(0.609, 0.610, 0.611), **{f"c{place}": some for place, some in enumerate(criteria)})
    assert made.answers[""][0].verdict == verdict
