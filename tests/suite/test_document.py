"""YAML as anybody may write it: positions, plain values, and what is refused before a suite is looked for."""

import time

import pytest

from prunebench.api.errors import SuiteError
from prunebench.messages.suggestions import choices, near, shown
from prunebench.suite import document
from prunebench.suite.nodes import Location, Node, SuiteErrors, written

START = Location(0, 1, 1, "f")


def compose(text, start=START):
    """The root, and the lines of the mistakes."""
    mistakes = SuiteErrors()
    root = document.composed(text, start, mistakes)
    try:
        mistakes.report()
    except SuiteError as error:
        return root, str(error).split("\n")
    return root, []


def plain(text):
    root, lines = compose(text)
    assert lines == []
    return root.plain()


def refusal(text):
    _, [line] = compose(text)
    return line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.2e-3", 0.0012),
        ("1e5", 100000.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("-7", -7),
        ("017", 17),
        ("0o17", 15),
        ("-0x1F", -31),
        ("0b11", 3),
        ("9223372036854775807", 2**63 - 1),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"2024-01-01"', "2024-01-01"),
        ("é", "é"),
        ("=", "="),
        ("[1, [2]]", [1, [2]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("\ufeffa: 1", {"a": 1}),
        ("# nothing", None),
    ],
)
def test_yaml_1_2_becomes_plain_values(text, value):
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


def test_every_value_and_key_knows_its_place():
    root, _ = compose("a: 1\nb:\n  - x\n  - {c: 2}\n")
    c = root.get("b").get(1).get("c")
    assert (str(c.location), str(c.key_location), c.path) == ("f:4:9", "f:4:6", ("b", 1, "c"))
    assert str(root.get("b").get(0).location) == "f:3:5"
    assert root.get("b").get(2) is root.get("b").get(-1) is root.get("x") is c.get("y") is None


def test_what_is_left_empty_stands_at_its_key():
    root, _ = compose("a:\n\nb: {c: , d: 1}")
    assert [str(node.location) for node in (root.get("a"), root.get("b").get("c"))] == ["f:1:1", "f:3:5"]


def test_what_is_written_in_an_option_stands_at_the_option():
    root, lines = compose("{a: 1, a: 2}", Location(3, 0, 0, "--set x"))
    assert str(root.get("a").location) == "--set x"
    assert lines == ["--set x: a: is given twice; the first is in the same text"]


def test_aliases_are_copies_with_paths_of_their_own():
    root, lines = compose("a: &x {n: 1}\nb: *x\n")
    assert lines == []
    root.get("b").value["n"].value = 2
    assert root.plain() == {"a": {"n": 1}, "b": {"n": 2}}
    assert root.get("b").get("n").path == ("b", "n")


def test_merge_keys_fill_in_what_is_not_given():
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: *a, x: 3}\nd: {z: 3, <<: [*a, *b]}\n"
    found = plain(text)
    assert found["c"] == {"x": 3, "y": 1}
    assert found["d"] == {"x": 1, "y": 1, "z": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: .inf", "f:1:4: a: '.inf' is too large or not a number"),
        ("a: -.INF", "f:1:4: a: '-.INF' is too large or not a number"),
        ("a: .NaN", "f:1:4: a: '.NaN' is too large or not a number"),
        ("a: 1e999", "f:1:4: a: '1e999' is too large or not a number"),
        ("a: 9223372036854775808", "f:1:4: a: '9223372036854775808' is too large or not a number"),
        ("a: 2024-01-01", "f:1:4: a: '2024-01-01' is read as a date: write it in quotes"),
        (
            "a: !!binary aGk=",
            "f:1:4: a: the tag '!!binary' is not allowed; if it is text, write it in quotes",
        ),
        (
            "- !!python/object/apply:os.system [ls]",
            "f:1:3: 0: the tag '!!python/object/apply:os.system' is not allowed; if it is text, write it in quotes",
        ),
        ("a: !x {b: 1}", "f:1:4: a: the tag '!x' is not allowed; if it is text, write it in quotes"),
        ("a: !!set {b}", "f:1:4: a: the tag '!!set' is not allowed; if it is text, write it in quotes"),
        ("a: !!int x", "f:1:4: a: 'x' is not a number"),
        ("a: !!float x", "f:1:4: a: 'x' is not a number"),
        ("a: !!bool x", "f:1:4: a: 'x' is not true or false"),
        ('a: "\\ud800"', "f:1:4: a: '\\ud800' is not Unicode text: half of a surrogate pair"),
        ("b: 1\na: 1\nb: 2", "f:3:1: b: is given twice; the first is on line 1"),
        ("1: a", "f:1:1: a key must be a word, not 1"),
        ("~: a", "f:1:1: a key must be a word, not nothing"),
        ("? [a]\n: b", "f:1:3: a key must be a word, not a list or a mapping"),
        ("<<: 3", "f:1:5: << needs a mapping or a list of mappings, not 3"),
        ("a: [", "f:1:5: is not YAML: while parsing a flow node: expected the node content, but found '<stream end>'"),
        ("a: *b", "f:1:4: is not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "f:2:1: is not YAML: expected a single document in the stream: but found another document"),
        ("a: 1\nb: \x01", "f:2:4: is not YAML: it has the character '\\x01'"),
        ('a: "\\U00110000"', "f:1:1: is not YAML: ValueError: chr() arg not in range(0x110000)"),
        ("[" * 1000, "f:1:1: is nested more than 50 deep"),
        ("a: &a [*a]", "f:1:4: is nested more than 50 deep"),
        ("a: &a {<<: *a}", "f:1:4: is nested more than 50 deep"),
        ("a: &a {*a : 1}", "f:1:4: a: a key must be a word, not a list or a mapping"),
        ("[" * 52 + "]" * 52, "f:1:52: is nested more than 50 deep"),
    ],
)
def test_what_a_suite_may_not_hold_is_refused_at_its_place(text, message):
    assert refusal(text) == message


def test_fifty_levels_are_not_too_deep():
    assert plain("[" * 51 + "]" * 51)


def test_nothing_more_is_said_of_what_is_broken():
    root, _ = compose("a: !x 1")
    mistakes = SuiteErrors()
    mistakes.add(root.get("a"), "is wrong")
    mistakes.missing(root.get("a"), "b")
    assert len(mistakes) == 0
    mistakes.add(root.get("a"), "unknown key", at_key=True)
    with pytest.raises(SuiteError, match=r"^f:1:1: a: unknown key$"):
        mistakes.report()


def laughs():
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    return "\n".join(
        [*lines, *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True))]
    )


@pytest.mark.parametrize(
    "text",
    [
        laughs(),
        "a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 2_000 + "]",
        "a: &a {x: 1, y: 2, z: 3}\nb: {<<: [" + "*a, " * 30_000 + "]}",
    ],
    ids=["lists", "a long text", "merges"],
)
def test_aliases_do_not_blow_up(text):
    start = time.process_time()
    assert "has more than 100,000 nodes, with every alias expanded" in refusal(text)
    assert time.process_time() - start < 10


def read_file(path):
    with pytest.raises(SuiteError) as caught:
        document.read(path, SuiteErrors())
    return str(caught.value)


def test_a_file_that_cannot_be_read_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "big").write_bytes(b"#" * 1_000_001)
    paths = {name: type(tmp_path)(name) for name in ("none", ".", "latin", "big", "\0")}
    assert (
        read_file(paths["none"])
        == "none: there is no such file, and no shipped suite has this name; `prunebench suites` lists them"
    )
    assert read_file(paths["."]) == ".: is a directory; name a suite's YAML file"
    assert read_file(paths["latin"]) == "latin: is not UTF-8 text: line 2 has the byte 0xe9"
    assert read_file(paths["big"]) == "big: is larger than 1,000,000 bytes: this is not a suite"
    assert "embedded null byte" in read_file(paths["\0"])


def test_a_file_of_the_largest_size_is_read(tmp_path):
    (tmp_path / "f").write_bytes(b"a: 1\n#" + b"x" * (document.MAX_BYTES - 6))
    assert document.read(tmp_path / "f", SuiteErrors()).plain() == {"a": 1}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert document.read(tmp_path / "f", SuiteErrors()).plain() == {"a": 1}


def test_mistakes_are_sorted_by_place_and_said_once():
    mistakes = SuiteErrors()
    for order, line, text in [(2, 0, "d"), (0, 10, "b"), (1, 0, "c"), (0, 2, "a"), (0, 10, "b")]:
        mistakes.at(Location(order, line, 1, "f" if line else f"--set {order}"), text)
    with pytest.raises(SuiteError) as caught:
        mistakes.report()
    assert str(caught.value).split("\n") == ["f:2:1: a", "f:10:1: b", "--set 1: c", "--set 2: d"]


def test_thousands_of_mistakes_are_counted_not_printed():
    mistakes = SuiteErrors()
    for line in range(1, 1001):
        mistakes.at(Location(0, line, 1, "f"), "x")
    with pytest.raises(SuiteError) as caught:
        mistakes.report()
    lines = str(caught.value).split("\n")
    assert len(lines) == 201
    assert lines[-1] == "... and 800 more errors"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (1e-3, "0.001"),
        ("a'b", '"a\'b"'),
        ("a\nb", "'a\\nb'"),
        ([], "an empty list"),
        ([1, "x"], "[1, 'x']"),
        ({}, "an empty mapping"),
        ({"a": 1}, "a mapping"),
        ("x" * 100, "'" + "x" * 49 + "...'"),
    ],
)
def test_values_are_quoted_on_one_short_line(value, text):
    assert shown(value) == text


def test_keys_that_are_no_words_are_quoted_in_paths():
    assert written(("tasks", 0, "a b", "x\ny", "timm/resnet")) == r"tasks.0.'a b'.'x\ny'.timm/resnet"


def test_the_nearest_word_is_suggested_or_all_are_listed():
    assert near("epoch", ["steps", "epochs"]) == "; did you mean 'epochs'?"
    assert near("zzz", ["steps", "epochs"]) == "; choose from steps, epochs"
    assert near("x", []) == ""
    assert choices([str(number) for number in range(30)]).endswith("18, 19, ... (30 in all)")


def test_plain_values_become_nodes_and_plain_values_again():
    node = Node.of({"a": (1, [2.5, None]), "b": {"c": "x"}}, START)
    assert node.plain() == {"a": [1, [2.5, None]], "b": {"c": "x"}}
    assert node.get("b").get("c").path == ("b", "c")
    assert [str(inner.value) for inner in node.walk() if not isinstance(inner.value, (dict, list))] == [
        "1",
        "2.5",
        "None",
        "x",
    ]
