"""The page that needs no network, as text; `test_in_a_browser.py` has what it does there."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from prunebench.leaderboard import as_html, select, table
from prunebench.leaderboard.tables.html import inline
from prunebench.leaderboard.tables.markdown import as_markdown
from prunebench.leaderboard.tables.model import Page, Paragraph, said


class Outline(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(results):
    selection = select(results)
    return as_html(table(selection), selection)


@pytest.fixture
def board(result, seeds):
    return [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.900, 0.911, 0.913, method="good", sparsity=0.98),
        *seeds(0.810, 0.802, 0.821, method="poor"),
        result(method="poor", sparsity=0.98, status="failed"),
    ]


def test_the_page_refers_to_nothing_outside_of_it(board):
    page = Outline(page_of(board))
    addresses = [a[name] for _, a in page.elements for name in ("src", "href", "srcset", "data", "action") if name in a]
    assert addresses
    assert [one for one in addresses if not one.startswith(("#", "data:image/svg+xml;base64,"))] == []
    assert page.all("link") == page.all("iframe") == page.all("object") == []


def test_the_policy_allows_the_pages_own_scripts_and_no_others(board):
    text = page_of(board)
    (policy,) = [one["content"] for one in Outline(text).all("meta") if "http-equiv" in one]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 4
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert sorted(re.findall(r"'sha256-([^']+)'", policy)) == sorted(hashes)
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    assert "sourceMappingURL" not in text


@pytest.mark.parametrize(
    "label",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</script><script>alert(1)</script>",
        "![x](https://example.org/x.png)",
        "[x](javascript:alert(1))",
        "<!-- --> ]]> `code` &amp; 'quotes'",
    ],
)
def test_a_label_is_text_whatever_it_says(label, seeds):
    clean = Outline(page_of([*seeds(0.9, 0.8, method="plain"), *seeds(0.9, 0.8, method="other")]))
    text = page_of([*seeds(0.9, 0.8, method="plain"), *seeds(0.9, 0.8, method=label)])
    page = Outline(text)
    for tag in ("script", "img", "a", "iframe"):
        assert len(page.all(tag)) == len(clean.all(tag)), tag
    assert "alert" not in str([attributes for tag, attributes in page.elements if tag not in ("img", "meta")])
    first = re.search(r"[\w-]+", label)[0]
    assert first in page.text


def test_a_specification_with_a_script_in_it_is_read_as_it_was(seeds):
    label = "</script><!--<script>&amp;"
    text = page_of([*seeds(0.9, 0.8, method=label), *seeds(0.7, 0.8, method="b")])
    found = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)]
    assert [sorted(one["method"] for one in spec["usermeta"]["methods"]) for spec in found] == [[label, "b"]] * 2


def test_tables_have_captions_and_headers_with_a_scope(board):
    text = page_of(board)
    page = Outline(text)
    assert len(page.all("caption")) == len(page.all("table")) >= 4
    assert {one.get("scope") for one in page.all("th")} == {"col", "row"}
    assert "<caption" in text
    captions = re.findall(r"<caption[^>]*>(.*?)</caption>", text, re.DOTALL)
    assert all(captions)
    assert any("mean ± sample standard deviation over 3 seeds" in one for one in captions)


def test_pictures_have_texts_and_plots_name_their_tables(board):
    page = Outline(page_of(board))
    assert all(one.get("alt") for one in page.all("img"))
    assert len(page.all("figure")) == len(page.all("figcaption")) == 2
    assert page.all("html")[0]["lang"] == "en"
    assert ("main", {"id": "content", "tabindex": "-1"}) in page.elements


def test_a_plot_has_a_heading_and_brings_its_caption(board):
    text = page_of(board)
    for title in ("Test accuracy against sparsity", "Test accuracy against training cost"):
        assert len(re.findall(rf"<h3 id=[^>]*>{title}</h3>", text)) == 1
    assert "the Pareto front of the methods shown" in re.findall(r"<figcaption>(.*?)</figcaption>", text, re.DOTALL)[1]


def test_marks_of_our_own_words_are_marked_and_those_of_values_are_text():
    words = said("*em*, **strong**, `code` and {}", "*not* `marked` <b>")
    assert inline(words) == ("<em>em</em>, <strong>strong</strong>, <code>code</code> and *not* `marked` &lt;b&gt;")
    assert as_markdown(Page((Paragraph(words),))) == "*em*, **strong**, `code` and \\*not\\* \\`marked\\` &lt;b>\n"


def test_long_commands_and_long_tables_scroll_within_the_page(board, result):
    asked = {"suite.file": "suites/" + "x" * 200 + ".yaml"}
    text = page_of([*board, *(result(method=f"m{number}", provenance=asked) for number in range(60))])
    assert text.count('<pre class="scroll" role="region" tabindex="0"') == 1
    assert '<div class="scroll tall" role="region" tabindex="0"' in text
    assert '<td class="left words">' in text
    assert 'class="scroll tall" role' not in page_of(board)  # what fits is shown whole


def test_each_task_is_a_section_that_the_navigation_leads_to(result):
    page = Outline(page_of([result(task="One"), result(task="one"), result(task="ein & zwei")]))
    sections = [one["id"] for one in page.all("section")]
    assert sections == ["one", "ein-zwei", "one-2", "what-the-numbers-mean"]
    links = [one["href"] for one in page.all("a") if one["href"] != "#content"]
    assert links[: len(sections)] == [f"#{name}" for name in sections]
    assert "#one-every-row" in links
    places = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(places)) == len(places)
    assert {link.removeprefix("#") for link in links} <= set(places)


def test_a_page_without_results_has_no_libraries():
    text = page_of([])
    assert len(text) < 50_000
    assert "vegaEmbed(plot" in text


def test_the_libraries_are_there_with_their_licences(board):
    text = page_of(board)
    for name in ("vega 6.4.0", "vega-lite 6.4.3", "vega-embed 7.3.0"):
        assert name in text
    assert "Redistributions of source code must retain the above copyright notice" in text


def test_the_page_of_the_same_results_is_the_same(board):
    assert page_of(board) == page_of(board[::-1])
