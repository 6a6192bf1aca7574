"""The page about the methods leaves none out."""

import re
from pathlib import Path

import pytest

from prunebench.api import plugins

METHODS = plugins.load().components["method"]
PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")
NUMBER, ELSEWHERE = r"\d{4}\.\d{5}", r"https://iclr\.cc/virtual/\d{4}/poster/\d+"
PAPER = rf"https://arxiv\.org/abs/{NUMBER}|{ELSEWHERE}"
"""On arXiv; on the conference's own pages for a paper that is not there."""
BUILT_IN = sorted(name for name, cls in METHODS.items() if plugins.load().origins[cls].distribution and not cls.control)

WITHOUT_PAPER = ("imported",)
"""What comes from a source that the suite names."""


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_method_has_its_row_with_paper_and_cost(name):
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    assert re.search(PAPER, rows[0]) or name in WITHOUT_PAPER
    assert rows[0].replace(r"\|", "").count("|") == 5


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_papers_are_those_of_the_method(name):
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    cited, own = (re.findall(rf"{NUMBER}|{ELSEWHERE}", text) for text in (row, METHODS[name].reference))
    assert set(cited) & set(own) or name in WITHOUT_PAPER


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_preset_is_explained(name):
    assert [preset for preset in METHODS[name].presets if f"`{preset}`" not in PAGE] == []


def test_no_row_is_about_a_method_that_is_gone():
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE, re.MULTILINE)) == set(BUILT_IN)
