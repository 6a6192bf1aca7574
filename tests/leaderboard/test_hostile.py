"""A board by anybody: whatever its texts are, no format that it is shown in has more than text of them."""

import csv
import io
import json
import re
from dataclasses import replace

from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from prunebench.cli import main
from prunebench.leaderboard import as_json, markdown, select, table, text
from prunebench.leaderboard import csv as as_csv
from prunebench.leaderboard.boards import published
from prunebench.leaderboard.boards.comparison import as_json as compared_json
from prunebench.leaderboard.boards.comparison import as_markdown, as_text, compare
from prunebench.leaderboard.boards.markers import fill
from prunebench.leaderboard.boards.published import Board, read_board
from prunebench.leaderboard.overlaps import Overlap, dump, parse
from prunebench.leaderboard.publishing import trials
from prunebench.leaderboard.tables.latex import as_latex
from prunebench.messages import plain_text

PIECES = (
    *("<img src=x onerror=alert(1)>", "<script>", "</td>", "<!--", "&lt;b&gt;", "![x](http://evil.example/p.png)"),
    *("[x](javascript:alert(1))", "[a [b] c](u)", "[x][y]", "](u)", "[x", "http://evil.example/", "www.evil.example"),
    *("a@evil.example", "@somebody", "`", "``", "```", "|", "\\", "*", "**", "\\`", "#", "- ", "> ", "1. "),
    *("=HYPERLINK(1)", "+1+1", "-1-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1", " =1", ";=1", ","),
    *("\x1b[31m", "\x1b]8;;http://evil.example\x07", "\x9b31m", "\r", "\n", "\n\n# head\n", "\0", "\x7f", "\x85"),
    *("\u202e", "\u2066", "\u200b", "\u2060", "\ufeff", "\u2028", "\u00ad", "\U000e0041", "\ud800", "\u3164"),
    *("$x$", "\\input{x}", "%", "&", "_", "^", "~", "{", "}", '"', "'", "é日本 ordinary-name_2", "random"),
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=4).map("".join)
FIELDS = (
    "suite",
    "task",
    "method",
    "reason",
    "machine",
    "file",
    "note",
    "param",
    "key",
    "protocol",
    "variant",
    "dense",
)
HOSTILE = st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS))
EVERYTHING = dict.fromkeys(FIELDS, "\x1b[1m\u202e<img src=x>![a](http://x.example)`|\n=1+1")


def board_of(result, texts):
    """A board with a done, a failed, an older and a superseded result, and the dense network."""
    provenance = {"machine": texts["machine"], "suite.file": texts["file"], "note.latency_ms": texts["note"]}
    provenance |= {"key": texts["key"], texts["key"] or "k": texts["note"]}
    shared = {"suite": texts["suite"], "task": texts["task"], "provenance": provenance}
    shared |= {"params": {"task.recipe.note": texts["param"], f"task.{texts['key']}": texts["param"]}}
    made = [
        result(method=texts["method"], sparsity=0.5, **shared),
        result(method=texts["method"] + "2", sparsity=0.5, metrics={"sparsity": 0.4}, **shared),
        result(method=texts["method"], seed=1, status="failed", **{**shared, "reason": texts["reason"]}),
        result(method=texts["dense"], control=True, **shared),
        result(method=texts["method"], sparsity=0.5, variant=texts["variant"], **shared | {"params": {}}),
        result(method=texts["method"], sparsity=0.5, protocol=texts["protocol"], **shared | {"params": {}}),
    ]
    return [replace(one, trial=f"{texts['method']} {place}", finished=2e9 - place) for place, one in enumerate(made)]


def assert_visible(shown):
    assert [c for c in shown if c != "\n" and not c.isprintable()] == []
    assert not plain_text._INVISIBLE & set(shown)


def assert_plain_markdown(page):
    """As GitHub reads it: HTML and links are not made of text, and every picture is the board's own."""
    assert_visible(page)
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    for block in parser.parse(page):
        assert block.type != "html_block", block.content
        for token in block.children or []:
            assert token.type not in ("html_inline", "link_open"), block.content
            if token.type == "image":
                assert re.fullmatch(r"[A-Za-z0-9._-]+\.svg", token.attrs["src"])
            if token.type == "text":
                assert not re.search(r"://|www\.", token.content), block.content


def assert_no_formula(content):
    for row in csv.reader(io.StringIO(content.decode(), newline="")):
        for value in row:
            assert_visible(value)
            if not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?%?", value, re.IGNORECASE):
                assert not re.match(r"\s*[=+\-@\t\r＝＋－＠]", value), row


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@example(EVERYTHING)
@given(HOSTILE)
def test_no_format_has_more_than_text(result, texts):
    results = board_of(result, texts)
    selection = select(results)
    frame = table(selection)
    pages = [markdown(frame, selection)]
    found = compare(Board(texts["suite"], tuple(results)), Board(texts["task"], tuple(results[1:])))
    pages.append(as_markdown(found, everything=True))
    place = "<!-- prunebench:begin mine -->\n<!-- prunebench:end mine -->\n"
    pages.append(
        fill(place, "x.md", "mine", frame)
        .replace("<!-- prunebench:begin mine -->", "")
        .replace("<!-- prunebench:end mine -->", "")
    )
    for page in pages:
        assert_plain_markdown(page)
    for content in (as_csv(frame), as_csv(trials(selection))):
        assert_no_formula(content)
    for shown in (text(frame), as_text(found, 80, everything=True), as_latex(frame)):
        assert_visible(shown)
    for shown in (as_json(frame), compared_json(found), published.dump(results)):
        assert_visible(shown)
    for line in published.dump(results).splitlines():
        json.loads(line)


@settings(phases=[Phase.explicit, Phase.generate])
@given(st.lists(TEXTS, min_size=4, max_size=4))
def test_overlaps_are_no_formulas_and_are_read_again_as_they_are_shown(names):
    suite, task, one, other = map(plain_text.visible, names)
    overlap = Overlap(suite, task, 0.5, one, other, 3, 0.5, 0.1, "0" * 16)
    assert_no_formula(dump([overlap]))
    assert parse(dump([overlap]).decode()) == (overlap,)


@settings(phases=[Phase.explicit, Phase.generate])
@given(TEXTS)
def test_text_is_shown_as_it_is_wherever_it_can(value):
    shown = plain_text.visible(value)
    assert plain_text.visible(shown) == shown
    assert plain_text.of_cell(plain_text.cell(shown)) == shown
    assert json.loads(plain_text.escaped_json(value)) == value
    parsed = MarkdownIt("commonmark", {"html": True}).parseInline(plain_text.markdown(value))[0].children
    assert "".join(token.content for token in parsed).split() == shown.split()


def test_ordinary_text_stays_as_it_is():
    for value in ("imp_shuffle-2", "lr 0.1, hidden [300, 100]", "a < b", "σ ± 1", "-0.5", "+1e-3", "12 %", "out (x)"):
        assert plain_text.visible(value) == value
        assert plain_text.cell(value) == value
    assert plain_text.markdown("lr 0.1, hidden [300, 100] (x)_y") == "lr 0.1, hidden [300, 100] (x)_y"
    assert plain_text.cell(-0.5) == -0.5


def test_the_command_line_prints_no_control_sequence_of_a_board(result, tmp_path, monkeypatch):
    for name, accuracy in (("one", 0.9), ("two", 0.8)):
        results = [replace(one, metrics={**one.metrics, "accuracy": accuracy}) for one in board_of(result, EVERYTHING)]
        (tmp_path / name).mkdir()
        (tmp_path / name / published.FILE).write_text(published.dump(results), "utf-8")
        assert len(read_board(tmp_path / name).results) == len(results)
    monkeypatch.chdir(tmp_path)
    for command in (
        ["leaderboard", "./one"],
        ["compare", "./one", "./two", "--all"],
        ["merge", "./one", "./two", "--output", "both"],
        ["leaderboard", "./one", "--format", "markdown"],
    ):
        done = CliRunner().invoke(main, command, color=True)
        assert done.exit_code == 0, done.output
        assert_visible(done.stdout + done.stderr)
    assert_plain_markdown((tmp_path / "both" / "README.md").read_text("utf-8"))
    for file in (tmp_path / "both").glob("*.csv"):
        assert_no_formula(file.read_bytes())
    for file in (tmp_path / "both").glob("*.svg"):
        assert_visible(file.read_text("utf-8"))
        assert b"evil" not in file.read_bytes()
    page = (tmp_path / "both" / "index.html").read_text("utf-8")
    assert "<img src=x" not in page
    assert "\x1b" not in page
