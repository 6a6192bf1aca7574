"""Which plots a leaderboard has, and what they show."""

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import pytest

from prunebench.leaderboard import select, table
from prunebench.leaderboard.plots.curves import curves_card
from prunebench.leaderboard.plots.diagrams import SIDE, WIDTH, diagram, diagram_card
from prunebench.leaderboard.plots.gallery import drawings, every_plot
from prunebench.leaderboard.plots.layers import OUTPUT_ERRORS, layer_densities, layer_map_card, shown_densities
from prunebench.leaderboard.plots.measures import early_primary, early_stop
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.plots.style import CONFIG
from prunebench.leaderboard.ranks import Ranking
from prunebench.leaderboard.tables.markdown import markdown
from prunebench.leaderboard.tables.sections import sections

LAYERS = {"density/fc1.weight": 0.25, "density/fc2.weight": 0.0}
ERRORS = {"output_error": 0.7, "output_error/fc1.weight": 0.2, "output_error/fc2.weight": 1.2}


@pytest.fixture
def board(result):
    """Two methods and the dense network, stopped early, with the densities of two layers."""

    def make(**changes):
        early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
        return [
            result(method="unpruned", control=True, metrics=early, **changes),
            *(
                result(method=method, sparsity=sparsity, metrics=early | LAYERS | ERRORS, **changes)
                for method in ("good", "poor")
                for sparsity in (0.8, 0.9)
            ),
        ]

    return make


def section_of(results):
    (section,) = sections(table(select(results)))
    return section


def test_every_plot_of_the_page_is_a_file_and_every_file_is_on_the_page(board):
    results = [*board(), *board(task="other")]
    selection = select(results)
    frame = table(selection)
    files, page = drawings(frame, selection), markdown(frame, selection)
    kinds = ("", "-cost", "-early-stop", "-early-metric", "-layers", "-output-error")
    assert set(files) == {f"{task}{kind}.svg" for task in ("digits", "other") for kind in kinds} | {"ranks.svg"}
    for name, content in files.items():
        assert f"]({name})" in page
        assert ElementTree.fromstring(content).tag.endswith("svg")
    assert page.count("![](") == 0


def test_without_early_stopping_and_densities_there_are_two_plots(result):
    selection = select([result()])
    assert set(drawings(table(selection), selection)) == {"digits.svg", "digits-cost.svg"}


def test_every_plot_has_a_form_for_the_page_and_one_for_an_svg(seeds, overlap):
    early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
    results = seeds(0.9, 0.8, 0.7, method="a", metrics=early | LAYERS) + seeds(0.9, 0.8, 0.7, method="b")
    selection = replace(select(results), overlaps=(overlap(results, "a", "b", 0.5, 0.1),))
    kinds = ("", "-cost", "-early-stop", "-early-metric", "-layers", "-overlap")
    found = {plot.file: plot for plot in every_plot(table(selection), selection)}
    assert set(found) == {f"digits{kind}.svg" for kind in kinds}
    for plot in found.values():
        assert plot.specification["usermeta"]["title"]
        assert plot.specification["config"] == CONFIG
        assert "var(" in json.dumps(plot.specification)
        assert "var(" not in json.dumps(plot.card)


def test_the_same_results_in_another_order_give_the_same_plots(seeds, overlap):
    results = [*seeds(0.9, 0.8, method="a", metrics=LAYERS), *seeds(0.7, 0.6, method="b", metrics=LAYERS)]
    overlaps = [overlap(results, "a", "b", 0.5, 0.1), overlap(results, "a", "a", 0.4, 0.1)]

    def found(results, overlaps):
        selection = replace(select(results), overlaps=tuple(overlaps))
        return [(plot.card, plot.specification) for plot in every_plot(table(selection), selection)]

    assert json.dumps(found(results, overlaps)) == json.dumps(found(results[::-1], overlaps[::-1]))


def test_early_stopping_stands_against_the_share_kept_with_the_dense_network_as_a_line(board):
    section = section_of(board())
    for measure, height in ((early_stop, 300.0), (early_primary, 91.0)):
        card, _ = curves_card(section, measure(section))["vconcat"]
        own = [layer["data"]["values"][0] for layer in card["layer"] if "data" in layer]
        assert [value["center"] for value in own if value] == [height] * 2
        good = [(v["density"], v["center"]) for v in card["data"]["values"] if v["method"] == "good"]
        assert good == [pytest.approx((0.2, height)), pytest.approx((0.1, height))]


def texts(spec):
    """What an SVG says."""
    elements = ElementTree.fromstring(svg(spec)).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in elements]


def test_a_heat_map_says_each_layers_density_and_which_has_no_weight_left(board):
    results = board()
    assert layer_densities(section_of(results), results)[0.9]["good"] == {"fc1.weight": 0.25, "fc2.weight": 0.0}
    said = texts(layer_map_card(section_of(results), results))
    # Two methods at two sparsities, each with two layers.
    assert Counter(said)["25"] == Counter(said)["none"] == 4
    assert [text for text in said if text.endswith(" %")] == ["80 %", "90 %"]
    assert said.count("good") == said.count("poor") == 1
    assert said.count("fc1.weight") == said.count("fc2.weight") == 2


def test_a_heat_map_says_the_error_of_each_layers_outputs(board):
    results = board()
    found = layer_densities(section_of(results), results, OUTPUT_ERRORS)
    assert found[0.9]["good"] == {"fc1.weight": 0.2, "fc2.weight": 1.2}
    said = texts(layer_map_card(section_of(results), results, OUTPUT_ERRORS))
    assert Counter(said)["20"] == Counter(said)["120"] == 4
    assert any(text.endswith("output error of each layer, %, by sparsity") for text in said)


def test_early_stops_of_many_methods_have_a_panel_each(result):
    early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
    section = section_of([result(method=f"m{index:02}", metrics=early) for index in range(11)])
    for measure in (early_stop, early_primary):
        said = texts(curves_card(section, measure(section)))
        assert [text for text in said if text.startswith("m")] == [f"m{index:02}" for index in range(11)]
        assert measure(section).title in said


def test_names_that_are_too_long_for_a_heat_map_keep_both_ends(result):
    results = [result(method="a" * 40 + "z", metrics={f"density/{'b' * 40}y": 0.5})]
    said = texts(layer_map_card(section_of(results), results))
    assert {"a" * 14 + "…" + "a" * 12 + "z", "b" * 14 + "…" + "b" * 12 + "y"} <= set(said)


def test_densities_are_means_over_the_seeds_that_are_done(result):
    results = [result(seed=seed, metrics={"density/a": 0.1 + seed / 5}) for seed in range(2)]
    results.append(result(seed=2, status="failed"))
    assert layer_densities(section_of(results), results)[0.9]["snipper"]["a"] == pytest.approx(0.2)


def test_of_a_deep_network_the_highest_sparsities_are_shown(result):
    deep = {sparsity: {"a": {f"layer{index}": 0.5 for index in range(9)}} for sparsity in (0.8, 0.9, 0.95)}
    assert shown_densities(deep) == [0.9, 0.95]
    deeper = {sparsity: {"a": {f"layer{index}": 0.5 for index in range(60)}} for sparsity in (0.8, 0.9)}
    assert shown_densities(deeper) == [0.9]
    metrics = {f"density/layer{index}": 0.5 for index in range(9)}
    results = [result(sparsity=sparsity, metrics=metrics) for sparsity in (0.8, 0.9, 0.95)]
    said = texts(layer_map_card(section_of(results), results))
    assert [text for text in said if text.endswith(" %")] == ["90 %", "95 %"]


def test_a_diagram_names_every_method_with_its_rank_and_joins_those_that_are_alike():
    ranking = Ranking({"a": 1.0, "b": 1.8, "c": 3.2}, 9, 0.01, 1.0, {})
    assert {"a  1.00", "b  1.80", "3.20  c", "1", "2", "3"} <= set(texts(diagram_card(ranking)))
    _, _, bars, *_ = diagram(ranking)["layer"]
    (bar,) = bars["data"]["values"]
    # From a, at the left end of the axis, to b, at 0.4 of it.
    assert (bar["x"] + 4, bar["x2"] - 4) == (SIDE, SIDE + 0.4 * (WIDTH - 2 * SIDE))
