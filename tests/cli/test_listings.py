"""`prunebench methods`, `models` and `datasets`."""

import json

import pytest

from prunebench.cli.listings import suite_text, unwrapped

LISTINGS = ["methods", "models", "datasets"]


@pytest.mark.parametrize("command", LISTINGS)
def test_a_listing_fits_80_columns_and_ends_no_line_in_blanks(command, prunebench, write):
    result = prunebench(command, "--plugin", write())
    assert result.exit_code == 0
    for line in result.stdout.splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()


def test_a_listing_has_name_summary_paper_and_origin(prunebench, write):
    lines = prunebench("methods", "--plugin", write()).stdout.splitlines()
    assert lines[0].split() == ["method", "summary", "and", "paper", "from"]
    start = next(index for index, line in enumerate(lines) if line.startswith("coin-flip "))
    column = lines[0].index("summary")
    assert lines[start][column:].startswith("Keeps a weight when a coin of [bold]this[/bold]")
    assert lines[start].endswith("coin.py")
    assert any(line[column:].startswith("Fermat and Pascal") for line in lines[start:])


def test_a_listing_is_sorted(prunebench, write):
    names = [found["name"] for found in json.loads(prunebench("methods", "--json", "--plugin", write()).stdout)]
    assert names == sorted(names)
    assert "coin-flip" in names


def test_one_component_is_described_in_full(prunebench, write):
    path = write()
    result = prunebench("methods", "coin-flip", "--plugin", path)
    assert result.exit_code == 0
    page = " ".join(result.stdout.split())
    assert page.startswith("coin-flip Keeps a weight when a coin of [bold]this[/bold] world shows heads.")
    assert "As wise as random pruning, and dearer." in page
    assert "paper Fermat and Pascal, On the division of stakes" in page
    assert "plugin coin" in page
    assert path in "".join(result.stdout.split())
    assert "coins a whole number of at least 1; default 1 how many coins are flipped" in page
    assert "side 'heads' or 'tails'; default heads" in page
    assert "fair their third letter coins: 2, side: heads" in page


def test_json_is_a_list_of_descriptions(prunebench, write):
    path = write()
    (found,) = json.loads(prunebench("methods", "coin-flip", "--json", "--plugin", path).stdout)
    assert (found["kind"], found["name"]) == ("method", "coin-flip")
    assert [parameter["name"] for parameter in found["parameters"]] == ["coins", "side"]
    assert found["plugin"] == {"name": "coin", "distribution": "", "version": "", "file": path}


@pytest.mark.parametrize("command", LISTINGS)
def test_json_of_a_whole_kind_is_for_programs(command, prunebench):
    for found in json.loads(prunebench(command, "--json").stdout):
        assert {"kind", "name", "summary", "reference", "parameters", "presets", "plugin"} <= set(found)


def test_an_unknown_name_is_answered_with_the_nearest(prunebench, write):
    result = prunebench("methods", "coin-flop", "--plugin", write())
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: unknown method 'coin-flop'; did you mean 'coin-flip'?")
    assert result.stdout == ""


def test_a_name_that_two_plugins_claim_is_noted_beside_the_list(prunebench, write):
    result = prunebench("methods", "--plugin", write(), "--plugin", write(name="other.py"))
    assert result.exit_code == 0
    assert "coin-flip" not in result.stdout
    assert "note: method 'coin-flip' is registered by plugin 'coin'" in result.stderr


def test_a_broken_plugin_file_ends_the_listing(prunebench, write):
    path = write("import prunebench\n1 / 0")
    result = prunebench("methods", "--plugin", path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert path in result.stderr
    assert "ZeroDivisionError: division by zero (coin.py:2)" in result.stderr


def test_a_terminal_gets_a_table_that_fits(prunebench, write, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = prunebench("methods", "--plugin", write())
    assert "\x1b[" in result.stdout
    assert "Fermat and Pascal" in result.stdout


def test_values_are_spelled_as_a_suite_spells_them():
    assert [suite_text(value) for value in (True, None, 0.5, "global", "", (1, 2), {"a": 1})] == [
        "true",
        "null",
        "0.5",
        "global",
        '""',
        "[1, 2]",
        '{"a": 1}',
    ]


def test_paragraphs_are_unwrapped_and_indented_ones_kept():
    text = "One\nparagraph.\n\nArgs:\n    a: first\n    b: second"
    assert unwrapped(text) == "One paragraph.\n\nArgs:\n    a: first\n    b: second"
