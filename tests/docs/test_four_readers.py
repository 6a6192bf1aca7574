"""Four readers, each with a question that one command on a published board answers, or one look at its page."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from prunebench.cli import main

BOARDS = Path(__file__).parents[2] / "leaderboard"


@pytest.fixture
def printed(monkeypatch):
    """What `prunebench` prints on a terminal of 80 columns, in lines."""
    monkeypatch.setenv("COLUMNS", "80")

    def printed(*arguments):
        result = CliRunner().invoke(main, [str(one) for one in arguments])
        assert result.exit_code == 0, result.output
        lines = result.output.splitlines()
        assert all(len(line) <= 80 for line in lines)
        return lines

    return printed


def first_paragraph(board, task):
    """The sentences below the heading of a task on a board's page, before its first table."""
    text = (BOARDS / board / "README.md").read_text("utf-8")
    return text.partition(f"## {task}\n")[2].partition("\n|")[0]


def row(lines, method):
    """The line of a method in the first table that has one."""
    return next(line for line in lines if line.split()[:1] == [method])


def test_a_researcher_sees_a_score_of_their_own_beside_all_others(printed, tmp_path):
    """91.4 % at 95 % sparsity: above SNIP and below tickets, and said to be measured elsewhere."""
    (tmp_path / "mine.csv").write_text(
        "task,method,sparsity,metric,value,source\ndigits-mlp,mine,0.95,accuracy,91.4,my notebook\n", "utf-8"
    )
    lines = printed("leaderboard", BOARDS / "digits", "--reported", tmp_path / "mine.csv")
    assert "91.4" in row(lines, "mine")
    assert any(line.startswith("snip ") for line in lines)
    assert "not measured here and not ranked: mine (reported) from my notebook" in " ".join(lines)


def test_a_reviewer_sees_whether_a_difference_means_anything(printed):
    """Tickets with and without iterations differ by 0.1 points at 90 %, and SNIP is two points behind."""
    lines = printed("leaderboard", BOARDS / "digits", "--where", "target_sparsity=0.9", "--sort", "accuracy")
    assert row(lines, "imp").split()[-2:] == ["best", "4.67×"]
    assert "within one point" in row(lines, "ticket-one-shot")
    assert "worse" in row(lines, "snip")


def test_a_team_lead_sees_what_accuracy_costs_to_train(printed):
    """At once on the page; and under a budget of their own, by one command."""
    said = first_paragraph("digits", "digits-mlp")
    assert "**Best at each sparsity**: imp" in said
    assert "**Best for a training cost**" in said
    assert "synflow" in said.partition("**Best for a training cost**")[2]
    assert "**Not worth their cost**" in said
    budget = "training_cost<=1.2, sparsity>=0.949"
    lines = printed("leaderboard", BOARDS / "digits", "--where", budget, "--sort", "accuracy")
    assert lines[2].startswith("ticket-one-shot")


def test_an_engineer_sees_which_network_to_deploy_and_how_much_faster_it_is(printed):
    """In a sentence for each runtime, which also says what INT8 alone gives, and that single zeros give nothing."""
    said = first_paragraph("deploy", "digits-resnet20")
    assert "**The fastest within one point of dense** (batch 1)" in said
    assert "times as fast as the dense network in float32 there" in said
    words = " ".join(printed("leaderboard", BOARDS / "deploy"))
    sentence = words.partition("digits-resnet20: Test")[2].partition("In onnxruntime (batch 1)")[2].partition(" In ")[0]
    assert "group-norm- distilled at 87.5 % is 10.0 times as fast as the dense network" in sentence
    assert "INT8 alone gives 1.5 times the speed" in sentence
    assert "whose zeros no kernel skips, are not faster" in sentence
