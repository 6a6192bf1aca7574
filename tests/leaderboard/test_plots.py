"""The plots, and the files of a published leaderboard."""

import csv
import json
import os
import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from prunebench import leaderboard
from prunebench.leaderboard import drawings, select, table
from prunebench.leaderboard.plots.costs import cost_plot, front, shown
from prunebench.leaderboard.plots.curves import accuracy_plot, is_plotted, looks
from prunebench.leaderboard.plots.style import svg
from prunebench.leaderboard.rows import rows
from prunebench.leaderboard.tables.sections import sections


@pytest.fixture
def board(result, seeds):
    return [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.900, 0.911, 0.913, method="good", sparsity=0.98),
        *seeds(0.810, 0.802, 0.821, method="poor"),
        result(method="poor", sparsity=0.98, accuracy=0.1, metrics={"training_cost": 0.0}),
    ]


def section_of(results):
    (section,) = sections(rows(results))
    return section


def curve(axes, color):
    """The line of a colour that joins the points."""
    (line,) = [one for one in axes.lines if one.get_color() == color and one.get_marker() == "None"]
    return [tuple(point) for point in line.get_xydata()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_accuracy_stands_against_the_share_kept_with_a_band_of_one_deviation(board):
    section = section_of(board)
    (axes,) = accuracy_plot(section).axes
    points = curve(axes, looks(section)["good"].color)
    assert [x for x, _ in points] == pytest.approx([0.1, 0.02])
    assert [y for _, y in points] == pytest.approx([93.2, 90.8])
    bands = [box for box in (path.get_paths()[0].get_extents() for path in axes.collections) if box.x1 > 0.09]
    # The deviation of 0.920, 0.931, 0.945 is 0.0125300; that of 0.900, 0.911, 0.913 is 0.0070.
    assert (bands[0].y0, bands[0].y1) == pytest.approx((90.1, 94.453), abs=1e-3)


def test_sparsity_grows_to_the_right_in_logarithmic_steps_and_is_labelled_in_percent(board):
    (axes,) = accuracy_plot(section_of(board)).axes
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > 0.1 > 0.02 > right
    format_ = axes.xaxis.get_major_formatter()
    assert sorted(format_(tick) for tick in axes.xaxis.get_majorticklocs()) == ["90", "98"]
    assert format_(0.0012) == "99.88"


def test_the_dense_network_is_a_horizontal_line(board):
    (axes,) = accuracy_plot(section_of(board)).axes
    (line,) = [one for one in axes.lines if one.get_label() == "unpruned"]
    assert list(line.get_ydata()) == pytest.approx([94.1, 94.1])


def test_the_legend_is_in_the_order_of_the_ranking(board):
    assert legend(accuracy_plot(section_of(board))) == ["unpruned", "good", "poor"]
    assert legend(cost_plot(section_of(board))) == ["good", "poor"]


def points(axes, label):
    """Where a method stands in a panel."""
    return [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_label() == label]


def test_cost_is_in_dense_trainings_a_panel_a_sparsity_and_what_cost_nothing_is_left_out(board):
    low, high = cost_plot(section_of(board)).axes
    assert low.get_xscale() == "log"
    assert (low.get_title("left"), high.get_title("left")) == ("90 % sparsity", "98 % sparsity")
    assert points(low, "good") == [pytest.approx((0.2, 93.2))]
    assert points(low, "poor") == [pytest.approx((0.2, 81.1))]
    assert points(high, "good") == [pytest.approx((0.04, 90.8))]
    assert points(high, "poor") == []


def test_without_costs_there_is_no_plot_of_them(result):
    selection = select([result(metrics={"training_cost": 0.0})])
    assert set(drawings(table(selection), selection)) == {"digits.svg"}


def cost(name, cost, accuracy, **changes):
    row = {"method": name, "training_cost": cost, "accuracy_mean": accuracy, "status": "done", "control": False}
    return row | changes


def test_on_the_front_is_what_nothing_matches_at_no_more_cost():
    rows = [
        cost("dear and best", 5.0, 0.95),
        cost("cheap", 0.1, 0.80),
        cost("as cheap and worse", 0.1, 0.70),
        cost("dearer and equal", 0.2, 0.80),
        cost("middle", 1.0, 0.90),
        cost("dearer and worse", 2.0, 0.85),
        cost("of two seeds", 0.01, 0.99, status="incomplete (2 of 3)"),
        cost("free", 0.0, 0.99),
        cost("failed", 0.3, None),
    ]
    assert [row["method"] for row in front(rows)] == ["cheap", "middle", "dear and best"]
    assert front(rows[::-1]) == front(rows)


def test_the_front_is_drawn_as_steps(result):
    results = [
        result(method="cheap", accuracy=0.8, metrics={"training_cost": 0.1}),
        result(method="dear", accuracy=0.9, metrics={"training_cost": 5.0}),
        result(method="dearer", accuracy=0.85, metrics={"training_cost": 6.0}),
    ]
    (axes,) = cost_plot(section_of(results)).axes
    (line,) = [line for line in axes.lines if line.get_label() == "front"]
    assert line.get_drawstyle() == "steps-post"
    assert [tuple(point) for point in line.get_xydata()] == [pytest.approx((0.1, 80)), pytest.approx((5, 90))]


def test_of_many_sparsities_six_have_a_panel_the_lowest_and_the_highest_too(result):
    section = section_of([result(sparsity=level / 20) for level in range(1, 20)])
    assert shown(section) == pytest.approx([0.05, 0.25, 0.4, 0.6, 0.75, 0.95])
    assert len(cost_plot(section).axes) == 6


def test_a_lone_point_that_costs_what_the_dense_network_costs_is_drawn(result):
    (axes,) = cost_plot(section_of([result(metrics={"training_cost": 1.0})])).axes
    left, right = axes.get_xlim()
    assert left < 1 < right


def test_a_point_without_all_its_seeds_is_hollow(board):
    section = section_of(board)
    (axes,) = accuracy_plot(section).axes
    color = looks(section)["poor"].color
    marks = {tuple(line.get_ydata()): line.get_markerfacecolor() for line in axes.lines if line.get_color() == color}
    assert marks[(10.0,)] == "#ffffff"
    assert {face for heights, face in marks.items() if heights and heights[0] > 80 and len(heights) == 1} == {color}


def test_methods_far_apart_are_drawn_by_their_error_and_close_ones_are_not(seeds, board):
    assert accuracy_plot(section_of(board)).axes[0].get_yscale() == "function"
    close = [*seeds(0.9, method="a"), *seeds(0.8, method="b")]
    assert accuracy_plot(section_of(close)).axes[0].get_yscale() == "linear"
    perfect = [*seeds(1.0, method="a"), *seeds(0.0, method="b")]
    assert svg(accuracy_plot(section_of(perfect)))


def test_a_method_keeps_its_look_when_the_ranking_changes(seeds):
    before = looks(section_of([*seeds(0.9, method="a"), *seeds(0.8, method="b")]))
    after = looks(section_of([*seeds(0.8, method="a"), *seeds(0.9, method="b")]))
    assert before == after
    assert list(before) == ["a", "b"]
    assert list(after) == ["b", "a"]


def test_thirty_methods_look_different(result):
    found = looks(section_of([result(method=f"m{index}") for index in range(30)]))
    assert len(set(found.values())) == 30


def test_a_ladder_of_sparsities_keeps_labels_apart(result):
    densities = [0.8**level for level in range(1, 21)]
    (axes,) = accuracy_plot(section_of([result(sparsity=1 - density) for density in densities])).axes
    ticks = sorted(axes.xaxis.get_majorticklocs())
    assert 8 <= len(ticks) <= 15
    assert ticks[0] == pytest.approx(min(densities))


def crowd(result, **changes):
    """Twelve methods, the last the best, at two sparsities."""
    return [
        result(method=f"m{index:02}", sparsity=sparsity, accuracy=0.80 + index / 100 - sparsity / 10, **changes)
        for index in range(12)
        for sparsity in (0.8, 0.9)
    ]


def test_many_methods_have_a_panel_each_with_all_the_others_behind_it(result):
    figure = accuracy_plot(section_of([result(method="unpruned", control=True, accuracy=0.95), *crowd(result)]))
    assert [axes.get_title("left") for axes in figure.axes] == [f"m{index:02}" for index in reversed(range(12))]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["method"].get_xdata()) == pytest.approx([0.2, 0.1])
    assert list(lines["method"].get_ydata()) == pytest.approx([83.0, 82.0])
    assert np.count_nonzero(~np.isnan(lines["others"].get_xdata())) == 24
    assert list(lines["unpruned"].get_ydata()) == [95.0, 95.0]
    assert len({(axes.get_xlim(), axes.get_ylim(), axes.get_xscale()) for axes in figure.axes}) == 1


def test_a_point_without_all_its_seeds_is_hollow_in_a_panel_too(result):
    figure = accuracy_plot(section_of([*crowd(result), result(method="m11", seed=1, accuracy=0.83)]))
    faces = {
        axes.get_title("left"): [
            line.get_markerfacecolor() for line in axes.lines if line.get_label() == "points" and len(line.get_xdata())
        ]
        for axes in figure.axes
    }
    assert faces["m10"] == ["#ffffff"]
    assert faces["m11"] == ["#0072B2", "#ffffff"]


def test_of_many_methods_the_front_alone_is_named(result):
    results = crowd(result, metrics={"training_cost": 1.0})
    results.append(result(method="cheap", sparsity=0.9, accuracy=0.5, metrics={"training_cost": 0.1}))
    low, high = cost_plot(section_of(results)).axes
    assert [text.get_text() for text in low.texts] == ["m11"]
    assert [text.get_text() for text in high.texts] == ["cheap", "m11"]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("plot", [accuracy_plot, cost_plot])
def test_text_is_nine_pixels_high_where_a_plot_is_eight_hundred_wide(result, plot, many):
    figure = plot(section_of(crowd(result) if many else crowd(result)[:4]))
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text().strip()]
    assert min(sizes) * 800 / (72 * figure.get_figwidth()) >= 9


def test_whatever_a_picture_refers_to_is_in_it(result):
    content = svg(accuracy_plot(section_of(crowd(result)))).decode()
    named = set(re.findall(r' id="([^"]+)"', content))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', content))
    assert used <= named
    assert len(used) > 20


def test_a_point_of_a_picture_is_where_it_was_drawn_to_a_tenth():
    figure = Figure(figsize=(1, 1))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 72), ylim=(0, 72))
    axes.plot([10.26, 20.51, 30.04], [40, 50.26, 60], label="line")
    axes.text(5, 5, "8")
    content = svg(figure).decode()
    assert 'd="M 10.3 32 20.5 21.7 30 12"' in content
    assert re.search(r'<path id="1b" d="M [^"]* Q [^"]* Q ', content)  # the outline of 8 is bent


def test_without_accuracies_there_is_no_plot(result, seeds):
    assert not is_plotted(section_of([result(status="failed")]))
    assert not is_plotted(section_of(seeds(0.9, method="unpruned", control=True)))
    assert is_plotted(section_of([result()]))


def test_labels_are_shown_as_they_are(result):
    figure = accuracy_plot(section_of([result(method="$a_b$ " + "long " * 10)]))
    assert " ".join(legend(figure)[0].split()) == "$a_b$ " + " ".join(["long"] * 10)
    assert svg(figure)


# Files


def table_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_leaderboard_is_a_page_with_plots_and_data(board, tmp_path):
    written = leaderboard.write(board, tmp_path / "new" / "board")
    names = ["digits.svg", "digits-cost.svg", "index.html", "rows.csv", "rows.json", "trials.csv", "trials.jsonl"]
    names.append("README.md")
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "new" / "board").iterdir()) == sorted(names)
    for name in ("digits.svg", "digits-cost.svg"):
        assert ElementTree.parse(tmp_path / "new" / "board" / name).getroot().tag.endswith("svg")
    table = table_of(tmp_path / "new" / "board" / "rows.csv")
    assert [row["method"] for row in table] == ["unpruned", "good", "poor", "good", "poor"]
    assert float(table[1]["accuracy_mean"]) == pytest.approx(0.932)
    assert len(json.loads((tmp_path / "new" / "board" / "rows.json").read_text(encoding="utf-8"))) == 5


def test_every_trial_of_the_rows_is_published(board, tmp_path):
    leaderboard.write(board, tmp_path)
    trials = table_of(tmp_path / "trials.csv")
    assert len(trials) == len(board)
    assert {(row["method"], row["seed"], row["accuracy"]) for row in trials} >= {
        ("good", "2", "0.945"),
        ("poor", "0", "0.1"),
    }


def test_only_what_is_expected_is_written(board, tmp_path):
    leaderboard.write(board, tmp_path, [("digits", "good", 0.98, seed) for seed in range(4)])
    (row,) = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert (row["method"], row["status"]) == ("good", "incomplete (3 of 4)")


def test_a_leaderboard_of_nothing_is_a_page_all_the_same(tmp_path):
    names = ["index.html", "rows.csv", "rows.json", "trials.csv", "trials.jsonl", "README.md"]
    assert [path.name for path in leaderboard.write([], tmp_path)] == names


def test_the_same_results_give_the_same_bytes_in_every_process(board, tmp_path):
    leaderboard.write(board, tmp_path / "here")
    code = (
        "import sys, pickle, pathlib; from prunebench import leaderboard;"
        "leaderboard.write(pickle.load(sys.stdin.buffer)[::-1], pathlib.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(tmp_path / "there")]
    subprocess.run(command, input=pickle.dumps(board), env=environment, check=True)
    for path in sorted((tmp_path / "here").iterdir()):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name


def test_a_write_that_fails_leaves_the_old_file(board, tmp_path, monkeypatch):
    leaderboard.write(board, tmp_path)
    before = (tmp_path / "rows.csv").read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        leaderboard.write(board[:2], tmp_path)
    assert (tmp_path / "rows.csv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 8
