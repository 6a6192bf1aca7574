"""Texts as the tokens of a tokenizer's file, and texts with labels in one table."""

import numpy as np
import pytest

from prunebench.api.errors import DataError
from prunebench.api.files import File
from prunebench.data.prepared import prepare
from prunebench.records.keys import canonical
from prunebench.suite.checking import exact
from tests.plugins.tokenizer_files import WORDS, written

PAD, UNK, CLS, SEP, GOOD, BAD, FILM, VERY = range(8)


@pytest.fixture
def tokenizer(tmp_path):
    return written(tmp_path / "tokenizer.json")


@pytest.fixture
def data(registry, tmp_path, tokenizer):
    """A data set of the file, with parameters as a suite gives them."""

    def make(name, **parameters):
        return exact(registry.find("dataset", name)[0], {"tokenizer": tokenizer, **parameters})

    return make


@pytest.fixture
def reviews(data, tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\nA good film,pos\nBad,neg\n", "utf-8")
    (folder / "test.csv").write_text("label,text\npos,very very very good film\n", "utf-8")
    return lambda **more: data("labelled-text", path="reviews", classes=2, train=2, test=1, length=5, **more)


@pytest.fixture
def table(data, tmp_path):
    rows = [f"{word} film {number},{label},{source}" for number, (word, label, source) in enumerate(
        [("good", "pos", "a"), ("bad", "neg", "a"), ("very", "pos", "b"), ("bad", "neg", "b")] * 3)]  # fmt: skip
    (tmp_path / "all.csv").write_text("\n".join(["review,score,source", *rows, rows[0].replace("pos", "neg")]))
    sizes = {"path": "all.csv", "classes": 2, "length": 16, "columns": ["review", "score"], "tokenizer": None}
    return lambda **more: data("labelled-text", **{**sizes, **more})


def test_texts_have_special_tokens_and_padding_and_a_mask(reviews, tmp_path):
    loaded = reviews().load(tmp_path)
    assert loaded.train_inputs["input_ids"].tolist() == [[CLS, UNK, GOOD, FILM, SEP], [CLS, BAD, SEP, PAD, PAD]]
    assert loaded.train_inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert loaded.test_inputs["input_ids"].tolist() == [[CLS, VERY, VERY, VERY, SEP]]  # cut, with its last token
    assert loaded.train_labels.tolist() == [1, 0]
    prepare(reviews(), tmp_path, tmp_path / "cache")
    first, second = reviews().facts().inputs
    assert (first.name, first.vocabulary, second.name, second.vocabulary) == ("input_ids", 8, "attention_mask", 2)


def test_without_a_mask_there_is_one_input(reviews, tmp_path):
    dataset = reviews(mask=False)
    assert dataset.load(tmp_path).train_inputs.tolist()[1] == [CLS, BAD, SEP, PAD, PAD]
    assert (dataset.facts().shape, dataset.facts().vocabulary) == ((5,), 8)
    prepare(dataset, tmp_path, tmp_path / "cache")


def test_truncation_and_padding_in_the_file_are_replaced_by_the_length(registry, reviews, tmp_path):
    cut = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    filled = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": SEP,
              "pad_type_id": 0, "pad_token": "[SEP]"}  # fmt: skip
    path = written(tmp_path / "other.json", cut, filled)
    loaded = reviews(tokenizer=path).load(tmp_path)
    assert loaded.train_inputs["input_ids"].tolist() == [[CLS, UNK, GOOD, FILM, SEP], [CLS, BAD, SEP, SEP, SEP]]
    assert loaded.train_inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_a_running_text_is_cut_into_windows_of_tokens(data, tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffGood bad film\nvery good bad film")
    dataset = data("text", path="a.txt", length=2, train=2, test=1)
    loaded = dataset.load(tmp_path)
    assert loaded.train_inputs.tolist() == [[GOOD, BAD], [FILM, VERY]]
    assert loaded.train_labels.tolist() == [[BAD, FILM], [VERY, GOOD]]
    assert loaded.test_inputs.tolist() == [[GOOD, BAD]]
    assert (dataset.facts().vocabulary, dataset.facts().kind) == (8, "text")
    prepare(dataset, tmp_path, tmp_path / "cache")
    with pytest.raises(DataError, match="has 3 windows of 2 tokens"):
        data("text", path="a.txt", length=2, train=9, test=1).load(tmp_path)


def test_a_long_text_is_tokenized_in_pieces_that_end_with_lines(data, tmp_path, monkeypatch):
    monkeypatch.setattr("prunebench_plugins.tokens.PIECE", 5)
    (tmp_path / "a.txt").write_text("good bad film\nvery good\nbad film")
    assert data("text", path="a.txt", length=2, train=2, test=1).load(tmp_path).train_inputs.tolist() == [
        [GOOD, BAD], [FILM, VERY]
    ]  # fmt: skip


def test_many_tokens_need_a_larger_type(reviews, tmp_path):
    words = [*WORDS, *(f"word{number}" for number in range(40_000))]
    dataset = reviews(tokenizer=written(tmp_path / "large.json", words=words))
    (tmp_path / "reviews" / "train.csv").write_text("text,label\nword39999,pos\nbad,neg\n")
    assert dataset.facts().inputs[0].vocabulary == 40_008
    assert dataset.load(tmp_path).train_inputs["input_ids"][0, 1] == 40_007
    prepare(dataset, tmp_path, tmp_path / "cache")


def test_keys_follow_the_content_of_the_tokenizer_and_not_its_path(reviews, tmp_path):
    same, other = written(tmp_path / "b.json"), written(tmp_path / "c.json", words=[*WORDS, "more"])
    assert canonical(reviews()) == canonical(reviews(tokenizer=same))
    assert canonical(reviews()) != canonical(reviews(tokenizer=other))


def test_without_new_parameters_keys_are_those_from_before(data):
    found = canonical(data("labelled-text", path="a", classes=2, train=2, test=1, tokenizer=None))
    assert sorted(found["parameters"]) == ["classes", "length", "path", "test", "train"]
    found = canonical(data("text", path="a", train=2, test=1, tokenizer=None))
    assert sorted(found["parameters"]) == ["length", "path", "test", "train"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff\xfe", b'{"version": "1.0", "model": {"type": "None"}}', b"[" * 50_000]
)
def test_a_file_that_is_no_tokenizer_is_told_where_the_suite_names_it(reviews, tmp_path, content):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"wrong\.json' is not a tokenizer\.json of the library tokenizers: "):
        reviews(tokenizer=str(path))


def test_without_the_library_the_extra_is_named(reviews, monkeypatch, tmp_path):
    path = written(tmp_path / "unread.json", words=[*WORDS, "unread"])
    monkeypatch.setattr("prunebench_plugins.tokens.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the library tokenizers: pip install 'prunebench\[hf\]'"):
        reviews(tokenizer=path)


def test_a_tokenizer_in_a_package_is_found_by_the_packages_name():
    found = File.at("package:numpy/numpy/__init__.py")
    assert found.read() == open(np.__file__, "rb").read()  # noqa: PTH123, SIM115
    assert File.at(str(found)) == found
    assert str(found.location) == np.__file__
    for path, words in {
        "package:no-such-package/a": "pip install no-such-package",
        "package:numpy/numpy/nothing": "does not exist: the package has",
        "package:numpy": "does not exist: the package has",
        "package:": "is in a package that is not installed",
        "package:numpy/numpy": "is not a file",
    }.items():
        with pytest.raises(ValueError, match=words):
            File.at(path)


# --- one table


def test_rows_of_one_table_are_drawn_once_for_all_and_no_text_twice(table, tmp_path):
    one = table(train=8, test=4).load(tmp_path)
    texts = [bytes(row) for part in (one.train_inputs, one.test_inputs) for row in part]
    assert len(set(texts)) == 12  # of 13 rows, the last of which repeats the first
    again = table(train=8, test=4).load(tmp_path)
    assert np.array_equal(one.train_inputs, again.train_inputs)
    part = table(train=4, test=2).load(tmp_path)
    assert np.array_equal(part.train_inputs, one.train_inputs[:4])
    labels = {bytes(row): label for row, label in zip(one.train_inputs, one.train_labels, strict=True)}
    assert {text[:3] for text, label in labels.items() if label == 0} == {b"bad"}


def test_rows_are_those_of_a_condition(table, tmp_path):
    loaded = table(train=4, test=2, where="source = b").load(tmp_path)
    words = {bytes(row)[:4] for row in (*loaded.train_inputs, *loaded.test_inputs)}
    assert words == {b"very", b"bad "}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"train": 9, "test": 4}, "has 12 different texts, and the suite asks for train: 9 and test: 4"),
        ({"train": 3, "test": 4, "where": "source=b"}, "has 6 different texts"),
        ({"train": 3, "test": 1, "where": "origin=b"}, "columns, review,score,origin among them, and begins with 'rev"),
        ({"train": 3, "test": 1, "columns": ["text", "score"]}, "columns, text,score among them"),
        ({"train": 3, "test": 1, "classes": 3}, r"the suite must say \{classes: 2, train: 3, test: 1\}"),
    ],
)
def test_what_one_table_does_not_have_is_told(table, tmp_path, parameters, words):
    with pytest.raises(DataError, match=words):
        table(**parameters).load(tmp_path)


@pytest.mark.parametrize("where", ["source", "=b", " = b"])
def test_a_condition_without_a_column_or_a_value_is_told(table, where):
    with pytest.raises(ValueError, match="is not a condition on rows: write COLUMN=VALUE"):
        table(train=3, test=1, where=where)


def test_a_table_in_a_package_needs_no_folder_of_data(table):
    with pytest.raises(DataError, match=r"numpy.*__init__\.py must begin with the names of its columns"):
        table(path="package:numpy/numpy/__init__.py", train=3, test=1).load(None)
    with pytest.raises(DataError, match="pip install no-such-package"):
        table(path="package:no-such-package/a.csv", train=3, test=1).load(None)
    assert table(path="package:no-such-package/a.csv", train=3, test=1).signature(None) == ""
    assert table(path="package:numpy/numpy/__init__.py", train=3, test=1).signature(None)
