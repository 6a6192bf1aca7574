"""Extractive question answering: windows, answers, and metrics as the official script of SQuAD 1.1 computes them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from prunebench_plugins.squad import (
    FACTS,
    QuestionAnswering,
    SQuAD,
    answer_in,
    best_spans,
    exact_match,
    f1,
    mark_of,
    normalized,
    questions_of,
)

import prunebench
from prunebench import Train, session
from prunebench.api.errors import DataError, PrunebenchError, SuiteError
from prunebench.api.files import File
from prunebench.api.tasks import Recipe
from prunebench.data.prepared import prepare
from prunebench.plan.planning import make_plan
from prunebench.suite.checking import exact
from tests import suites
from tests.plugins import hf_folders, tokenizer_files

PAD, UNK, CLS, SEP = range(4)
PASSAGE = "The Denver Broncos won in Santa Clara, on February 7."
SPOKEN = "who where when won played the denver broncos in santa clara , on february 7 . ?"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SPOKEN.split()]


def number_of(word):
    return WORDS.index(word)


def asked(question, *answers, passage=PASSAGE):
    found = [{"text": text, "answer_start": passage.index(text)} for text in answers]
    return {"id": question, "question": question, "answers": found}


def squad(path, *questions, passage=PASSAGE):
    content = {"version": "1.1", "data": [{"title": "a", "paragraphs": [{"context": passage, "qas": list(questions)}]}]}
    path.write_text(json.dumps(content))
    return path


QUESTIONS = (
    asked("who won?", "Denver Broncos", "The Denver Broncos"),
    asked("where?", "Santa Clara"),
    asked("when?", "February 7", "on February 7"),
)


@pytest.fixture
def files(tmp_path):
    return squad(tmp_path / "train.json", *QUESTIONS), squad(tmp_path / "dev.json", *QUESTIONS[:2])


@pytest.fixture
def data(tmp_path, files):
    tokenizer = tokenizer_files.written(tmp_path / "tokenizer.json", words=WORDS)
    given = {"training": str(files[0]), "testing": str(files[1]), "tokenizer": tokenizer, "train": 3, "test": 2,
             "length": 24, "stride": 4}  # fmt: skip
    return lambda **changes: exact(SQuAD, {**given, **changes})


@pytest.fixture
def objective(files):
    return lambda **changes: exact(QuestionAnswering, {"answers": [str(files[1])], **changes})


# --- the official script


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Denver\tBroncos!", "denver broncos"),
        ("an apple-a-day", "appleaday"),  # punctuation goes before articles, and leaves no space
        ("A.D. 7", "ad 7"),
        ("the a an", ""),
        ("theatre of Anne", "theatre of anne"),
        ("1990–1995", "1990–1995"),  # only the punctuation of ASCII
        ("a–b", "–b"),  # an article is a word between any other characters
        ("Beyoncé's", "beyoncés"),
        ("$5,000.50", "500050"),
    ],
)
def test_texts_are_normalized_as_in_the_official_script(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("text", "answer", "exact", "share"),
    [
        ("the Denver Broncos", "Denver Broncos!", 1, 1),
        ("Broncos", "Denver Broncos", 0, 2 / 3),
        ("to be or not to be", "to be", 0, 0.5),
        ("be be be", "be", 0, 0.5),  # counted as often as in both
        ("Carolina", "Denver", 0, 0),
        ("the", "a", 1, 0),  # nothing is left of either: the same text, and no word in common
    ],
)
def test_exact_match_and_f1_are_those_of_the_official_script(text, answer, exact, share):
    assert exact_match(text, answer) == exact
    assert f1(text, answer) == pytest.approx(share)


# --- windows


def test_a_question_and_its_passage_are_one_example(data, files, tmp_path):
    loaded = data().load(None)
    ids, kinds = (loaded.train_inputs[name][1] for name in ("input_ids", "token_type_ids"))
    passage = ["the", "denver", "broncos", "won", "in", "santa", "clara", ",", "on", "february", "7", "."]
    expected = [CLS, *map(number_of, ["where", "?"]), SEP, *map(number_of, passage), SEP]
    assert ids.tolist() == [*expected, *[PAD] * (24 - len(expected))]
    assert kinds.tolist() == [*[0] * 4, *[1] * 13, *[0] * 7]
    assert loaded.train_inputs["attention_mask"][1].tolist() == [*[1] * 17, *[0] * 7]
    start, end, question, window, mark = loaded.train_labels[1, :FACTS].astype(int)
    assert (start, end, question, window, mark) == (9, 10, 1, 0, mark_of(File.at(str(files[0]))))
    begins, ends = loaded.train_labels[1, FACTS:].reshape(2, 24).astype(int)
    assert PASSAGE[begins[9] : ends[10]] == "Santa Clara"
    assert (begins[:4] == -1).all()
    assert (begins[16:] == -1).all()
    prepare(data(), None, tmp_path / "cache")


def test_a_longer_passage_is_cut_into_windows_that_overlap(data, files):
    loaded = data(length=12, train=7, test=5, stride=2).load(None)  # seven tokens of the passage beside "where?"
    rows = loaded.train_labels[loaded.train_labels[:, 2] == 1].astype(int)
    spans = []
    for begins, ends in rows[:, FACTS:].reshape(len(rows), 2, 12):
        inside = begins >= 0
        spans.append(PASSAGE[begins[inside].min() : ends[inside].max()])
    assert spans == ["The Denver Broncos won in Santa Clara", "Santa Clara, on February 7."]
    assert rows[:, 3].tolist() == [0, 1]
    assert rows[:, :2].tolist() == [[9, 10], [4, 5]]


def test_a_window_without_the_whole_answer_has_the_first_token_as_answer():
    offsets = np.array([[-1, -1], [0, 3], [4, 10], [11, 18], [-1, -1]])
    assert answer_in(offsets, (4, "Denver")) == (2, 2)
    assert answer_in(offsets, (0, "The Denver Broncos")) == (1, 3)
    assert answer_in(offsets, (5, "env")) == (2, 2)  # part of a token
    assert answer_in(offsets, (11, "Broncos won")) == (0, 0)
    assert answer_in(offsets[2:], (0, "The Denver")) == (0, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "must have a list `data`, as files of SQuAD 1.1 have"),
        ('{"data": []}', "has no questions"),
        ('{"data": [3]}', "data[0]: must have a list `paragraphs`"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0]: must have a text `context`"),
        ('{"data": [{"paragraphs": [{"context": "a b", "qas": [{"question": "c?", "answers": []}]}]}]}',
         "qas[0]: has no answer; questions without one (SQuAD 2.0) are not supported"),
        ('{"data": [{"paragraphs": [{"context": "a b", "qas": [{"question": "c?", "answers": '
         '[{"text": "a b", "answer_start": 2}]}]}]}]}', "qas[0].answers[0]: `answer_start` is no place of the answer"),
        ('{"data": [{"paragraphs": [{"context": "a b", "qas": [{"question": "c?", "answers": '
         '[{"text": "a", "answer_start": "0"}]}]}]}]}', "qas[0].answers[0]: `answer_start` is no place of the answer"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_told_with_the_place(data, tmp_path, content, words):
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        data(testing=str(path)).load(None)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_suite_must_say_is_told(data):
    with pytest.raises(DataError, match="for these files the suite must say train: 3 and test: 2"):
        data(train=4).load(None)
    with pytest.raises(DataError, match="a question leaves no room for its passage: give a larger length than 8"):
        data(length=8, stride=3).load(None)
    with pytest.raises(DataError, match="has a passage of 9 windows, and at most 8"):
        data(length=10, stride=3).load(None)
    with pytest.raises(ValueError, match="a stride of 20 leaves nothing new"):
        data(stride=20)


# --- the objective


def test_the_best_span_is_found_among_all_pairs_of_a_start_and_an_end():
    drawn = torch.Generator().manual_seed(0)
    outputs = torch.randn(50, 2, 9, generator=drawn)
    for longest in (1, 3, 30):
        score, first, last = best_spans(outputs, longest)
        for row, (starts, ends) in enumerate(outputs):
            pairs = {(i, j): float(starts[i] + ends[j]) for i in range(9) for j in range(i, min(9, i + longest))}
            assert (int(first[row]), int(last[row])) == max(pairs, key=pairs.get)
            assert float(score[row]) == pytest.approx(max(pairs.values()))


def logits(loaded, spans, size, high=9.0):
    """Outputs that are highest at the spans, and as high outside of the passage."""
    outputs = torch.zeros(len(spans), 2, size)
    outputs[:, :, 0] = outputs[:, :, -1] = 2 * high
    for row, (first, last) in enumerate(spans):
        outputs[row, 0, first] = outputs[row, 1, last] = high
    return outputs


def totals(objective, outputs, targets, size):
    found = {}
    for place in range(0, len(outputs), size):
        for name, value in objective.sums(outputs[place : place + size], targets[place : place + size]).items():
            found[name] = found.get(name, 0) + value.double()
    return objective.values(found, len(outputs))


def test_each_question_counts_with_its_best_answer(data, objective):
    loaded = data().load(None)
    targets = torch.from_numpy(loaded.test_labels)
    first = int(targets[0, 0])
    outputs = logits(loaded, [(first - 1, first + 1), (9, 9)], 24)  # "The Denver Broncos", and "Santa" of "Santa Clara"
    for size in (1, 2):
        found = totals(objective(), outputs, targets, size)
        assert found["exact_match"] == 0.5
        assert found["f1"] == pytest.approx((1 + 2 / 3) / 2)
    expected = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets[:, :2].long().flatten())
    assert found["loss"] == pytest.approx(float(expected))
    assert float(objective().loss(outputs, targets)) == pytest.approx(float(expected))


def test_the_best_window_of_a_passage_gives_the_answer(data, objective):
    loaded = data(length=12, train=7, test=5, stride=2).load(None)
    targets = torch.from_numpy(loaded.test_labels)
    rows = (targets[:, 2] == 1).nonzero().flatten().tolist()
    assert len(rows) == 2
    for better, exact_share in ((0, 0.0), (1, 1.0)):
        outputs = logits(loaded, [(4, 5)] * len(targets), 12, 1.0)  # "Santa Clara" in the second window
        outputs[rows[better]] *= 2
        chosen = totals(objective(), outputs[rows], targets[rows], 1)
        assert chosen["exact_match"] == exact_share


def test_training_questions_are_measured_with_the_training_file(data, objective, files):
    targets = torch.from_numpy(data().load(None).train_labels)
    outputs = torch.zeros(3, 2, 24)
    with pytest.raises(PrunebenchError, match="`answers` lacks the file that these questions are from"):
        totals(objective(), outputs, targets, 2)
    both = objective(answers=[str(path) for path in files])
    spans = [tuple(map(int, row[:2])) for row in targets]
    assert totals(both, logits(None, spans, 24), targets, 2)["exact_match"] == 1.0


def test_the_objective_is_for_this_data_alone(objective, data):
    facts = data().facts()
    objective().check(facts)
    assert objective().outputs(facts) == (2, 24)
    assert [metric.name for metric in objective().metrics(facts)] == ["f1", "exact_match"]
    for other in (replace(facts, target_shape=(3,)), prunebench.DataFacts((4,), 3, 5, 5, kind="features")):
        with pytest.raises(ValueError, match="objective 'question-answering' is for"):
            objective().check(other)


def test_keys_follow_the_content_of_the_files(data, files, tmp_path):
    same = squad(tmp_path / "copy.json", *QUESTIONS)
    assert data() == data(training=str(same))
    assert data() != data(training=str(files[1]))
    assert questions_of(File.at(str(same))) == questions_of(File.at(str(files[0])))


def test_a_tiny_network_learns_to_answer(data, objective, tmp_path, tiny, run_stages, registry):
    pytest.importorskip("transformers")
    folder = tmp_path / "bert"
    hf_folders.write(folder, "bert", "encoder", vocab_size=len(WORDS), hidden_dropout_prob=0.0)
    model = exact(registry.find("model", "hf")[0], {"folder": str(folder), "head": "fresh"})
    task = replace(tiny.task(), dataset=data(), model=model, objective=objective(), recipe=Recipe(
        steps=60, batch_size=3, optimizer=tiny.Optimizer(name="adamw", lr=1e-2), evaluate_every="end"))  # fmt: skip
    task = replace(task, weights=model.starting_weights(task.interface))
    chain = run_stages(task, Train())
    assert chain.end.history[-1]["test_exact_match"] == 1.0  # its two questions are among the training questions
    assert chain.end.history[-1]["test_f1"] == 1.0


def test_the_suite_is_planned_on_tiny_files(tmp_path, files, monkeypatch, registry):
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    for folder in ("squad", "bert-base-uncased"):
        (tmp_path / folder).mkdir()
    files[0].rename(tmp_path / "squad" / "train-v1.1.json")
    files[1].rename(tmp_path / "squad" / "dev-v1.1.json")
    hf_folders.write(
        tmp_path / "bert-base-uncased", "bert", "encoder", vocab_size=len(WORDS), max_position_embeddings=384
    )
    tokenizer_files.written(tmp_path / "bert-base-uncased" / "tokenizer.json", words=WORDS)
    suite = next(path for path in suites.SUITES if path.stem == "squad")
    loaded = session.load_suite(suite, settings=["tasks.dataset.train=3", "tasks.dataset.test=2", "seeds=1"])
    plan = make_plan(loaded.trials, {})
    assert [planned.skipped for planned in plan.trials if planned.skipped] == []
    assert len(plan.trials) == 1 + 4 * 4 + 2
    task = loaded.suite.tasks[0]
    assert task.weights.fresh == (r"^(?!bert\.)",)
    assert task.metrics[0].name == "f1"
    text = suite.read_text("utf-8").replace("    objective: {name: question-answering", "    # {")
    (tmp_path / "other.yaml").write_text(text, "utf-8")
    with pytest.raises(SuiteError, match="data set 'squad' needs the objective 'question-answering', and not 'regress"):
        session.load_suite("other.yaml", settings=["tasks.dataset.train=3", "tasks.dataset.test=2", "seeds=1"])
