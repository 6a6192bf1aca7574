"""The plots as SVGs, and the files of a published leaderboard."""

import csv
import json
import os
import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from prunebench import leaderboard
from prunebench.api.errors import BoardError
from prunebench.leaderboard import drawings, select, table
from prunebench.leaderboard.plots.costs import costs_card, shown
from prunebench.leaderboard.plots.curves import curves, curves_card
from prunebench.leaderboard.plots.marks import is_plotted, leading, looks
from prunebench.leaderboard.plots.measures import primary
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.plots.style import of_card, of_svg
from prunebench.leaderboard.rows import rows
from prunebench.leaderboard.tables.sections import front, sections

SVG = "{http://www.w3.org/2000/svg}"
FRONT = of_svg("var(--faint)")


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


def drawn(spec):
    """The elements of the SVG of a specification."""
    return ElementTree.fromstring(svg(spec)).iter()


def texts(spec):
    return ["".join(element.itertext()) for element in drawn(spec) if element.tag == f"{SVG}text"]


def panel(spec, method):
    """The values of a method in a plot with a panel each."""
    (panels,) = spec["vconcat"][0]["concat"][0]["concat"]
    return [value for value in panels["data"]["values"] if value["method"] == method]


def points_of(plot):
    """The channels of the points of a plot."""
    (found,) = [layer["encoding"] for layer in plot["layer"] if layer["mark"]["type"] == "point"]
    return found


def accuracy_card(results):
    section = section_of(results)
    return curves_card(section, primary(section))


def cost_card(results):
    return costs_card(section_of(results))


def test_the_svg_shows_what_the_page_shows(board):
    section = section_of(board)
    page, (card, _) = curves(section, primary(section)), accuracy_card(board)["vconcat"]
    assert page["data"] == card["data"]
    assert [layer["mark"]["type"] for layer in page["layer"]] == [layer["mark"]["type"] for layer in card["layer"]]
    assert points_of(card)["x"] == points_of(page)["x"]


def test_sparsity_grows_to_the_right_in_logarithmic_steps_and_is_labelled_in_percent(board):
    found = {}
    for element in drawn(accuracy_card(board)):
        if element.tag == f"{SVG}text" and element.text in ("90", "98") and element.get("text-anchor") == "middle":
            found[element.text] = float(re.search(r"translate\(([\d.]+)", element.get("transform"))[1])
    assert found["90"] < found["98"]
    assert "99.88" in texts(accuracy_card([one for one in board if one.control] + thin(board)))


def thin(board):
    """The results of one method, at a sparsity that takes four digits."""
    changes = {"sparsity": 0.9988, "metrics": board[3].metrics | {"sparsity": 0.9988}}
    return [type(board[3])(**(vars(board[3]) | changes))]


def test_the_legend_is_in_the_order_of_the_ranking_and_the_dense_network_is_named(board):
    for card in (accuracy_card(board), cost_card(board)):
        said = texts(card)
        assert [text for text in said if text in ("good", "poor")][-2:] == ["good", "poor"]
        assert any("dotted: unpruned" in text for text in said)


def test_cost_is_in_dense_trainings_a_panel_a_sparsity_and_what_cost_nothing_is_left_out(board):
    low, high = cost_card(board)["vconcat"][0]["concat"]
    assert (low["title"]["text"], high["title"]["text"]) == ("90 % sparsity", "98 % sparsity")
    found = {
        (one["title"]["text"], value["method"]): (value["cost"], value["center"])
        for one in (low, high)
        for value in one["data"]["values"]
    }
    assert found == {
        ("90 % sparsity", "good"): pytest.approx((0.2, 93.2)),
        ("90 % sparsity", "poor"): pytest.approx((0.2, 81.1)),
        ("98 % sparsity", "good"): pytest.approx((0.04, 90.8)),
    }


def test_without_costs_there_is_no_plot_of_them(result):
    selection = select([result(metrics={"training_cost": 0.0})])
    assert set(drawings(table(selection), selection)) == {"digits.svg"}


def cost(name, cost, accuracy, **changes):
    row = {"method": name, "training_cost": cost, "metric_mean": accuracy, "status": "done", "control": False}
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
    (line,) = [
        element.get("d")
        for element in drawn(cost_card(results))
        if element.tag == f"{SVG}path" and element.get("stroke") == FRONT and element.get("fill") is None
    ]
    corners = [tuple(map(float, corner)) for corner in re.findall(r"([\d.]+),([\d.]+)", line)]
    # From the cheapest at its height to the next, and up to it.
    (left, low), (right, level), (end, high) = corners
    assert left < right == end
    assert high < low == level


def test_of_many_sparsities_six_have_a_panel_the_lowest_and_the_highest_too(result):
    results = [result(sparsity=level / 20) for level in range(1, 20)]
    assert shown(section_of(results)) == pytest.approx([0.05, 0.25, 0.4, 0.6, 0.75, 0.95])
    assert len(cost_card(results)["vconcat"][0]["concat"]) == 6


def test_a_lone_point_that_costs_what_the_dense_network_costs_is_drawn(result):
    (one,) = cost_card([result(metrics={"training_cost": 1.0})])["vconcat"][0]["concat"]
    left, right = points_of(one)["x"]["scale"]["domain"]
    assert left < 1 < right


def test_a_point_without_all_its_seeds_is_hollow(board):
    def hollow(card):
        return [e for e in drawn(card) if e.get("fill-opacity") == "0" and e.get("stroke-width") == "1.8"]

    assert len(hollow(accuracy_card(board))) == 1
    assert any("hollow: seeds are missing" in text for text in texts(accuracy_card(board)))
    complete = [one for one in board if one.method != "poor"]
    assert hollow(accuracy_card(complete)) == []
    assert not any("hollow" in text for text in texts(accuracy_card(complete)))


def test_methods_far_apart_are_drawn_by_their_error_and_close_ones_are_not(seeds, board):
    logarithmic = "test accuracy, % (logarithmic in the error)"
    assert logarithmic in texts(accuracy_card(board))
    close = [*seeds(0.9, method="a"), *seeds(0.8, method="b")]
    assert "test accuracy, %" in texts(accuracy_card(close))
    perfect = [*seeds(1.0, method="a"), *seeds(0.0, method="b")]
    assert {logarithmic, "99.9", "0"} <= set(texts(accuracy_card(perfect)))


def test_a_method_keeps_its_look_when_the_ranking_changes(seeds):
    before = looks(section_of([*seeds(0.9, method="a"), *seeds(0.8, method="b")]))
    after = looks(section_of([*seeds(0.8, method="a"), *seeds(0.9, method="b")]))
    assert before == after[::-1]
    assert [one["method"] for one in before] == ["a", "b"]


def test_thirty_methods_look_different(result):
    found = looks(section_of([result(method=f"m{index}") for index in range(30)]))
    assert len({str(one | {"method": ""}) for one in found}) == 30


def test_of_many_methods_those_are_shown_at_first_that_are_best_at_a_sparsity_or_for_a_cost(result):
    def row(method, accuracy, cost, sparsity=0.9):
        return result(method=method, sparsity=sparsity, accuracy=accuracy, metrics={"training_cost": cost})

    few = [row("best", 0.9, 4.0), row("cheap", 0.5, 0.1), row("middle", 0.7, 1.0), row("early", 0.6, 2.0)]
    few += [row("early", 0.95, 2.0, 0.5), row("best", 0.9, 4.0, 0.5)]
    many = [*few, *(row(f"m{number}", 0.4, 3.0) for number in range(10))]
    assert leading(section_of(few)) == {"best", "cheap", "middle", "early"}
    assert leading(section_of(many)) == {"best", "cheap", "middle", "early"}
    spec = curves(section_of(many), primary(section_of(many)))
    assert set(spec["params"][1]["value"]) == leading(section_of(many))
    assert {one["method"]: one["first"] for one in spec["usermeta"]["methods"]}["m3"] is False
    assert "At first those methods are shown that are the best at a sparsity" in spec["usermeta"]["caption"]
    without_costs = [row(f"m{number}", 0.9, 0.0) for number in range(12)]
    assert len(leading(section_of(without_costs))) == 12


def test_a_ladder_of_sparsities_keeps_labels_apart(result):
    densities = [0.8**level for level in range(1, 21)]
    said = texts(accuracy_card([result(sparsity=1 - density) for density in densities]))
    labels = [text for text in said if re.fullmatch(r"[\d.]+", text) and f"{1 - float(text) / 100:.3f}" in LADDER]
    assert 8 <= len(labels) <= 15
    assert f"{100 * (1 - min(densities)):.5g}" in labels


LADDER = {f"{0.8**level:.3f}" for level in range(1, 21)}


def crowd(result, **changes):
    """Twelve methods, the last the best, at two sparsities."""
    return [
        result(method=f"m{index:02}", sparsity=sparsity, accuracy=0.80 + index / 100 - sparsity / 10, **changes)
        for index in range(12)
        for sparsity in (0.8, 0.9)
    ]


def test_many_methods_have_a_panel_each_with_all_the_others_behind_it(result):
    card = accuracy_card([result(method="unpruned", control=True, accuracy=0.95), *crowd(result)])
    names = [f"m{index:02}" for index in reversed(range(12))]
    assert [text for text in texts(card) if text.startswith("m")] == names
    assert [(value["density"], value["center"]) for value in panel(card, "m11")] == [
        *(pytest.approx((0.2, 83.0)), pytest.approx((0.1, 82.0)))
    ]
    behind = [e.get("d") for e in drawn(card) if e.get("stroke") == "#c9ced4"]
    # One line a panel, with all of the 24 points, broken after each method.
    assert [(len(re.findall("[ML]", line)), line.count("M")) for line in behind] == [(24, 12)] * 12
    assert len([e for e in drawn(card) if e.tag == f"{SVG}line" and e.get("stroke-dasharray") == "2,3"]) == 12


def test_a_point_without_all_its_seeds_is_hollow_in_a_panel_too(result):
    card = accuracy_card([*crowd(result), result(method="m11", seed=1, accuracy=0.83)])
    assert [value["complete"] for value in panel(card, "m10")] == [False, False]
    assert [value["complete"] for value in panel(card, "m11")] == [False, True]
    assert len([element for element in drawn(card) if element.get("fill-opacity") == "0"]) == 23


def test_of_many_methods_the_front_alone_is_named(result):
    results = crowd(result, metrics={"training_cost": 1.0})
    results.append(result(method="cheap", sparsity=0.9, accuracy=0.5, metrics={"training_cost": 0.1}))
    assert sorted(
        {text for text in texts(cost_card(results)) if text in ("cheap", *map("m{:02}".format, range(12)))}
    ) == [*("cheap", "m11")]


def test_names_of_a_front_do_not_touch(result):
    results = crowd(result, metrics={"training_cost": 1.0})
    results += [
        result(method=f"long-name-{index}", accuracy=0.9 + index / 1000, metrics={"training_cost": 0.5 + index / 100})
        for index in range(5)
    ]
    places = {}
    for element in drawn(cost_card(results)):
        if element.tag == f"{SVG}text" and (element.text or "").startswith("long-name"):
            places[element.text] = float(re.search(r"translate\([-\d.]+,([-\d.]+)", element.get("transform"))[1])
    heights = sorted(places.values())
    assert len(heights) == 5
    assert min(high - low for low, high in pairwise(heights)) >= 10


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("card", [accuracy_card, cost_card])
def test_text_is_nine_pixels_high_where_a_plot_is_eight_hundred_wide(result, card, many):
    root, *elements = drawn(card(crowd(result) if many else crowd(result)[:4]))
    sizes = [float(one.get("font-size").removesuffix("px")) for one in elements if one.tag == f"{SVG}text" and one.text]
    assert min(sizes) * 800 / max(800, float(root.get("width"))) >= 9


def test_a_card_is_white_whatever_the_page_is_and_brings_no_variables(board):
    for content in (svg(accuracy_card(board)).decode(), svg(cost_card(board)).decode()):
        assert re.search(r'^<svg [^>]*><rect width="\d+" height="\d+" fill="#ffffff"', content)
        assert "var(" not in content


def test_text_of_results_is_no_expression_and_no_color(seeds):
    labels = ["var(--ink)", "' + datum + '", "$a_b$ <b> & \\", "legend"]
    results = [one for place, label in enumerate(labels) for one in seeds(0.9 - place / 10, method=label)]
    for card in (accuracy_card(results), cost_card(results)):
        assert [text for text in texts(card) if text in labels][-4:] == labels


def test_names_are_text_in_panels_too(result):
    labels = ["var(--ink)", "'\\`${x}", "datum.method", "]]>", "&lt;", "signal('x')", "日本語の手法", "مرحبا", "{}"]
    said = texts(accuracy_card([*crowd(result), *(result(method=label) for label in labels)]))
    assert set(labels) <= set(said)


def test_a_long_name_is_shown_whole_in_a_legend(seeds):
    results = [*seeds(0.9, method="$a_b$ " + "long " * 10), *seeds(0.8, method="x" * 60)]
    for card in (accuracy_card(results), cost_card(results)):
        (root, *_) = elements = list(drawn(card))
        lines = [
            [part.text for part in one if part.tag == f"{SVG}tspan"] for one in elements if one.tag == f"{SVG}text"
        ]
        assert ["$a_b$ long long long long long", "long long long long long"] in lines
        assert "x" * 60 in texts(card)
        assert float(root.get("width")) < 1000


def test_what_is_left_out_of_an_svg_is_never_text(board):
    hostile = [type(one)(**(vars(one) | {"task": 'a class="x" role="y" <path d="M0,0"/>'})) for one in board]
    assert any('a class="x" role="y" <path d="M0,0"/>' in text for text in texts(accuracy_card(hostile)))


def test_the_layout_does_not_depend_on_the_fonts_of_the_machine():
    """Letters are as wide as in Liberation Sans, which vl-convert contains; a font that it lacks would give 193."""
    label = {"data": {"values": [{"a": "MMMMMMMMiiiiiiiii"}]}, "mark": "bar", "encoding": {"y": {"field": "a"}}}
    assert re.search(rb'width="(\d+)"', svg(of_card(label, "")))[1] == b"172"


def test_without_accuracies_there_is_no_plot(result, seeds):
    assert not is_plotted(section_of([result(status="failed")]))
    assert not is_plotted(section_of(seeds(0.9, method="unpruned", control=True)))
    assert is_plotted(section_of([result()]))


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
    assert float(table[1]["metric_mean"]) == pytest.approx(0.932)
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
    with pytest.raises(BoardError, match="no space"):
        leaderboard.write(board[:2], tmp_path)
    assert (tmp_path / "rows.csv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 8
