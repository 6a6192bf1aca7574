"""What masks have in common: measured from what MLflow has, published as text, and shown."""

import re
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from prunebench import leaderboard
from prunebench.api.errors import BoardError
from prunebench.cli import main
from prunebench.leaderboard import overlaps, select, table
from prunebench.leaderboard.overlaps import FILE, Overlap, chosen, current, dump, intersections, measure, parse
from prunebench.leaderboard.plots.mask_overlaps import (
    overlap_caption,
    overlap_map,
    overlap_map_card,
    shown_overlaps,
)
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.tables.sections import sections
from prunebench.tracking import MaskFile, Tracker, tracking_uri

LAYERS = [
    {"name": name, "shape": [size], "total": size, "kept": 0, "flops": 1.0} for name, size in (("a", 10), ("b", 4))
]


def bits(size, kept):
    return np.packbits([index in kept for index in range(size)])


@pytest.fixture
def masks(tmp_path):
    """A file with the masks of two layers, of ten and of four weights, by the places that they keep."""

    def make(name, a, b):
        save_file({"a": bits(10, a), "b": bits(4, b)}, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database of these tests' own; making one takes seconds."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def suite():
    """A name that no other test has."""
    return f"s-{uuid.uuid4().hex}"


@pytest.fixture
def tracked(result, masks, suite, database, tmp_path, monkeypatch):
    """Two methods of two seeds whose masks are in MLflow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    kept = {
        ("good", 0): ({0, 1, 2, 3}, {0}),
        ("poor", 0): ({2, 3, 4, 5}, {0, 1}),
        ("good", 1): ({6, 7, 8, 9}, {3}),
        ("poor", 1): ({6, 7, 8, 9}, {3}),
    }
    results = [
        replace(
            result(method=method, seed=seed, suite=suite, accuracy=0.9 if method == "good" else 0.8),
            layers=LAYERS,
            masks=masks(f"{method}-{seed}", *places),
        )
        for (method, seed), places in kept.items()
    ]
    tracker = Tracker()
    for one in results:
        tracker.publish(one)
    return [replace(one, masks=None) for one in results]


def by_pair(found):
    return {(one.method, one.other): (one.pairs, one.iou, one.chance) for one in found}


def test_masks_of_a_few_bits_overlap_as_reckoned_by_hand(tracked, suite):
    found, complaints = measure(tracked)
    assert complaints == []
    assert {(one.suite, one.task, one.sparsity) for one in found} == {(suite, "digits", 0.9)}
    # Seed 0: 2 of a and 1 of b are the same, of 5 and 6; chance 4·4/10 + 1·2/4 = 2.1. Seed 1: all; 4·4/10 + 1/4 = 1.85.
    by_chance = (2.1 / (11 - 2.1) + 1.85 / (10 - 1.85)) / 2
    assert by_pair(found) == {
        ("good", "poor"): (2, pytest.approx((3 / 8 + 1) / 2), pytest.approx(by_chance)),
        # Between the seeds: none of 5 and 5; none of 6 and 5, where chance is 1.6 + 2·1/4.
        ("good", "good"): (1, 0.0, pytest.approx(1.85 / (10 - 1.85))),
        ("poor", "poor"): (1, 0.0, pytest.approx(2.1 / (11 - 2.1))),
    }


def test_piece_by_piece_is_as_at_once(masks, monkeypatch):
    places = np.random.default_rng(0).random((3, 14)) < 0.5
    files = {}
    for index, row in enumerate(places):
        path = masks(str(index), set(np.flatnonzero(row[:10])), set(np.flatnonzero(row[10:])))
        files[str(index)] = MaskFile(path, {"a": 10, "b": 4})
    whole, chance = intersections(files)
    assert whole.tolist() == (places.astype(int) @ places.astype(int).T).tolist()
    monkeypatch.setattr(overlaps, "_BITS", 1)
    pieces, same = intersections(files)
    assert (pieces.tolist(), same.tolist()) == (whole.tolist(), chance.tolist())


def test_a_layer_without_a_mask_is_dense(masks, tmp_path):
    save_file({"a": bits(10, {0})}, tmp_path / "half")
    files = {
        "half": MaskFile(tmp_path / "half", {"a": 10, "b": 4}),
        "whole": MaskFile(masks("whole", {0, 1}, {2}), {"a": 10, "b": 4}),
    }
    both, chance = intersections(files)
    assert both.tolist() == [[5, 2], [2, 3]]
    assert chance[0, 1] == pytest.approx(1 * 2 / 10 + 4 * 1 / 4)


def test_a_layer_that_nobody_masks_is_counted_whatever_its_size(tmp_path):
    save_file({"a": bits(10, {0})}, tmp_path / "file")
    both, _ = intersections({"one": MaskFile(tmp_path / "file", {"a": 10, "b": 10**15})})
    assert both.tolist() == [[1.0 + 10**15]]


@pytest.mark.parametrize("tensor", [np.zeros(3, np.uint8), np.zeros(2, np.int8), np.zeros((1, 2), np.uint8)])
def test_a_tensor_that_is_not_one_bit_a_weight_is_named(tmp_path, tensor):
    save_file({"a": tensor}, tmp_path / "file")
    with pytest.raises(BoardError, match="the masks of trial one: 'a' is not one bit for each weight"):
        intersections({"one": MaskFile(tmp_path / "file", {"a": 10})})
    save_file({"c": bits(10, {0})}, tmp_path / "file")
    with pytest.raises(BoardError, match="the masks of trial one: 'c' is not one bit for each weight"):
        intersections({"one": MaskFile(tmp_path / "file", {"a": 10})})


def test_the_highest_sparsity_with_the_most_complete_methods_is_compared(result):
    results = [result(method=method, sparsity=s, seed=seed) for method in "ab" for s in (0.5, 0.8) for seed in range(2)]
    results += [result(method="a", sparsity=0.9, seed=seed) for seed in range(2)]
    results += [result(method="b", sparsity=0.9), result(method="b", sparsity=0.9, seed=1, status="failed")]
    sparsity, trials = chosen(results)
    assert sparsity == 0.8
    assert trials == {method: {0: f"{method}-0.8-0", 1: f"{method}-0.8-1"} for method in "ab"}


def test_of_many_methods_and_seeds_the_best_methods_and_the_first_seeds_are_compared(result):
    results = [
        result(method=f"m{index:02}", seed=seed, accuracy=index / 100) for index in range(40) for seed in range(7)
    ]
    _, trials = chosen(results)
    assert sorted(trials) == [f"m{index}" for index in range(10, 40)]
    assert {tuple(seeds) for seeds in trials.values()} == {(0, 1, 2, 3, 4)}


@pytest.fixture
def artifact(tracked, suite):
    """The file of a trial that MLflow has."""
    return lambda trial, name: _artifact(suite, trial, name)


def _artifact(suite, trial, name):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(f"prunebench/{suite}").experiment_id
    (run,) = client.search_runs([experiment], f"tags.prunebench.trial = '{trial}'")
    return Path(run.info.artifact_uri) / name


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("masks.safetensors", b"\xff" * 20, "trial good-0.9-0 cannot be read"),
        ("masks.safetensors", b"", "trial good-0.9-0 cannot be read"),
        ("masks.safetensors", b"0" * 200_000, "good-0.9-0: masks.safetensors is of 200,000 bytes, and its layers need"),
        ("layers.json", b'[{"name": "a"}]', "good-0.9-0: layers.json is no list of layers"),
        ("layers.json", b"[" * 100_000, "good-0.9-0: layers.json is no list of layers"),
        ("layers.json", b'[{"name": "a", "total": 1000000}]', "good-0.9-1 has other layers than the trials"),
        ("layers.json", b'[{"name": "a", "total": -1}]', "good-0.9-0: layers.json is no list of layers"),
    ],
)
def test_a_file_that_no_trial_leaves_costs_the_plot_and_not_the_board(
    tracked, suite, artifact, tmp_path, name, content, complaint
):
    artifact("good-0.9-0", name).write_bytes(content)
    done = CliRunner().invoke(main, ["leaderboard", suite, "--output", "board"])
    assert done.exit_code == 0, done.output
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "board" / "README.md").is_file()
    assert not list((tmp_path / "board").glob("*overlap*"))


def test_masks_that_are_cut_off_are_no_shorter_ones(tracked, artifact):
    path = artifact("poor-0.9-1", "masks.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    found, (complaint,) = measure(tracked)
    assert found == []
    assert complaint.startswith("no mask overlap of digits: the masks of trial poor-0.9-1 cannot be read")


def test_trials_without_masks_are_left_out(tracked, artifact):
    artifact("poor-0.9-1", "masks.safetensors").unlink()
    found, complaints = measure(tracked)
    assert complaints == []
    assert set(by_pair(found)) == {("good", "good")}


def test_a_published_board_keeps_the_overlaps_without_mlflow(tracked, suite, tmp_path, monkeypatch):
    run = CliRunner().invoke
    assert run(main, ["leaderboard", suite, "--output", "board"]).exit_code == 0
    board = tmp_path / "board"
    before = {path.name: path.read_bytes() for path in board.iterdir()}
    assert {"digits-overlap.svg", FILE} <= before.keys()
    assert b"](digits-overlap.svg)" in before["README.md"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    assert run(main, ["leaderboard", "./board", "--output", "board"]).exit_code == 0
    assert run(main, ["leaderboard", "./board", "--output", "copy"]).exit_code == 0
    for folder in ("board", "copy"):
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} == before
    assert run(main, ["leaderboard", "./board", "--check"]).exit_code == 0
    for figure, changed in ((b",1,", b",2,"), (b"0.6875", b"0.0075")):  # how many pairs of masks; what they share
        (board / FILE).write_bytes(before[FILE].replace(figure, changed, 1))
        assert run(main, ["leaderboard", "./board", "--check"]).exit_code == 1


def test_publishing_again_where_the_masks_are_not_keeps_what_is_still_true(tracked, result, tmp_path):
    found, _ = measure(tracked)
    leaderboard.write(tracked, tmp_path / "board", None, found)
    before = (tmp_path / "board" / "digits-overlap.svg").read_bytes()
    leaderboard.write(tracked, tmp_path / "board")
    assert (tmp_path / "board" / "digits-overlap.svg").read_bytes() == before
    renewed = [*tracked[:3], replace(tracked[3], trial="another", finished=1700000200.0)]
    leaderboard.write(renewed, tmp_path / "board")
    assert [(one.method, one.other) for one in parse((tmp_path / "board" / FILE).read_text())] == [("good", "good")]


def test_an_overlap_is_of_its_trials_and_of_no_others(tracked):
    found, _ = measure(tracked)
    assert set(current(found, tracked)) == set(found)
    assert current(found, tracked[:3]) == tuple(one for one in found if (one.method, one.other) == ("good", "good"))
    assert current(found, []) == ()


def test_merged_boards_keep_their_overlaps(tracked, tmp_path):
    leaderboard.write(tracked, tmp_path / "one", None, measure(tracked)[0])
    done = CliRunner().invoke(main, ["merge", "./one", "./one", "--output", "both", "--name", "all"])
    assert done.exit_code == 0, done.output
    merged = parse((tmp_path / "both" / FILE).read_text())
    assert {one.suite for one in merged} == {"all"}
    assert len(merged) == 3


# Text


OVERLAP = Overlap("s", "a, b", 0.9, 'm"1"', "m2", 3, 0.1 + 0.2, 0.05, "0123456789abcdef")


def test_what_is_written_is_read_as_the_same_overlaps():
    others = [replace(OVERLAP, method="a", iou=1.0), replace(OVERLAP, sparsity=0.5, chance=0.0)]
    assert set(parse(dump([OVERLAP, *others]).decode())) == {OVERLAP, *others}
    assert dump([OVERLAP, *others]) == dump([*others[::-1], OVERLAP])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("suite,", "", ":1: the columns are not suite, task"),
        ("0.05", "high", ":2: could not convert"),
        ("0.05", "nan", ":2: chance: nan is not between 0 and 1"),
        ("0.05", "1.5", ":2: chance: 1.5 is not between 0 and 1"),
        (",3,", ",0,", ":2: pairs: 0 is no number of pairs"),
        (",0123456789abcdef", "", ":2: not one value for each column"),
        (",0123456789abcdef", ",1,2", ":2: not one value for each column"),
        ('"a, b"', '"a, b', "not CSV"),
    ],
)
def test_a_line_that_is_not_as_it_must_be_is_named(old, new, complaint):
    text = dump([OVERLAP]).decode()
    assert old in text
    with pytest.raises(BoardError, match=rf"^overlaps\.csv.*{complaint}"):
        parse(text.replace(old, new, 1))


# The map


def test_the_map_has_overlaps_below_chance_above_and_seeds_between(tracked):
    (found, _) = measure(tracked)
    (section,) = sections(table(select(tracked)))
    assert list(section.methods) == ["good", "poor"]
    spec = overlap_map(section, found)
    pairs = {(pair["method"], pair["other"]): (pair["overlap"], pair["chance"]) for pair in spec["data"]["values"]}
    assert {pair: (round(shared), round(chance)) for pair, (shared, chance) in pairs.items()} == {
        ("good", "good"): (0, 23),
        ("good", "poor"): (69, 23),
        ("poor", "poor"): (0, 24),
    }
    card = svg(overlap_map_card(section, found)).decode()
    texts = re.findall(r"<text [^>]*>([^<]+)</text>", card)
    # Both names beside the rows and below the columns; chance in the last column for the diagonal.
    expected = {"good": 2, "poor": 2, "by chance": 1, "69": 1, "0": 2, "23": 2, "24": 1}
    assert {text: texts.count(text) for text in expected} == expected


def test_one_sparsity_is_shown_and_said():
    found = shown_overlaps([OVERLAP, replace(OVERLAP, sparsity=0.8), replace(OVERLAP, sparsity=0.8, method="x")])
    assert {one.sparsity for one in found} == {0.8}
    assert "at 80 % sparsity" in overlap_caption(found)


def test_trials_csv_says_where_training_would_have_stopped(result, tmp_path):
    early = {"early_stop_step": 300.0, "early_stop_accuracy": 0.91}
    leaderboard.write([result(metrics=early), result(seed=1)], tmp_path / "early")
    header, one, other = (tmp_path / "early" / "trials.csv").read_text().splitlines()
    at = header.split(",").index("early_stop_step")
    assert header.split(",")[at + 1] == "early_stop_accuracy"
    assert (one.split(",")[at : at + 2], other.split(",")[at : at + 2]) == (["300.0", "0.91"], ["", ""])
    leaderboard.write([result()], tmp_path / "plain")
    assert "early" not in (tmp_path / "plain" / "trials.csv").read_text()
