"""Curves that answer, as data: `test_plots_in_a_browser.py` has what is drawn of it."""

import pytest

from prunebench.leaderboard import select, table
from prunebench.leaderboard.plots.costs import costs
from prunebench.leaderboard.plots.curves import curves
from prunebench.leaderboard.plots.measures import early_primary, early_stop, primary
from prunebench.leaderboard.tables.sections import sections


def curves_of(section, measure):
    return curves(section, measure(section))


def section_of(results):
    (section,) = sections(table(select(results)))
    return section


def point_of(spec, method, target):
    (found,) = [p for p in spec["data"]["values"] if (p["method"], p["target"]) == (method, target)]
    return found


def params_of(spec):
    return {param["name"]: param.get("value") for param in spec["params"]}


@pytest.fixture
def board(seeds):
    return [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.900, 0.911, 0.913, method="good", sparsity=0.98),
        *seeds(0.810, 0.802, 0.821, method="poor"),
    ]


def test_a_point_is_where_the_row_is_and_says_what_it_is(board):
    point = point_of(curves_of(section_of(board), primary), "good", "90 %")
    assert point["center"] == pytest.approx(93.2)
    assert point["density"] == pytest.approx(0.1)
    assert point["cost"] == pytest.approx(0.2)
    # The deviation of 0.920, 0.931, 0.945 is 0.0125300.
    assert (point["low"], point["high"]) == pytest.approx((91.947, 94.453), abs=1e-3)
    assert point["accuracy"] == "93.20 ± 1.25 %"
    assert point["told"] == "good at 90 %: 93.20 ± 1.25 %"
    assert point["seeds"] == "3"


def test_methods_far_apart_stand_on_an_axis_of_their_error(seeds):
    far = section_of([*seeds(0.99, method="good"), *seeds(0.1, method="poor")])
    near = section_of([*seeds(0.99, method="good"), *seeds(0.9, method="poor")])
    assert params_of(curves_of(far, primary))["picked"]["logarithmic"] is True
    assert params_of(curves_of(near, primary))["picked"]["logarithmic"] is False


def test_the_axis_is_labelled_with_the_sparsities_that_were_asked_for(seeds):
    counted = {"sparsity": 0.8987}
    spec = curves_of(section_of(seeds(0.9, 0.8, method="a", metrics=counted)), primary)
    (across,) = [one["encoding"]["x"] for one in spec["layer"] if one["mark"]["type"] == "point"]
    assert across["axis"]["values"] == pytest.approx([0.1])
    assert spec["data"]["values"][0]["density"] == pytest.approx(0.1013)
    low, high = across["scale"]["domain"]
    assert low < 0.1 < 0.1013 < high


def test_costs_are_shown_at_one_sparsity_or_at_every_one(board):
    spec = costs(section_of(board))
    (choice,) = spec["usermeta"]["controls"]
    assert [option["text"] for option in choice["options"]] == ["90 %", "98 %", "every sparsity"]
    # Two methods have 90 %, one has 98 %.
    assert choice["options"][choice["chosen"]]["text"] == "90 %"
    assert params_of(spec)["picked"] == choice["options"][choice["chosen"]]["value"]
    assert [point["level"] for point in spec["data"]["values"]] == [0, 1, 0]


def test_sparsities_that_read_the_same_are_chosen_apart(seeds):
    results = seeds(0.9, method="a", sparsity=0.999981) + seeds(0.8, method="a", sparsity=0.999982)
    changed = [result for result in results if result.metrics.update(sparsity=result.sparsity) is None]
    options = costs(section_of(changed))["usermeta"]["controls"][0]["options"]
    assert options[0]["text"] == options[1]["text"]
    assert options[0]["value"] != options[1]["value"]


def test_early_stops_say_the_iteration_and_the_accuracy_there(result):
    steps = [(300.0, 0.91), (500.0, 0.93)]
    results = [
        result(seed=seed, metrics={"early_stop_step": step, "early_stop_accuracy": accuracy})
        for seed, (step, accuracy) in enumerate(steps)
    ]
    when, how_well = (
        point_of(curves_of(section_of(results), measure), "snipper", "90 %") for measure in (early_stop, early_primary)
    )
    # The deviation of 300 and 500 is 141.421, that of 91 and 93 is 1.41421.
    assert (when["low"], when["center"], when["high"]) == pytest.approx((258.579, 400, 541.421), abs=1e-3)
    assert (how_well["low"], how_well["center"], how_well["high"]) == pytest.approx((90.586, 92, 93.414), abs=1e-3)
    assert (when["early stop"], when["accuracy there"], when["seeds"]) == ("400 ± 141", "92.00 ± 1.41 %", "2")
    assert when["told"] == "snipper at 90 %: 400 ± 141"
    assert how_well["told"] == "snipper at 90 %: 92.00 ± 1.41 %"


def test_a_method_that_never_stopped_early_is_not_in_that_legend(result):
    early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
    section = section_of([result(method="early", metrics=early), result(method="late")])
    assert [one["method"] for one in curves_of(section, early_stop)["usermeta"]["methods"]] == ["early"]
    assert len(curves_of(section, primary)["usermeta"]["methods"]) == 2
