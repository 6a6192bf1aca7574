"""The pages on the claims of papers are what the published boards give, and ask for rows that suites have."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prunebench import load_suite
from tests.suites import READABLE

ROOT = Path(__file__).parents[2]
FOLDER, BOARDS = ROOT / "reproductions", ROOT / "leaderboard"
REMEDY = "run `python reproductions/make.py`"


@pytest.fixture
def make(script):
    return script("make")


def test_the_published_pages_are_what_the_boards_give(make, script):
    made = make.written(script("answers").Boards(BOARDS, FOLDER))
    assert {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")} == made, REMEDY
    for name, text in made.items():
        links = re.findall(r"\]\(([^):]+?)\)", text)
        assert [one for one in links if not (FOLDER / one).is_file()] == [], name


def test_no_line_of_a_table_has_a_cell_too_many(make, script):
    made = make.written(script("answers").Boards(BOARDS, FOLDER))
    for text in made.values():
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({line.replace("|after − before|", "").count("|") for line in table.splitlines()}) == 1


def test_the_script_writes_the_pages_of_the_boards_that_exist(tmp_path):
    """Of boards in another folder, with links that lead there."""
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "methods").symlink_to(BOARDS / "methods")
    command = [sys.executable, FOLDER / "make.py", "--boards", tmp_path / "boards", "--output", tmp_path / "pages"]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"README.md", "orderings.md"}
    assert "](../boards/methods/README.md)" in (tmp_path / "pages" / "orderings.md").read_text("utf-8")
    assert "[Orderings of methods](orderings.md)" in (tmp_path / "pages" / "README.md").read_text("utf-8")


def test_every_page_names_a_suite_and_its_profile(make):
    for one in make.REPRODUCTIONS:
        if one.command and one.boards[0] in {path.stem for path in READABLE}:
            suite, *options = one.command.split()
            settings = [
                name if key == "--set" else f"profile={name}"
                for key, name in zip(options[::2], options[1::2], strict=True)
            ]
            load_suite(suite, settings=settings)


@pytest.mark.parametrize("name", ["longer-training", "rewinding"])
def test_the_suite_has_every_row_that_its_page_asks_for(script, name):
    asked = {
        (method, sparsity)
        for claim in script(name.replace("-", "_")).CLAIMS
        for method in (claim.better, claim.worse)
        for sparsity in claim.sparsities
        if method != "dense"
    }
    assert asked <= {(trial.entry.label, trial.sparsity) for trial in load_suite(name).trials}


# --- boards that are not published yet, made by hand


def test_longer_training_is_answered_with_its_cost(script, boards, rows):
    def seeds(accuracy, cost):
        return [{"accuracy": accuracy + change, "training_cost": cost} for change in (-0.001, 0.0, 0.001)]

    accuracies = {"static": 0.90, "set": 0.91, "rigl": 0.92, "static-5x": 0.93, "set-5x": 0.94, "rigl-5x": 0.95}
    figures = {(name, 0.9): seeds(value, 0.6 if "5x" in name else 0.12) for name, value in accuracies.items()}
    figures |= {("dense", 0.0): seeds(0.951, 1.0), ("dense-5x", 0.9): seeds(0.96, 5.0)}
    page = script("longer_training").page(boards(longer_training=rows(figures)))
    verdicts = {one.claim: one.verdict for one in page.answers[""]}
    assert verdicts["RigL is better than SET at equal cost"] == "**seen**"
    assert verdicts["SET is better than static masks at equal cost, five times as long"] == "**seen**"
    assert verdicts["RigL is better than SET at equal cost, twice as long"] == "not run"
    assert verdicts["Five times as long, RigL comes up to the dense network, to 0.5 points"] == "**seen**"
    assert verdicts["Five times as long, RigL exceeds the dense network"] == "undecided"
    assert verdicts["Five times as long, RigL still costs less than a dense training"] == "**seen**"
    assert "| dense-5x | – | 96.0 ± 0.1, 5.00× |" in page.details


def test_rewinding_is_answered(script, boards, rows):
    accuracies = {"rewind-0": 0.90, "rewind-5": 0.92, "rewind-10": 0.93, "lr-rewinding": 0.932, "fine-tuned": 0.91}
    figures = {(name, 0.95): (value - 0.001, value, value + 0.001) for name, value in accuracies.items()}
    page = script("rewinding").page(boards(rewinding=rows(figures)))
    verdicts = {one.claim: one.verdict for one in page.answers[""]}
    assert verdicts["Rewinding to 5 % of the training beats rewinding to its start"] == "**seen**"
    assert verdicts["Rewinding to 1 % of the training beats rewinding to its start"] == "not run"
    assert verdicts["Weight rewinding beats fine-tuning"] == "**seen**"
    assert verdicts["Learning-rate rewinding is at least as good as weight rewinding, to 0.5 points"] == "**seen**"
    assert "A ticket that is rewound to the start beats its mask with new weights" in verdicts


def test_what_follows_by_arithmetic(script):
    """15 trainings: 1 - 0.8^14; their costs 1 + 0.8 + ... + 0.8^14 = (1 - 0.8^15) / 0.2 = 4.82."""
    text = " ".join(" ".join(script("unsourced").limits()).split())
    assert "1500 % are 15 trainings: the dense one and 14 levels that each keep 80 %, for a sparsity of 95.6 %" in text
    assert "they cost 482 %, and any number of levels costs less than 500 %" in text
    assert "48.8 % and 59.04 % around 50 %; 79.03 % and 83.22 % around 80 %; 94.5 % and 95.6 % around 95 %" in text
    assert "an accuracy of 91.7 % has a standard error of 0.28 points" in text
