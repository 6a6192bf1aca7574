"""The tables and sentences of networks in runtimes: each figure by hand, fronts, and what no kernel makes faster."""

import json
import shlex
from dataclasses import replace

import pytest

from prunebench.leaderboard import text
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.plots.runtime_fronts import LATENCY, SIZE, fronts, fronts_card
from prunebench.leaderboard.plots.runtimes import front, labels, measured
from prunebench.leaderboard.rows import rows
from prunebench.leaderboard.selection import select
from prunebench.leaderboard.tables.page import board_page
from prunebench.leaderboard.tables.runtimes import deploy_summary, export_commands, headline, runtime_tables
from prunebench.leaderboard.tables.sections import sections


def figures(label="ort", batch=1, *, latency, accuracy, dense=6.0, int8=3.0, size=250.0, **more):
    """The metrics of a network in a runtime."""
    found = {
        "accuracy": accuracy,
        "loss": 0.1,
        "size_bytes": size,
        "size_bytes_dense": 1000.0,
        "peak_memory_bytes": 12e6,
        "peak_memory_bytes_dense": 48e6,
        "difference": 1e-5,
        "difference_relative": 2e-6,
        "threads": 1.0,
        "eight_bit": 0.0,
        f"latency_ms/{batch}": latency,
        f"latency_ms_iqr/{batch}": 0.1,
        f"latency_ms_dense/{batch}": dense,
        f"latency_ms_dense_iqr/{batch}": 0.2,
        f"latency_ms_int8/{batch}": int8,
        f"latency_ms_int8_iqr/{batch}": 0.1,
        **more,
    }
    return {f"runtime/{label}/{name}": value for name, value in found.items()}


@pytest.fixture
def section_of(result):
    """The section of results, each given by method, sparsity, seed, metrics and notes."""

    def make(*given):
        found = []
        for method, seed, accuracy, metrics, notes in given:
            control = {"control": True} if method == "dense" else {}
            provenance = {"machine": "one machine", **{f"note.{name}": text for name, text in notes.items()}}
            found.append(
                result(method, seed=seed, accuracy=accuracy, metrics=metrics, provenance=provenance, **control)
            )
        frame = rows(found)
        return sections(frame)[0], frame

    return make


COMMAND = "prunebench export mine.yaml task/cut/0.9/0"
ZEROS = {"runtime/ort/zeros": "no kernel skips its zeros"}
DENSE = ("dense", 0, 0.95, figures(latency=6.0, accuracy=0.95), {})


def line(section, method, label="ort", batch=1):
    heading = f"{label}, {batch} example{'s' * (batch > 1)} in a pass"
    [table] = [table for title, table in runtime_tables(section) if title == heading]
    [found] = [row for row in table.body if row[0].plain.startswith(method)]
    return dict(zip(table.header, (cell if isinstance(cell, str) else cell.plain for cell in found), strict=True))


def test_a_row_has_its_figures_in_the_runtime(section_of):
    section, _ = section_of(DENSE, ("cut", 0, 0.94, figures(latency=2.0, accuracy=0.945), {}))
    assert line(section, "cut") == {
        "row": "cut at 90 %",
        "accuracy there %": "94.50",
        "latency ms": "2 ± 0.1",
        "dense ms": "6 ± 0.2",
        "dense / this": "3.00×",
        "FLOPs": "4×",
        "dense in INT8": "2.00×",
        "size kB": "0.2",
        "of dense": "25.0%",
        "memory MB": "12.0 (48.0)",
        "difference": "2.0e-06",
        "front": "front",
        "remarks": "",
    }
    assert line(section, "dense")["row"] == "dense"


def test_ratios_are_means_over_seeds_of_ratios(section_of):
    section, frame = section_of(
        DENSE,
        ("cut", 0, 0.94, figures(latency=2.0, accuracy=0.94), {}),
        ("cut", 1, 0.94, figures(latency=6.0, accuracy=0.92, dense=6.0), {}),
    )
    assert frame.set_index("method").loc["cut", "runtime/ort/speedup/1"] == 2.0
    assert line(section, "cut")["dense / this"] == "2.00×"
    assert line(section, "cut")["accuracy there %"] == "93.00"


def test_zeros_without_a_kernel_have_no_ratio(section_of):
    section, _ = section_of(DENSE, ("sparse", 0, 0.95, figures(latency=5.0, accuracy=0.95), ZEROS))
    assert line(section, "sparse")["dense / this"] == "no kernel"
    assert line(section, "sparse")["remarks"] == "no kernel skips its zeros"


def test_zeros_of_a_network_that_is_smaller_too_do_not_hide_the_ratio(section_of):
    both = figures(latency=2.0, accuracy=0.95) | {"parameters_left": 10.0}
    section, _ = section_of(DENSE, ("cut-prune", 0, 0.95, both, ZEROS))
    assert line(section, "cut-prune")["dense / this"] == "3.00×"
    [sentence] = said_of(section)
    assert "cut-prune at 90 % is 3.0 times as fast" in sentence
    assert "no kernel skips" not in sentence


def test_a_busy_machine_is_remarked_beside_the_figures(section_of):
    notes = {"runtime/ort/load": "other processes used 1.0 of 2 cores", "runtime/ort/kernels": "by hand"}
    section, _ = section_of(DENSE, ("cut", 0, 0.95, figures(latency=2.0, accuracy=0.95), notes))
    assert line(section, "cut")["remarks"] == "by hand; other processes used 1.0 of 2 cores"


def test_in_int8_zeros_do_not_hide_the_ratio(section_of):
    own = figures(latency=2.0, accuracy=0.95, int8=2.0) | {"runtime/ort/eight_bit": 1.0}
    section, _ = section_of(DENSE, ("sparse", 0, 0.95, own, ZEROS))
    assert line(section, "sparse")["dense / this"] == "3.00×"


def test_a_runtime_that_cannot_run_a_row_says_why(section_of):
    notes = {"runtime/ort": "no kernel: it is odd", "runtime/gpu": "no GPU"}
    section, _ = section_of(DENSE, ("odd", 0, 0.9, {}, notes))
    assert line(section, "odd") == dict.fromkeys(line(section, "odd"), "") | {
        "row": "odd at 90 %",
        "remarks": "no kernel: it is odd",
    }
    assert labels(section) == ["gpu", "ort"]
    [(title, table), _] = list(runtime_tables(section))
    assert title == "gpu"
    assert [(name.plain, reason) for name, reason in table.body] == [("odd at 90 %", "no GPU")]


def test_the_front_is_of_metric_and_latency_in_one_runtime(section_of):
    section, _ = section_of(
        DENSE,
        ("fast", 0, 0.5, figures(latency=1.0, accuracy=0.80), {}),
        ("slower", 0, 0.5, figures(latency=2.0, accuracy=0.80), {}),
        ("good", 0, 0.5, figures(latency=3.0, accuracy=0.96), {}),
    )
    assert [one.row["method"] for one in front(measured(section, "ort", 1))] == ["fast", "good"]


def test_a_latency_that_differs_by_less_than_a_twentieth_wins_nothing(section_of):
    section, _ = section_of(DENSE, ("noise", 0, 0.5, figures(latency=5.8, accuracy=0.94), {}))
    assert [one.row["method"] for one in front(measured(section, "ort", 1))] == ["dense"]


def test_the_plot_has_a_panel_for_each_runtime_and_its_front(section_of):
    both = figures(latency=2.0, accuracy=0.94) | figures("vino", latency=1.0, accuracy=0.93)
    section, _ = section_of(DENSE, ("cut", 0, 0.94, both, {}), ("slow", 0, 0.9, figures(latency=3.0, accuracy=0.9), {}))
    panels = {panel["title"]["text"]: panel["data"]["values"] for panel in fronts(section)["vconcat"][0]["concat"]}
    assert {label: [one["method"] for one in values if one["front"]] for label, values in panels.items()} == {
        "ort": ["dense", "cut"],
        "vino": ["cut"],
    }
    [cut] = [one for one in panels["ort"] if one["method"] == "cut"]
    assert (cut["x"], cut["y"], cut["dense / this"], cut["size"]) == (2.0, 94.0, "3.00×", "0.2 kB")
    assert b"vino" in svg(fronts_card(section))


def test_without_latencies_there_is_no_plot(section_of):
    section, _ = section_of(("dense", 0, 0.95, {}, {}), ("odd", 0, 0.9, {}, {"runtime/ort": "no kernel"}))
    assert fronts(section) is fronts_card(section) is None


# --- sentences


def said_of(section):
    return [sentence.plain for sentence in deploy_summary(section)]


def test_the_fastest_row_within_a_point_of_dense_is_named(section_of):
    section, frame = section_of(
        DENSE,
        ("cut", 0, 0.9, figures(latency=2.0, accuracy=0.941), {}),
        ("ruined", 0, 0.9, figures(latency=1.0, accuracy=0.939), {}),
        ("sparse", 0, 0.95, figures(latency=5.7, accuracy=0.95), ZEROS),
    )
    [sentence] = said_of(section)
    assert sentence == (
        "In ort (batch 1), within one point of dense (95.00 %): cut at 90 % is 3.0 times as fast as the dense network "
        "(FLOPs: 4 times fewer), with files of 25% of the size; INT8 alone gives 2.0 times the speed; sparse at 90 %, "
        "whose zeros no kernel skips, is not faster (1.05 times, where counting gives 4)."
    )
    assert "cut at 90 % is 3.0 times as fast" in " ".join(text(frame).split())


def test_of_int8_the_dense_network_may_be_the_one_to_deploy(section_of):
    own = figures(latency=2.0, accuracy=0.95, int8=2.0) | {"runtime/ort/eight_bit": 1.0}
    section, _ = section_of(("dense", 0, 0.95, own, {}))
    assert said_of(section) == [
        "In ort (batch 1), within one point of dense (95.00 %): dense is 3.0 times as fast as in float32, with files "
        "of 25% of the size."
    ]


def test_of_rows_that_are_equally_fast_in_int8_one_without_idle_zeros_is_named(section_of):
    eight_bit = {"runtime/ort/eight_bit": 1.0}
    dense = figures(latency=2.0, accuracy=0.95, int8=2.0) | eight_bit
    sparse = figures(latency=1.95, accuracy=0.955, int8=2.0) | eight_bit
    section, _ = section_of(("dense", 0, 0.95, dense, {}), ("sparse", 0, 0.955, sparse, ZEROS))
    assert "dense is 3.0 times as fast as in float32" in said_of(section)[0]
    faster = figures(latency=1.0, accuracy=0.955, int8=2.0) | eight_bit
    section, _ = section_of(("dense", 0, 0.95, dense, {}), ("sparse", 0, 0.955, faster, ZEROS))
    assert "sparse at 90 % is 6.0 times as fast as the dense network, with" in said_of(section)[0]


def test_zeros_are_never_praised_for_what_no_kernel_does(section_of):
    section, _ = section_of(DENSE, ("sparse", 0, 0.95, figures(latency=3.0, accuracy=0.95), ZEROS))
    [sentence] = said_of(section)
    assert "no row is faster" in sentence
    assert (
        "sparse at 90 %, whose zeros no kernel skips, is measured at 2.00 times, where counting gives 4, which nothing "
        "in the runtime explains" in sentence
    )


def test_more_rows_without_a_kernel_are_counted_and_not_all_named(section_of):
    given = [
        (f"sparse-{name}", 0, 0.95, figures(latency=latency, accuracy=0.95), ZEROS)
        for name, latency in zip("abcde", (5.6, 5.8, 6.0, 6.0, 6.2), strict=True)
    ]
    [sentence] = said_of(section_of(DENSE, *given)[0])
    assert (
        "and 2 more, whose zeros no kernel skips, are not faster (0.97 to 1.07 times, where counting gives up to 4)"
        in sentence
    )


def test_a_sentence_says_that_the_machine_was_busy(section_of):
    section, _ = section_of(DENSE, ("cut", 0, 0.95, figures(latency=2.0, accuracy=0.95), {"runtime/ort/load": "busy"}))
    assert said_of(section)[0].endswith("so these ratios may be far off.")
    assert "far off" not in said_of(section_of(DENSE)[0])[0]


def test_the_headline_is_the_fastest_good_row_of_all_runtimes(section_of):
    both = figures(latency=2.0, accuracy=0.945) | figures("vino", latency=1.5, accuracy=0.941, size=2500.0)
    bad = figures(latency=1.0, accuracy=0.939) | figures("vino", latency=1.0, accuracy=0.9)
    section, _ = section_of(DENSE, ("cut", 0, 0.94, both, {}), ("ruined", 0, 0.9, bad, {}))
    assert headline(section).plain == (
        "The fastest within one point of dense (batch 1): cut at 90 % in vino, with 94.10 % at 1.5 ms, 4.0 times as "
        "fast as the dense network in float32 there and 2 kB."
    )
    assert headline(section_of(("dense", 0, 0.95, {}, {}))[0]) is None


def test_rows_have_the_command_that_writes_their_network_in_each_runtime_that_can(section_of):
    both = figures(latency=2.0, accuracy=0.94, exportable=1.0) | figures(
        "a b", latency=1.0, accuracy=0.9, exportable=0.0
    )
    section, _ = section_of(DENSE, ("cut", 0, 0.94, both, {}))
    assert list(export_commands(section)) == []  # no suite is recorded
    found = tuple({**row, "export_command": COMMAND} for row in section.rows)
    assert list(export_commands(replace(section, rows=found))) == [("ort", (f"{COMMAND} --runtime ort",))]


def test_the_export_command_is_that_of_the_first_seed_with_the_runs_own_changes(result):
    provenance = {
        "suite.file": "my suite.yaml",
        "suite.settings": json.dumps(["profile=full", "seeds=[4, 5]"]),
        "threads": "2",
    }
    metrics = figures(latency=2.0, accuracy=0.94)
    found = [result("cut", seed=seed, metrics=metrics, provenance=provenance) for seed in (5, 4)]
    [command] = rows(found)["export_command"]
    assert shlex.split(command) == [
        *("prunebench", "export", "my suite.yaml", f"{found[0].task}/cut/0.9/4"),
        *("--profile", "full", "--set", "seeds=[4, 5]"),
    ]


def test_rows_without_runtimes_have_no_such_column(result):
    assert "export_command" not in rows([result("cut")])


def test_the_front_of_sizes_is_another_one(section_of):
    section, _ = section_of(
        DENSE,
        ("small", 0, 0.9, figures(latency=9.0, accuracy=0.93, size=100.0), {}),
        ("fast", 0, 0.9, figures(latency=1.0, accuracy=0.92, size=2000.0), {}),
    )
    for axis, expected in ((LATENCY, {"dense", "fast"}), (SIZE, {"dense", "small"})):
        [panel] = fronts(section, axis)["vconcat"][0]["concat"]
        assert {one["method"] for one in panel["data"]["values"] if one["front"]} == expected
        assert [one["method"] for one in panel["data"]["values"] if one["first"]] == [(expected - {"dense"}).pop()]
    places = {one["method"]: one["x"] for one in fronts(section, SIZE)["vconcat"][0]["concat"][0]["data"]["values"]}
    assert places == {"dense": 0.25, "small": 0.1, "fast": 2.0}


def test_without_runtimes_there_is_nothing_to_say(section_of):
    section, _ = section_of(("dense", 0, 0.95, {}, {}), ("a", 0, 0.9, {}, {}))
    assert said_of(section) == []
    assert list(runtime_tables(section)) == []


def test_a_board_has_the_tables_the_sentences_and_the_meanings(section_of):
    _, frame = section_of(DENSE, ("cut", 0, 0.94, figures(latency=2.0, accuracy=0.945), {}))
    page = repr(board_page(frame, select([], None)))
    for words in ("In runtimes", "ort, 1 example in a pass", "fast as the dense network", "runtime/ort/speedup/1"):
        assert words in page
