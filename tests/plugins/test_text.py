"""Text as bytes: windows of a running text, and texts with labels."""

import re

import numpy as np
import pytest

from prunebench.api.errors import DataError, SuiteError
from prunebench.data.prepared import prepare
from prunebench.suite import read_suite

SENTENCE = "".join(f"line {number}: naïve café\n" for number in range(40))
CONTENT = SENTENCE.encode()


@pytest.fixture
def text(built_in):
    return lambda **parameters: built_in("dataset", "text", **{"path": "a.txt", "length": 8, **parameters})


@pytest.fixture
def labelled(built_in):
    sizes = {"path": "reviews", "classes": 2, "train": 3, "test": 2, "length": 6}
    return lambda **parameters: built_in("dataset", "labelled-text", **{**sizes, **parameters})


@pytest.fixture
def reviews(tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "train.csv").write_text('text,label\ngood,pos\n"bad, very\nbad",neg\nfine,pos\n', "utf-8")
    (folder / "test.csv").write_text("label,text\npos,great\nneg,no\n", "utf-8")
    return folder


def test_windows_follow_each_other_and_targets_are_the_next_bytes(text, tmp_path):
    (tmp_path / "a.txt").write_bytes(CONTENT)
    windows = (len(CONTENT) - 1) // 8
    loaded = text(train=windows - 4, test=4).load(tmp_path)
    inputs = np.concatenate([loaded.train_inputs, loaded.test_inputs]).ravel()
    targets = np.concatenate([loaded.train_labels, loaded.test_labels]).ravel()
    assert inputs.tobytes() == CONTENT[: 8 * windows]
    assert targets.tobytes() == CONTENT[1 : 8 * windows + 1]
    assert loaded.test_inputs.shape == (4, 8)


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(text, tmp_path):
    for name, content in {"b.txt": "b" * 20, "a.txt": "a" * 20, ".hidden": "h" * 20}.items():
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / name).write_text(content)
    loaded = text(path="texts", train=4, test=1).load(tmp_path)
    assert loaded.train_inputs.tobytes() == b"a" * 20 + b"\n" + b"b" * 11


def test_another_number_of_windows_is_told(text, tmp_path):
    (tmp_path / "a.txt").write_bytes(CONTENT)
    windows = (len(CONTENT) - 1) // 8
    with pytest.raises(DataError, match=f"has {windows} windows of 8 bytes, .* together they must be {windows}"):
        text(train=3, test=4).load(tmp_path)


@pytest.mark.parametrize("root", [None, "empty"])
def test_what_is_not_there_is_looked_for_in_a_place(text, tmp_path, root):
    with pytest.raises(DataError, match=r"data set 'text' is not there; looked for\n.*a\.txt"):
        text(train=3, test=4).load(root and tmp_path)


def test_what_is_not_text_is_refused(text, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc\xff\xfe and so on")
    with pytest.raises(DataError, match="is not text in UTF-8: byte 3 is 0xff"):
        text(train=1, test=1).load(tmp_path)


def test_a_changed_file_is_read_again(text, tmp_path):
    path, dataset = tmp_path / "a.txt", text(train=2, test=1)
    path.write_text("abcdefgh" * 3 + "z")
    first = prepare(dataset, tmp_path, tmp_path / "cache")
    path.write_text("ABCDEFGH" * 3 + "zz")
    assert prepare(dataset, tmp_path, tmp_path / "cache").fingerprint != first.fingerprint


def test_pythons_documentation_needs_no_folder_and_repeats_no_paragraph(built_in, tmp_path):
    dataset = built_in("dataset", "pydoc", length=32)
    facts = dataset.facts()
    assert facts.test == (facts.train + facts.test) // 10
    prepare(dataset, None, tmp_path)  # raises for data that is not what its facts say
    loaded = dataset.load(None)
    train, test = (part.tobytes().decode(errors="replace") for part in (loaded.train_inputs, loaded.test_inputs))
    assert '"assert" statement' in train
    long = [paragraph for paragraph in test.split("\n\n")[1:-1] if len(paragraph) > 200]
    assert len(long) > 10
    assert not any(paragraph in train for paragraph in long)


def test_labels_and_texts_come_from_columns_in_any_order(labelled, reviews, tmp_path):
    loaded = labelled().load(tmp_path)
    assert [bytes(row) for row in loaded.train_inputs] == [b"good\0\0", b"bad, v", b"fine\0\0"]
    assert loaded.train_labels.tolist() == [1, 0, 1]
    assert [bytes(row) for row in loaded.test_inputs] == [b"great\0", b"no\0\0\0\0"]
    assert loaded.test_labels.tolist() == [1, 0]
    prepare(labelled(), tmp_path, tmp_path / "cache")


def test_labels_may_be_folders(labelled, tmp_path):
    for place, content in {
        "train/neg/1": "bad", "train/pos/1": "good", "train/pos/2": "fine", "test/neg/1": "no", "test/pos/9": "great"
    }.items():  # fmt: skip
        path = tmp_path / "reviews" / f"{place}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    loaded = labelled().load(tmp_path)
    assert [bytes(row).rstrip(b"\0") for row in loaded.train_inputs] == [b"bad", b"good", b"fine"]
    assert loaded.train_labels.tolist() == [0, 1, 1]


def test_zeros_in_a_text_are_no_padding(labelled, reviews, tmp_path):
    (reviews / "test.csv").write_bytes(b"text,label\na\0b,pos\nc,neg\n")
    assert bytes(labelled().load(tmp_path).test_inputs[0]) == b"a b\0\0\0"


def test_what_the_suite_must_say_is_told(labelled, reviews, tmp_path):
    with pytest.raises(DataError, match=r"the suite must say \{classes: 2, train: 3, test: 2\}"):
        labelled(train=9).load(tmp_path)


def test_only_the_ends_of_lines_end_rows(labelled, reviews, tmp_path):
    (reviews / "test.csv").write_bytes("text,label\r\na\u2028\x0cb,pos\r\n\r\nc,neg\r\n".encode())
    loaded = labelled().load(tmp_path)
    assert [bytes(row).rstrip(b"\0") for row in loaded.test_inputs] == ["a\u2028\x0cb".encode(), b"c"]
    assert loaded.test_labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "words,label\na,b\n",
            "begin with the names of its columns, text,label among them, and begins with 'words,label'",
        ),
        ("", "names of its columns, text,label among them, and begins with ''"),
        ("text,label\na,b\nc\n", "line 3: there are 1 columns, and should be 2"),
        ("text,label\n" + "a" * 140_000 + ",b\n", "line 2, cannot be read as CSV: field larger than field limit"),
    ],
)
def test_a_table_that_does_not_fit_is_told_with_its_line(labelled, reviews, tmp_path, content, message):
    (reviews / "train.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        labelled().load(tmp_path)


def test_a_folder_without_texts_says_what_it_should_hold(labelled, tmp_path):
    (tmp_path / "reviews").mkdir()
    with pytest.raises(DataError, match=r"has neither train\.csv nor a folder train.CLASS for each class"):
        labelled().load(tmp_path)


def test_a_running_text_holds_out_its_end_whatever_the_seed(registry, tmp_path):
    text = """\
name: s
tasks:
  - dataset: {name: pydoc, length: 64}
    model: {name: gpt, width: 16, depth: 1, heads: 2}
    recipe: {steps: 3, batch_size: 2, optimizer: {name: sgd, lr: 1}, validation: 8, validation_draw: seed}
methods: [random]
sparsities: [0.5]
seeds: 1
"""
    (tmp_path / "s.yaml").write_text(text)
    message = "s.yaml:5:102: tasks.0.recipe.validation_draw: the validation examples of a running text, as in 'pydoc'"
    with pytest.raises(SuiteError, match=re.escape(message)):
        read_suite(tmp_path / "s.yaml", registry)
