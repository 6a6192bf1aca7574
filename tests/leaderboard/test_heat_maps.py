"""Heat maps that answer, as data: `test_plots_in_a_browser.py` has what is drawn of it."""

import pytest

from prunebench.leaderboard import select, table
from prunebench.leaderboard.plots.layers import OUTPUT_ERRORS, layer_map
from prunebench.leaderboard.plots.mask_overlaps import overlap_map
from prunebench.leaderboard.tables.sections import sections


def layers_of(results):
    (section,) = sections(table(select(results)))
    return layer_map(section, results)


def overlap_of(results, overlaps):
    (section,) = sections(table(select(results)))
    return overlap_map(section, overlaps)


def choices(spec, number=0):
    control = spec["usermeta"]["controls"][number]
    return [(one.get("group"), one["text"]) for one in control["options"]], control["options"][control["chosen"]]


def test_a_row_has_the_mean_density_of_each_layer_over_the_seeds_that_are_done(result):
    densities = [(0.1, 1.0), (0.3, 0.999999999)]
    results = [result(seed=seed, metrics={"density/a": a, "density/b": b}) for seed, (a, b) in enumerate(densities)]
    results.append(result(seed=2, status="failed"))
    (row,) = layers_of(results)["data"]["values"]
    # A layer that lost a weight is not said to have all of them.
    assert row["kept"] == [pytest.approx(20), 99.9999]
    assert (row["method"], row["target"], row["seeds"]) == ("snipper", "90 %", 2)


def test_a_row_has_the_mean_output_error_of_each_layer_which_may_be_above_1(result):
    errors = [(0.1, 1.0), (0.3, 1.5)]
    results = [
        result(seed=seed, metrics={"output_error": a, "output_error/a": a, "output_error/b": b, "density/c": 0.5})
        for seed, (a, b) in enumerate(errors)
    ]
    (section,) = sections(table(select(results)))
    spec = layer_map(section, results, OUTPUT_ERRORS)
    (row,) = spec["data"]["values"]
    assert row["kept"] == [pytest.approx(20), pytest.approx(125)]
    assert spec["usermeta"]["title"] == "Output error of each layer"
    assert [one["value"] for one in spec["params"][1:]] == [["a", "b"]]


def test_a_board_without_calibrated_methods_has_no_map_of_output_errors(result):
    results = [result(metrics={"density/a": 0.5})]
    (section,) = sections(table(select(results)))
    assert layer_map(section, results, OUTPUT_ERRORS) is None


def test_a_layer_that_a_method_does_not_have_is_empty(result):
    results = [result(method="one", metrics={"density/a": 0.5}), result(method="two", metrics={"density/b": 0.0})]
    rows = layers_of(results)["data"]["values"]
    assert {row["method"]: row["kept"] for row in rows} == {"one": [50.0, None], "two": [None, 0.0]}


def test_a_few_layers_are_shown_at_every_sparsity_and_more_at_one(result):
    def shown(layers):
        metrics = {f"density/{number}": 0.5 for number in range(layers)}
        results = [result(method=m, sparsity=s, metrics=metrics) for m in ("a", "b") for s in (0.5, 0.8)]
        results.append(result(method="a", sparsity=0.9, metrics=metrics))
        return choices(layers_of(results))

    methods = [("every sparsity of", "a"), ("every sparsity of", "b")]
    targets = [("all methods at", "50 %"), ("all methods at", "80 %"), ("all methods at", "90 %")]
    options, chosen = shown(6)
    assert options == [(None, "every sparsity"), *targets, *methods]
    assert chosen["value"] == {"level": -1, "method": ""}
    options, chosen = shown(7)
    assert options == [*targets, *methods]
    # Both methods have 80 %, one of them 90 %.
    assert chosen["value"] == {"level": 1, "method": ""}


def test_without_densities_or_overlaps_there_is_no_map(result):
    assert layers_of([result()]) is None
    assert overlap_of([result()], []) is None


def test_pairs_stand_in_the_order_of_the_ranking_with_what_they_share(seeds, overlap):
    results = [*seeds(0.9, 0.9, 0.9, method="better"), *seeds(0.8, 0.8, 0.8, method="a worse one")]
    pairs = (("a worse one", "better", 0.25, 0.125), ("better", "better", 1.0, 0.5))
    spec = overlap_of(results, [overlap(results, *pair) for pair in pairs])
    same, different = spec["data"]["values"]
    assert (same["method"], same["other"], same["first"], same["second"]) == ("better", "better", 0, 0)
    assert (different["method"], different["other"], different["first"], different["second"]) == (
        *("better", "a worse one"),
        *(0, 1),
    )
    assert (different["overlap"], different["chance"], different["pairs of masks"]) == (25.0, 12.5, 3)
    assert choices(spec)[0] == [
        (None, "all methods"),
        ("a method and each other", "better"),
        ("a method and each other", "a worse one"),
    ]


def test_of_overlaps_at_several_sparsities_one_is_chosen(seeds, overlap):
    results = [one for s in (0.5, 0.9) for m in ("a", "b") for one in seeds(0.9, 0.8, method=m, sparsity=s)]
    overlaps = [overlap(results, "a", "b", 0.3, 0.1, sparsity) for sparsity in (0.5, 0.9)]
    overlaps.append(overlap(results, "a", "a", 0.2, 0.1, 0.5))
    options, chosen = choices(overlap_of(results, overlaps))
    assert [text for _, text in options] == ["50 %", "90 %"]
    assert chosen["text"] == "50 %"
