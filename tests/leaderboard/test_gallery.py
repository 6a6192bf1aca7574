"""Which plots a leaderboard has, and what they show."""

import xml.etree.ElementTree as ElementTree

import pytest

from prunebench.leaderboard import select, table
from prunebench.leaderboard.plots import early_stops, heatmaps
from prunebench.leaderboard.plots.diagrams import diagram
from prunebench.leaderboard.plots.gallery import drawings
from prunebench.leaderboard.plots.style import svg
from prunebench.leaderboard.ranks import Ranking
from prunebench.leaderboard.tables import sections
from prunebench.leaderboard.tables.markdown import markdown

LAYERS = {"density/fc1.weight": 0.25, "density/fc2.weight": 0.0}


@pytest.fixture
def board(result):
    """Two methods and the dense network, stopped early, with the densities of two layers."""

    def make(**changes):
        early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
        return [
            result(method="unpruned", control=True, metrics=early, **changes),
            *(
                result(method=method, sparsity=sparsity, metrics=early | LAYERS, **changes)
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
    kinds = ("", "-cost", "-early-stop", "-early-accuracy", "-layers")
    assert set(files) == {f"{task}{kind}.svg" for task in ("digits", "other") for kind in kinds} | {"ranks.svg"}
    for name, content in files.items():
        assert f"]({name})" in page
        assert ElementTree.fromstring(content).tag.endswith("svg")
    assert page.count("![](") == 0


def test_without_early_stopping_and_densities_there_are_two_plots(result):
    selection = select([result()])
    assert set(drawings(table(selection), selection)) == {"digits.svg", "digits-cost.svg"}


def test_early_stopping_stands_against_the_share_kept_with_the_dense_network_as_a_line(board):
    (axes,) = early_stops.step_plot(section_of(board())).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["unpruned"].get_ydata()) == [300.0, 300.0]
    assert list(lines["good"].get_xdata()) == pytest.approx([0.2, 0.1])
    assert list(lines["good"].get_ydata()) == [300.0, 300.0]
    (axes,) = early_stops.accuracy_plot(section_of(board())).axes
    assert list({line.get_label(): line for line in axes.lines}["good"].get_ydata()) == pytest.approx([91.0, 91.0])


def numbers(axes):
    """What a table says, by place: as text, or where it says the same at many places as marks."""
    marked = {tuple(point): line.get_label() for line in axes.lines for point in line.get_xydata()}
    return marked | {text.get_position(): text.get_text() for text in axes.texts}


def test_a_heat_map_says_each_layers_density_and_which_has_no_weight_left(board):
    results = board()
    found = heatmaps.layer_densities(section_of(results), results)
    assert found[0.9]["good"] == {"fc1.weight": 0.25, "fc2.weight": 0.0}
    figure = heatmaps.heatmap("digits", found)
    assert len(figure.axes) == 2
    assert numbers(figure.axes[0]) == {(0.5, 0.5): "25", (0.5, 1.5): "25", (1.5, 0.5): "none", (1.5, 1.5): "none"}
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(found[0.8])


def test_early_stops_of_many_methods_have_a_panel_each(result):
    early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
    results = [result(method=f"m{index:02}", metrics=early) for index in range(11)]
    for figure, height in ((early_stops.step_plot, 300.0), (early_stops.accuracy_plot, 91.0)):
        panels = figure(section_of(results)).axes
        assert len(panels) == 11
        lines = {line.get_label(): line for line in panels[0].lines}
        assert list(lines["method"].get_ydata()) == pytest.approx([height])


def test_names_that_are_too_long_for_a_heat_map_keep_both_ends(board):
    figure = heatmaps.heatmap("t", {0.9: {"a" * 40 + "z": {"b" * 40 + "y": 0.5}}})
    (method,), (layer,) = (
        [t.get_text() for t in labels]
        for labels in (figure.axes[0].get_yticklabels(), figure.axes[0].get_xticklabels())
    )
    assert (len(method), method[-1], len(layer), layer[-1]) == (28, "z", 28, "y")
    assert figure.get_figwidth() <= heatmaps.WIDTH


def test_densities_are_means_over_the_seeds_that_are_done(result):
    results = [result(seed=seed, metrics={"density/a": 0.1 + seed / 5}) for seed in range(2)]
    results.append(result(seed=2, status="failed"))
    assert heatmaps.layer_densities(section_of(results), results)[0.9]["snipper"]["a"] == pytest.approx(0.2)


def test_of_a_deep_network_the_highest_sparsities_are_shown():
    deep = {sparsity: {"a": {f"layer{index}": 0.5 for index in range(9)}} for sparsity in (0.8, 0.9, 0.95)}
    assert heatmaps.shown(deep) == [0.9, 0.95]
    deeper = {sparsity: {"a": {f"layer{index}": 0.5 for index in range(60)}} for sparsity in (0.8, 0.9)}
    assert heatmaps.shown(deeper) == [0.9]


def test_a_diagram_names_every_method_with_its_rank_and_joins_those_that_are_alike():
    figure = diagram(Ranking({"a": 1.0, "b": 1.8, "c": 3.2}, 9, 0.01, 1.0, {}))
    said = {text.get_text() for text in figure.axes[0].texts}
    assert {"a  1.00", "b  1.80", "3.20  c"} <= said
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3.5]
    assert len(bars) == 1
    assert svg(figure)
