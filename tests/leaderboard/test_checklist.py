"""ShrinkBench's list: each point is answered both ways."""

import pytest

from prunebench.leaderboard import rows
from prunebench.leaderboard.tables.checklist import LIBRARIES, POINTS, checklist
from prunebench.leaderboard.tables.sections import sections

NAMES = dict(
    zip(("ratios", "top", "control", "curves", "points", "seeds", "same", "baselines", "written"), POINTS, strict=True)
)
PROVENANCE = {"data": "f", "machine": "m", "python": "3", **dict.fromkeys(LIBRARIES, "1")}
TASK = {"task.model.name": "mlp", "task.dataset.name": "digits", "task.recipe.augmentation": "[]"}


@pytest.fixture
def trial(result):
    """A trial of a board that meets every point, but for changes."""

    def make(name="random", sparsity=0.9, seed=0, provenance=None, params=None, **changes):
        method = {"method.name": name, "method.allocation": "global", "method.shuffle": False}
        return result(
            method=changes.pop("method", name),
            sparsity=sparsity,
            seed=seed,
            provenance=PROVENANCE | (provenance or {}),
            params=TASK | method | (params or {}),
            **changes,
        )

    return make


@pytest.fixture
def board(trial):
    sparsities = (0.5, 0.6, 0.7, 0.8, 0.9)

    def make(**changes):
        found = [trial("dense", seed=seed, control=True, **changes) for seed in range(3)]
        for name, shuffle in (("random", False), ("magnitude", False), ("imp", True)):
            params = {"method.shuffle": shuffle} | changes.get("params", {})
            found += [
                trial(name, sparsity, seed, **changes | {"params": params})
                for sparsity in sparsities
                for seed in range(3)
            ]
        return found

    return make


def answers(results):
    (section,) = sections(rows(results))
    found = {point.asked: point for point in checklist(section, results)}
    return {name: found[asked].answer for name, asked in NAMES.items()}


def facts(results):
    (section,) = sections(rows(results))
    return {point.asked: point.fact for point in checklist(section, results)}


def without(results, **changes):
    return [one for one in results if any(getattr(one, key) != value for key, value in changes.items())]


def test_a_board_can_meet_every_point(board):
    assert set(answers(board()).values()) == {"met"}
    assert facts(board())[NAMES["points"]] == "3 of 3 methods have 5 or more; the least is 5"


def test_rows_without_ratios_do_not_meet_the_first_point(board, trial):
    assert answers(board(metrics={"inference_flops": 0.0}))["ratios"] == "not met"
    assert answers([*board(), trial("late", metrics={"parameters_kept": 0})])["ratios"] == "partly"


def test_top_5_of_some_rows_is_not_enough(board, trial):
    assert answers(board(metrics={"accuracy_top5": 0.9}))["top"] == "met"
    assert answers([*board(), trial("late", metrics={"accuracy_top5": 0.9})])["top"] == "partly"


def test_a_control_has_to_be_there_with_all_seeds(board):
    assert answers(without(board(), method="dense"))["control"] == "not met"
    assert answers(without(board(), method="dense", seed=2))["control"] == "partly"


def test_one_sparsity_makes_no_curve(board):
    one = [result for result in board() if result.control or result.sparsity == 0.9]
    assert answers(one)["curves"] == "not met"
    assert answers([*one, *[result for result in board() if result.method == "imp"]])["curves"] == "partly"


def test_four_operating_points_are_too_few(board):
    assert answers(without(board(), sparsity=0.5))["points"] == "not met"
    assert answers(without(board(), sparsity=0.5, method="imp"))["points"] == "partly"


def test_two_seeds_are_partly_enough_and_one_is_not(board):
    assert answers(without(board(), seed=2))["seeds"] == "partly"
    assert answers([result for result in board() if result.seed == 0])["seeds"] == "not met"


def test_two_versions_of_a_library_are_not_the_same_library(board, trial):
    mixed = [*board(), trial("late", provenance={"torch": "2"})]
    assert answers(mixed)["same"] == "partly"
    assert "torch" in facts(mixed)[NAMES["same"]]


@pytest.mark.parametrize("missing", ["random", "magnitude", "imp"])
def test_each_baseline_is_asked_for(board, missing):
    assert answers(without(board(), method=missing))["baselines"] == "partly"


def test_without_any_baseline_the_point_is_not_met(trial):
    assert answers([trial("mine")])["baselines"] == "not met"
    assert answers([trial("random", params={"method.allocation": "erk"})])["baselines"] == "not met"


def test_what_is_not_written_down_is_named(board, result):
    assert answers(board(provenance={"machine": ""}))["written"] == "partly"
    assert facts(board(provenance={"machine": ""}))[NAMES["written"]] == "not written down: machine"
    assert answers([result(params={}, provenance={})])["written"] == "not met"


def test_a_board_without_a_done_row_meets_nothing(result):
    assert set(answers([result(status="failed")]).values()) == {"not met"}
