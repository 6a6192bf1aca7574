"""The data behind a published board, as text and back."""

import json
import math
from dataclasses import replace

import pytest

from prunebench.api.errors import BoardError
from prunebench.leaderboard.boards.published import FILE, dump, parse, read_board, wanted


@pytest.fixture
def board(result, seeds):
    layers = [{"name": "1.weight", "shape": [10, 100], "total": 1000, "kept": 100, "flops": 2000.0}]
    history = [{"step": 10.0, "time": 1700000050.25, "test_accuracy": 0.5}]
    return [
        *seeds(0.93, 0.941, method="unpruned", control=True),
        *[replace(one, layers=layers, history=history) for one in seeds(0.92, 0.931, method="good")],
        result(method="good", sparsity=0.98, metrics={"loss": math.inf}),
        result(method="poor", status="failed", reason='out of "memory"\n| <b>'),
    ]


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def changed(text, number, **changes):
    """The text with other values in the line of this number, as an editor counts."""
    found = text.splitlines()
    found[number - 1] = json.dumps({**json.loads(found[number - 1]), **changes})
    return "\n".join(found)


def test_what_is_written_is_read_as_the_same_results(board):
    results, asked = parse(dump(board))
    assert {one.trial: one for one in results} == {one.trial: one for one in board}
    assert asked is None


def test_what_was_asked_for_is_kept_with_what_is_missing(board):
    cells = [("digits", "good", 0.9, seed) for seed in range(3)]
    results, asked = parse(dump(board, cells))
    assert asked == set(cells)
    assert sorted((one.method, one.seed) for one in results) == [("good", 0), ("good", 1)]


def test_a_trial_has_a_line_and_what_all_share_is_said_once(board):
    header, *rest = lines(dump(board))
    assert header["version"] == 1
    common = [line for line in rest if "trial" not in line]
    assert len(common) == 1
    assert common[0]["params"] == {"task.dataset.name": "digits", "task.recipe.epochs": 40}
    assert common[0]["provenance"]["machine"] == "one machine"
    assert len(rest) == 1 + len(board)
    assert all("task.recipe.epochs" not in line["params"] for line in rest[1:])


def test_trials_of_another_machine_stand_below_a_line_of_their_own(board, result):
    elsewhere = result(method="good", seed=7)
    elsewhere = replace(elsewhere, provenance=elsewhere.provenance | {"machine": "another"})
    common = [line["provenance"]["machine"] for line in lines(dump([*board, elsewhere])) if "protocol" in line]
    assert sorted(common) == ["another", "one machine"]


def test_true_and_one_are_not_the_same_param(result):
    one = replace(result(), params={"task.prunable.first": 1})
    true = replace(result(seed=1), params={"task.prunable.first": True})
    found = {one.seed: one.params["task.prunable.first"] for one in parse(dump([one, true]))[0]}
    assert (type(found[0]), type(found[1])) == (int, bool)


def test_the_order_of_results_does_not_change_a_byte(board):
    assert dump(board) == dump(board[::-1])


def test_what_was_read_is_written_as_the_same_bytes(board):
    assert dump(parse(dump(board))[0]) == dump(board)
    counted = dump([replace(one, metrics=one.metrics | {"steps": 100}) for one in board if one.status == "done"])
    assert dump(parse(counted)[0]) == counted


def test_of_two_results_of_a_trial_the_better_and_newer_is_kept(result):
    old, new = result(accuracy=0.1, finished=1.0), result(accuracy=0.2, finished=2.0)
    failed = result(status="failed", finished=3.0)
    assert wanted([old, failed, new]) == [new]


def test_a_board_is_read_from_its_folder(board, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / FILE).write_text(dump(board), "utf-8")
    found = read_board(tmp_path / "mine")
    assert found.name == "mine"
    assert len(found.results) == len(board)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "is not a published board"),
        (b"", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"not json\n", "trials.jsonl:1: not JSON"),
        (b"[1, 2]\n", "trials.jsonl:1: not a JSON object"),
        (b'{"format": "else"}\n', "trials.jsonl:1: this is no list of trials"),
        (b'{"format": "prunebench trials", "version": 2}\n', "version 2 of the format is not known"),
        (b"[" * 100_000, "trials.jsonl:1: not JSON"),
    ],
)
def test_a_file_that_is_no_board_says_so(content, complaint, tmp_path):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BoardError, match=complaint):
        read_board(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": "0"}, "seed: Input should be a valid integer"),
        ({"sparsity": 1.5}, "sparsity: 1.5 is not between 0 and 1"),
        ({"sparsity": "nan"}, "sparsity: Input should be a valid number"),
        ({"status": "splendid"}, "status: Input should be 'done', 'failed' or 'skipped'"),
        ({"metrics": {"accuracy": "high"}}, "metrics.accuracy: Input should be a valid number"),
        ({"metrics": {"parameters_prunable": 10.5}}, "metrics.parameters_prunable: 10.5 is no count"),
        ({"metrics": {"collapsed_layers": "inf"}}, "metrics.collapsed_layers: inf is no count"),
        ({"finished": 1e300}, "finished: 1e.300 is no time"),
        ({"params": [1]}, "params: Input should be"),
        ({"provenance": {"machine": 5}}, "provenance.machine: Input should be a valid string"),
        ({"masks": "/etc/passwd"}, "a trial has no masks"),
        ({"protocol": "another"}, "a trial has no protocol"),
        ({"layers": [[1]]}, "layers.0: Input should be"),
        ({"__class__": "x"}, "a trial has no __class__"),
    ],
)
def test_a_line_that_is_not_as_it_must_be_is_named(board, changes, complaint):
    with pytest.raises(BoardError, match=f"^trials.jsonl:3: .*({complaint})"):
        parse(changed(dump(board), 3, **changes))


def test_lines_out_of_their_order_are_named(board):
    text = dump(board).splitlines()
    with pytest.raises(BoardError, match=r"^trials\.jsonl:2: a trial stands before the line"):
        parse("\n".join([text[0], *text[2:]]))
    with pytest.raises(BoardError, match=r"^trials\.jsonl:4: trial 'good-0\.9-0' is there twice"):
        parse("\n".join([*text[:3], text[2]]))
    with pytest.raises(BoardError, match=r"^trials\.jsonl:2: neither a trial nor what trials share: suite unknown"):
        parse("\n".join([text[0], json.dumps({k: v for k, v in json.loads(text[1]).items() if k != "suite"})]))
    with pytest.raises(BoardError, match=r"^trials\.jsonl:2: a missing trial has"):
        parse(text[0] + '\n{"missing": "a", "task": "t", "sparsity": 0.5, "seed": true}')


def test_a_file_that_was_cut_off_is_no_shorter_board(board):
    text = dump(board)
    with pytest.raises(BoardError, match="not JSON"):
        parse(text[:-20])
