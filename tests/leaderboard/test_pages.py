"""The leaderboard as text."""

import json
import re
from dataclasses import replace

import pytest

from prunebench.leaderboard.rows import COLUMNS, OPTIONAL, table
from prunebench.leaderboard.selection import select
from prunebench.leaderboard.tables.markdown import aligned, as_json, markdown
from prunebench.leaderboard.tables.page import board_page
from prunebench.leaderboard.tables.terminal import text

KEYS = ["task", "method", "target_sparsity", "sparsity", "n"]
KEYS += ["metric", "metric_mean", "metric_std", "training_cost", "wall_seconds", "status"]


def page_of(results, expected=None):
    selection = select(results, expected)
    return markdown(table(selection), selection)


def terminal_of(results, width=80, expected=None):
    return text(table(select(results, expected)), width)


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def line_of(page, *starts):
    """The cells of the table line that starts with these."""
    (found,) = [cells(line) for line in page.splitlines() if cells(line)[: len(starts)] == list(starts)]
    return found


@pytest.fixture
def board(result, seeds):
    """Two methods apart, one that failed at a sparsity, and the dense network."""
    return [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.900, 0.911, 0.913, method="good", sparsity=0.98),
        *seeds(0.810, 0.802, 0.821, method="poor"),
        *[result(method="poor", sparsity=0.98, seed=seed, status="failed") for seed in range(3)],
    ]


def test_the_pivot_shows_accuracy_in_percent_the_best_tier_in_bold_and_the_best_method_first(board):
    page = page_of(board).partition("Training cost")[0]
    assert line_of(page, "method", "90 %") == ["method", "90 %", "98 %"]
    assert line_of(page, "good", "**93.2 ± 1.3**") == ["good", "**93.2 ± 1.3**", "90.8 ± 0.7"]
    assert line_of(page, "poor", "81.1 ± 1.0") == ["poor", "81.1 ± 1.0", "failed"]
    assert page.index("| good ") < page.index("| poor ")
    assert "mean ± sample standard deviation over 3 seeds. Dense network (unpruned): 94.1 ± 1.1." in page


def test_a_method_with_every_sparsity_comes_before_one_that_only_has_the_easy_one(seeds):
    results = [*seeds(0.99, method="easy"), *seeds(0.9, method="whole"), *seeds(0.8, method="whole", sparsity=0.98)]
    page = page_of(results)
    assert page.index("| whole ") < page.index("| easy ")
    assert line_of(page, "easy", "99.0") == ["easy", "99.0", "–"]


def test_without_enough_seeds_no_tier_is_claimed_and_the_page_says_so(seeds):
    page = page_of([*seeds(0.9, 0.8, method="a"), *seeds(0.1, 0.2, method="b")])
    assert "Nothing is marked: that takes 3 shared seeds." in page
    assert "**8" not in page


def test_incomplete_cells_say_how_many_seeds_they_have(seeds):
    page = page_of([*seeds(0.9, 0.8, 0.7, method="a"), *seeds(0.6, 0.6, method="b")])
    assert line_of(page, "b", "60.0 ± 0.0 (2 of 3)")


def test_the_full_table_has_a_line_a_row(board):
    page = page_of(board)
    heading = line_of(page, "method", "target %")
    line = dict(zip(heading, line_of(page, "good", "98"), strict=True))
    assert line["sparsity %"] == "98.00"
    assert line["accuracy %"] == "90.80 ± 0.70"
    # Welch: variances 4.9e-5 and 1.21e-4, error 0.0075277, 3.3916 degrees of freedom, half the width 0.022465.
    assert line["points above dense"] == "-3.30 [-5.55, -1.05]"
    assert (line["n"], line["pairs"], line["tier"], line["status"]) == ("3", "3", "", "done")
    assert (line["training cost"], line["training FLOPs"], line["examples"]) == ("0.04×", "4 G", "6.4 k")
    assert (line["wall s"], line["inference FLOPs"]) == ("3", "500")
    assert (line["speed-up"], line["compression"]) == ("4×", "50×")
    assert (line["weights kept"], line["collapsed layers"]) == ("20", "0")


def test_the_profile_of_the_suite_is_told_with_what_it_sets(result):
    quick = {"suite.profile": "quick: tasks.recipe.epochs=3, seeds=1"}
    page = page_of([result(provenance=quick), result(seed=1, provenance=quick)])
    assert line_of(page, "profile")[1] == "quick: tasks.recipe.epochs=3, seeds=1"
    page = page_of([result(provenance=quick), result(seed=1)])
    assert line_of(page, "profile")[1] == "none / quick: tasks.recipe.epochs=3, seeds=1"
    assert "| profile" not in page_of([result(), result(seed=1)])


def test_the_protocol_is_told(board):
    page = page_of(board)
    assert line_of(page, "dataset")[1] == "digits"
    assert line_of(page, "recipe")[1] == "epochs 40"
    assert line_of(page, "sparsity", "share of the 1,000 prunable weights that is exactly zero")
    assert line_of(page, "data fingerprint")[1] == "fingerprint-1"
    assert line_of(page, "machine")[1] == "one machine"
    assert line_of(page, "newest result")[1] == "2023-11-14"
    assert "| seed " not in page


def test_the_share_of_the_network_that_is_prunable_is_shown_where_it_was_measured(result):
    assert "of the FLOPs" not in page_of([result()])
    page = page_of([result(metrics={"inference_flops_prunable": 1500.0})])
    assert line_of(page, "prunable")[1] == "weights that are 99 % of all 1,010 parameters and 75 % of the FLOPs"


@pytest.mark.parametrize("lacking", ["parameters_total", "inference_flops_dense", "parameters_prunable"])
def test_the_prunable_share_is_that_of_the_rows_that_have_all_of_its_figures(result, lacking):
    whole = result(metrics={"inference_flops_prunable": 1500.0})
    metrics = {name: value for name, value in whole.metrics.items() if name != lacking}
    page = page_of([whole, replace(result(seed=1), metrics=metrics)])
    assert line_of(page, "prunable")[1] == "weights that are 99 % of all 1,010 parameters and 75 % of the FLOPs"
    assert "of the FLOPs" not in page_of([replace(whole, metrics=metrics)])


def test_several_machines_are_listed_or_counted(seeds):
    def on_machines(count):
        return [
            replace(one, provenance={"machine": f"m{one.seed % count}"}) for one in seeds(*[0.5] * 5, method="unpruned")
        ]

    assert line_of(page_of(on_machines(3)), "machine")[1] == "m0 / m1 / m2"
    assert line_of(page_of(on_machines(5)), "machine")[1] == "5 different"


def test_what_is_not_done_not_comparable_and_superseded_is_listed_with_its_reason(board, result):
    before = replace(result(method="good"), protocol="older-protocol", finished=1600000000.0)
    before = replace(before, params=before.params | {"task.recipe.epochs": 20})
    variant = replace(result(method="poor"), variant="older-variant", finished=1600000000.0)
    variant = replace(variant, params=variant.params | {"method.rate": 0.5})
    page = page_of([*board, before, variant])
    assert "### Not done\n\n- poor at 98 %: failed: out of memory\n" in page
    assert (
        "### Not comparable\n\n- 1 trial of protocol `older-pr`, good, until 2020-09-13: `recipe.epochs 20 → 40`\n"
        in page
    )
    assert (
        "### Superseded\n\n- 1 trial of poor, variant `older-va`, until 2020-09-13: `method.rate 0.5 → not set`\n"
        in page
    )
    clean = page_of(board[:3])
    assert "### Not" not in clean
    assert "Superseded" not in clean


def test_every_column_is_explained(board):
    page = page_of(board)
    for name, meaning in COLUMNS.items():
        if name not in OPTIONAL:
            assert line_of(page, f"`{name}`")[2] == meaning
    assert "Games & Howell" in page


def test_a_row_says_what_its_scores_left_undecided(board, result):
    page = page_of(board)
    assert "unscored" not in page
    assert "Not decided by scores" not in page
    metrics = {"unscored_layers": 2.0, "unscored_share": 0.25, "tied_share": 0.5}
    page = page_of([*board, result(method="by-order", metrics=metrics)])
    headings = line_of(page, "method", "target %", "sparsity %")
    figures = dict(zip(headings, line_of(page, "by-order", "90", "90.00"), strict=True))
    assert (figures["unscored %"], figures["ties %"]) == ("25", "50")
    assert line_of(page, "`unscored_share`")[2] == COLUMNS["unscored_share"]
    assert (
        "### Not decided by scores\n\n- by-order at 90 %: 25 % of the weights are in layers without a score; "
        "50 % of the kept weights were chosen among equal scores, by their order\n" in page
    )


def test_plots_are_shown_where_there_is_something_to_plot(board, result):
    assert "](digits.svg)" in page_of(board)
    assert "](digits-cost.svg)" in page_of(board)
    assert ".svg" not in page_of([result(status="failed")])
    assert ".svg" not in page_of([result(control=True)])


def test_suites_have_sections_of_their_own(result):
    page = page_of([result(), replace(result(), suite="other")])
    assert "# Leaderboard: other, s" in page
    assert "## s: digits" in page
    assert "](other-digits.svg)" in page


def test_text_cannot_break_out_of_the_tables(result):
    results = [result(method="a|b<i>*c*", seed=seed, status="failed", reason="x | y\n\n## z") for seed in (0, 1)]
    page = page_of(results)
    assert "a\\|b&lt;i>\\*c\\*" in page
    assert "- a\\|b&lt;i>\\*c\\* at 90 %: failed: x \\| y ## z" in page
    assert len(line_of(page, "a\\|b&lt;i>\\*c\\*", "90")) == len(line_of(page, "method", "target %"))


def test_text_makes_no_links_pictures_or_code(result):
    page = page_of([result(method="![a](b) [c] `d` &lt;", seed=seed) for seed in (0, 1)])
    assert r"| !\[a\](b) \[c\] \`d\` &amp;lt; |" in page


def test_a_page_without_results_says_so():
    assert page_of([]).startswith("# Leaderboard\n")
    assert "No results yet." in page_of([], [("digits", "a", 0.5, 0)])
    assert "a at 50 %: missing" in page_of([], [("digits", "a", 0.5, 0)])


def test_the_order_of_results_does_not_change_a_byte(board):
    assert page_of(board) == page_of(board[::-1])


def test_json_has_a_row_each_with_nulls_for_what_is_empty(board):
    found = json.loads(as_json(table(select(board))))
    assert len(found) == 5
    assert all(set(KEYS) <= set(row) for row in found)
    assert list(found[0])[: len(KEYS)] == KEYS
    assert found[-1]["metric_mean"] is None
    assert found[0]["difference"] is None


def test_the_terminal_shows_the_pivot_and_the_reasons(board):
    found = terminal_of(board)
    assert "digits: Test accuracy in percent, mean ± sample standard deviation over 3 seeds." in found
    assert "Dense network (unpruned): 94.1 ± 1.1." in found
    lines = [line.split() for line in found.splitlines()]
    assert ["method", "90", "%", "98", "%"] in lines
    assert ["good", "93.2", "±", "1.3*", "90.8", "±", "0.7"] in lines
    assert ["poor", "81.1", "±", "1.0", "failed"] in lines
    assert "*: the best mean at this sparsity." in " ".join(found.split())
    assert "poor at 98 %: failed: out of memory" in found


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_terminal_is_never_wider_than_it_is(result, seeds, width):
    label = "a-method-with-a-label-that-nobody-would-want-to-read-in-a-terminal-of-any-width"
    results = [
        *(one for sparsity in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995) for one in seeds(0.9, 0.8, sparsity=sparsity)),
        *seeds(0.1, 0.2, method=label),
        result(method=label, sparsity=0.5, status="failed", reason="a very long story " * 10),
    ]
    found = terminal_of(results, width)
    assert max(map(len, found.splitlines())) <= width
    assert all(f"{s:g} %" in found for s in (50, 80, 90, 95, 98, 99, 99.5))
    assert all(part in found for part in label.split("-"))


def test_the_terminal_shows_a_lone_dense_network(seeds):
    found = terminal_of(seeds(0.9, 0.8, method="unpruned", control=True))
    assert "Dense network (unpruned): 85.0 ± 7.1." in found


def test_the_page_and_the_terminal_say_what_each_method_cost(result):
    results = [result(method="dense", control=True), result(method="mine", metrics={"training_cost": 5.374})]
    for said in (page_of(results), terminal_of(results)):
        assert "relative to one dense training" in " ".join(said.split())
        assert "5.37×" in said
        assert "as asked for in every row" in " ".join(said.split())


def test_a_sparsity_that_is_not_the_target_is_named(result):
    results = [result(method="dense", control=True), result(method="mine", metrics={"sparsity": 0.93})]
    assert "but for mine 93 % at 90 %" in " ".join(page_of(results).split())


def test_rows_of_more_than_one_source_are_marked_where_the_version_is_the_same(board):
    def made(source, method):
        said = {"protocol.version": "1", "core.source": source, "method.version": "1", "method.source": method}
        return [replace(one, provenance=one.provenance | said) for one in board]

    one, other = made("a", "m"), made("b", "n")
    mixed = [other[0], *one[1:]]
    page = page_of(mixed)
    assert "### Other source\n\n- The rows were made by more than one source of the same version: core.\n" in page
    assert "core.source" in page
    assert "### Other source" not in page_of(one)
    assert "### Other source" not in page_of(board)


# What is known beside the best


def test_a_page_marks_the_best_the_equivalent_and_the_uncertain(seeds):
    results = [
        *seeds(0.930, 0.931, 0.932, method="best"),
        *seeds(0.929, 0.930, 0.931, method="close"),
        *seeds(0.99, 0.85, 0.70, method="wide"),
        *seeds(0.80, 0.81, 0.82, method="far"),
    ]
    page, printed = page_of(results), " ".join(terminal_of(results).split())
    for label, cell in (("best", "**93.1 ± 0.1**"), ("close", "*93.0 ± 0.1*"), ("wide", "84.7 ± 14.5 ?")):
        assert line_of(page, label, cell)
    assert line_of(page, "far", "81.0 ± 1.0")
    for sentence in ("the best mean at this sparsity", "at most one point behind", "too few seeds to tell whether"):
        assert sentence in page
        assert sentence in printed
    assert "best 93.1 ± 0.1* close 93.0 ± 0.1~ wide 84.7 ± 14.5? far 81.0 ± 1.0" in printed
    lines = page.partition("### Every row")[2].splitlines()
    words = [cells(line)[8] for line in lines if line.endswith("| done |")]
    assert words == ["best", "within one point", "too few seeds", "worse"]


def test_a_page_states_how_likely_it_shows_a_false_difference(seeds):
    def board(sparsities, methods):
        return [
            one
            for sparsity in sparsities
            for index in range(methods)
            for one in seeds(0.9, 0.91 + index / 1e3, 0.92, method=f"m{index}", sparsity=sparsity)
        ]

    page = page_of(board((0.5, 0.9), 4))
    # 1 - 0.93 ** 2 and 1 - 0.9 ** 3
    assert "2 such comparisons of up to 4 methods" in page
    assert "at least one would show a difference in up to 14% of cases" in page
    assert "in up to 27% of cases" in page_of(board((0.5, 0.8, 0.9), 12))
    assert "False differences" not in page_of(board((0.5,), 1))


def test_methods_with_the_same_results_are_one_row_under_all_names(seeds, overlap):
    twins = [*seeds(0.93, 0.94, 0.95, method="one"), *seeds(0.93, 0.94, 0.95, method="other")]
    twins = [replace(r, metrics=r.metrics | {"loss": 0.5, "density/fc1": 0.1}) for r in twins]
    results = [*twins, *seeds(0.90, 0.91, 0.92, method="third", metrics={"density/fc1": 0.2})]
    selection = select(results)
    found = (
        overlap(results, "one", "other", 1.0, 0.1),
        overlap(results, "one", "third", 0.5, 0.1),
        overlap(results, "other", "third", 0.5, 0.1),
    )
    selection = replace(selection, overlaps=found)
    page = markdown(table(selection), selection)
    labels = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith(("| one", "| other"))]
    assert set(labels) == {"one, other"}
    plots = {plot.file: plot.specification for plot in board_page(table(selection), selection).plots}
    for name in ("digits.svg", "digits-layers.svg"):
        methods = {value["method"] for value in plots[name]["data"]["values"]}
        assert methods == {"one, other", "third"}
    (pair,) = plots["digits-overlap.svg"]["data"]["values"]
    assert (pair["method"], pair["other"], pair["overlap"]) == ("one, other", "third", 50.0)


@pytest.mark.parametrize("words", ["a", "a  b " * 40])
def test_only_tables_of_lines_that_people_read_are_padded(words):
    table = aligned([[words, "1"], ["b", "22"]], ["name", "figure"], ["left", "center"])
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert (header, rows) == (["name", "figure"], [[words.strip(), "1"], ["b", "22"]])
    assert [rule[0].startswith(":-"), rule[1][0], rule[1][-1]] == [True, ":", ":"]
    assert (len(set(map(len, table.splitlines()))) == 1) is (len(words) < 160)
