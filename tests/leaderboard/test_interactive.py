"""Which plots of a board answer."""

import json
from dataclasses import replace

from prunebench.leaderboard import drawings, select, table
from prunebench.leaderboard.plots.interactive import specifications

EARLY = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
LAYERS = {"density/fc1.weight": 0.25, "density/fc2.weight": 0.0}


def found_in(results, overlaps=()):
    selection = replace(select(results), overlaps=tuple(overlaps))
    return specifications(table(selection), selection), drawings(table(selection), selection)


def test_every_picture_of_a_task_has_a_form_that_answers(seeds, overlap):
    results = seeds(0.9, 0.8, 0.7, method="a", metrics=EARLY | LAYERS) + seeds(0.9, 0.8, 0.7, method="b")
    forms, pictures = found_in(results, [overlap(results, "a", "b", 0.5, 0.1)])
    kinds = ("", "-cost", "-early-stop", "-early-accuracy", "-layers", "-overlap")
    assert set(forms) == {f"digits{kind}.svg" for kind in kinds} == set(pictures)


def test_what_was_not_measured_has_no_plot(seeds):
    forms, pictures = found_in(seeds(0.9, 0.8, method="a"))
    assert set(forms) == {"digits.svg", "digits-cost.svg"} == set(pictures)


def test_the_same_results_in_another_order_give_the_same_plots(seeds, overlap):
    results = [*seeds(0.9, 0.8, method="a", metrics=EARLY | LAYERS), *seeds(0.7, 0.6, method="b", metrics=LAYERS)]
    overlaps = [overlap(results, "a", "b", 0.5, 0.1), overlap(results, "a", "a", 0.4, 0.1)]
    forward, backward = found_in(results, overlaps)[0], found_in(results[::-1], overlaps[::-1])[0]
    assert json.dumps(forward) == json.dumps(backward)
