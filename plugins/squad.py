"""Extractive question answering: data in the form of SQuAD 1.1, and exact match and F1 as in its official script."""

import functools
import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Len
from torch.nn.functional import cross_entropy
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import DataError, PrunebenchError
from prunebench.api.files import File

from .tokens import Tokenizer

WINDOWS = 8
"""The most windows that a passage may be cut into."""
FACTS = 5
"""Numbers of a target before the offsets: start, end, the question, the window of its passage, and the file."""
NOWHERE = -1e30
"""The score of a position at which no answer begins or ends."""


@dataclass(frozen=True)
class Question:
    """A question on a passage, and the answers that are right: where each begins, and its text."""

    text: str
    passage: str
    answers: tuple[tuple[int, str], ...]


class SQuAD(prunebench.Dataset):
    """Questions whose answer is a part of a passage, from JSON files in the form of SQuAD 1.1.

    Each example is a question and a window of its passage, in `length` tokens of a tokenizer's file. A longer passage
    is cut into windows that overlap by `stride` tokens. Inputs are input_ids, attention_mask and token_type_ids. A plan
    reads no data, so a suite says how many windows there are; if there are others, the error says how many.
    """

    name = "squad"
    version = 1
    reference = "Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text, EMNLP"
    made_for = "question-answering"

    training: Annotated[File, Doc("file to train on, such as train-v1.1.json")]
    testing: Annotated[File, Doc("file to test on, such as dev-v1.1.json")]
    tokenizer: Annotated[File, Doc("tokenizer.json of the library tokenizers")]
    train: Annotated[int, Ge(1), Doc("number of training windows")]
    test: Annotated[int, Ge(1), Doc("number of test windows")]
    length: Annotated[int, Ge(8), Doc("tokens of a question and a window together")] = 384
    stride: Annotated[int, Ge(0), Doc("tokens in which two windows of a passage overlap")] = 128

    def __post_init__(self) -> None:
        Tokenizer(self.tokenizer)
        if self.stride >= self.length - 4:
            raise ValueError(f"a stride of {self.stride} leaves nothing new in a window of {self.length} tokens")

    def facts(self) -> prunebench.DataFacts:
        vocabulary = Tokenizer(self.tokenizer).vocabulary
        sizes = {"input_ids": vocabulary, "attention_mask": 2, "token_type_ids": 2}
        inputs = tuple(prunebench.Input((self.length,), "tokens", size, name) for name, size in sizes.items())
        return prunebench.DataFacts(
            inputs=inputs,
            train=self.train,
            test=self.test,
            targets="numbers",
            target_shape=(FACTS + 2 * self.length,),
        )

    def load(self, root: Path | None) -> prunebench.Arrays:
        splits = [self._windows(file) for file in (self.training, self.testing)]
        found = {"train": len(splits[0][1]), "test": len(splits[1][1])}
        if found != {"train": self.train, "test": self.test}:
            raise DataError(f"data set {self.name!r}: for these files the suite must say train: {found['train']} and "
                            f"test: {found['test']}")  # fmt: skip
        return prunebench.Arrays(*splits[0], *splits[1])

    def _windows(self, file: File) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The inputs and the targets of a file: a row for each window."""
        questions = questions_of(file)
        encoded = self._encoded(file, questions)
        rows = [(number, place, window) for number, found in enumerate(encoded) for place, window in enumerate(found)]
        shape = len(rows), self.length
        ids = np.full(shape, Tokenizer(self.tokenizer).padding, np.int32)
        mask, kinds = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        targets = np.full((len(rows), FACTS + 2 * self.length), -1, np.float32)
        for row, (number, place, window) in enumerate(rows):
            size, offsets = len(window.ids), passage_offsets(window)
            ids[row, :size], mask[row, :size], kinds[row, :size] = window.ids, 1, window.type_ids
            targets[row, FACTS:].reshape(2, self.length)[:, :size] = offsets.T
            targets[row, :FACTS] = *answer_in(offsets, questions[number].answers[0]), number, place, mark_of(file)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}, targets

    def _encoded(self, file: File, questions: Sequence[Question]) -> list[list[Any]]:
        """The windows of each question. Raises DataError."""
        pairs = [(one.text, one.passage) for one in questions]
        try:
            encoded = Tokenizer(self.tokenizer).pairs(pairs, self.length, self.stride)
        except ValueError as error:
            raise DataError(f"data set {self.name!r}: {file.path}: {error}") from None
        if (most := max(map(len, encoded))) > WINDOWS:
            raise DataError(f"data set {self.name!r}: {file.path} has a passage of {most} windows, and at most "
                            f"{WINDOWS} are possible: give a larger length or a smaller stride")  # fmt: skip
        return encoded


def passage_offsets(window: Any) -> np.ndarray:
    """Where in the passage each token begins and ends, of shape (tokens, 2); -1 for tokens that are not of it."""
    own = np.array([part == 1 for part in window.sequence_ids])
    return np.where(own[:, None], np.array(window.offsets).reshape(-1, 2), -1)


def answer_in(offsets: np.ndarray, answer: tuple[int, str]) -> tuple[int, int]:
    """The first and the last token of an answer; (0, 0), the first token of all, if it is not all in the window."""
    begin, end = answer[0], answer[0] + len(answer[1])
    own = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(own) or offsets[own[0], 0] > begin or offsets[own[-1], 1] < end:
        return 0, 0
    first = own[np.flatnonzero(offsets[own, 0] <= begin)[-1]]
    last = own[np.flatnonzero(offsets[own, 1] >= end)[0]]
    return int(first), int(last)


# --- files


@functools.lru_cache(maxsize=4)
def questions_of(file: File) -> tuple[Question, ...]:
    """The questions of a file. Raises DataError, with the place of what is wrong."""
    try:
        content = json.loads(file.read())
    except (ValueError, RecursionError):
        raise DataError(f"{file.path} cannot be read as JSON") from None
    found = tuple(_questions(file.path, content))
    if not found:
        raise DataError(f"{file.path} has no questions")
    return found


def _questions(path: str, content: Any) -> Iterator[Question]:
    for article, one in enumerate(_list(path, content, "data", "")):
        for paragraph, part in enumerate(_list(path, one, "paragraphs", f"data[{article}]")):
            place = f"data[{article}].paragraphs[{paragraph}]"
            passage = _text(path, part, "context", place)
            for number, asked in enumerate(_list(path, part, "qas", place)):
                yield _question(path, passage, asked, f"{place}.qas[{number}]")


def _question(path: str, passage: str, asked: Any, place: str) -> Question:
    answers = tuple(
        _answer(path, passage, answer, f"{place}.answers[{number}]")
        for number, answer in enumerate(_list(path, asked, "answers", place))
    )
    if not answers:
        raise DataError(f"{path}, {place}: has no answer; questions without one (SQuAD 2.0) are not supported")
    return Question(_text(path, asked, "question", place), passage, answers)


def _answer(path: str, passage: str, answer: Any, place: str) -> tuple[int, str]:
    text, begin = _text(path, answer, "text", place), answer.get("answer_start")
    if type(begin) is not int or not 0 <= begin <= len(passage) - len(text):
        raise DataError(f"{path}, {place}: `answer_start` is no place of the answer in the passage")
    return begin, text


def _list(path: str, value: Any, key: str, place: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{path}{place and ', '}{place}: must have a list `{key}`, as files of SQuAD 1.1 have")
    return found


def _text(path: str, value: Any, key: str, place: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str) or not found.strip():
        raise DataError(f"{path}, {place}: must have a text `{key}`")
    return found


def mark_of(file: File) -> int:
    """A number of a file's content that float32 holds exactly."""
    return int(file.sha256[:6], 16)


# --- the objective


class QuestionAnswering(prunebench.Objective):
    """The start and the end of an answer: cross-entropy of both; exact match and F1, as the official script has them.

    An answer is the span of at most `longest` tokens of the passage with the highest sum of both logits, over all
    windows of the passage. Each question counts the same, and of several right answers the best one counts.
    """

    name = "question-answering"
    version = 1
    targets = ("numbers",)

    answers: Annotated[
        tuple[File, ...],
        Len(1, 2),
        Doc("the file that the data set tests on, and with `validation` the one it trains on"),
    ]
    longest: Annotated[int, Ge(1), Doc("tokens of an answer at most")] = 30

    def check(self, facts: prunebench.DataFacts) -> None:
        super().check(facts)
        length = facts.every_input[0].shape[0]
        if facts.target_shape != (FACTS + 2 * length,) or not facts.every_input[0].vocabulary:
            raise ValueError(f"objective {self.name!r} is for data as the data set 'squad' gives it")

    def outputs(self, facts: prunebench.DataFacts) -> tuple[int, ...]:
        return (2, *facts.every_input[0].shape)

    def metrics(self, facts: prunebench.DataFacts) -> Sequence[prunebench.Metric]:
        share = {"direction": "higher", "unit": "%", "factor": 100.0, "best": 1.0}
        return [
            prunebench.Metric(name="f1", label="F1", **share),  # type: ignore[arg-type]
            prunebench.Metric(name="exact_match", label="exact match", **share),  # type: ignore[arg-type]
        ]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.smoothed_loss(outputs, targets, 0.0)

    def smoothed_loss(self, outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        return cross_entropy(outputs.flatten(0, 1), targets[:, :2].long().flatten(), label_smoothing=smoothing)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, torch.Tensor]:
        lost = cross_entropy(outputs.flatten(0, 1), targets[:, :2].long().flatten(), reduction="none")
        begins, ends = targets[:, FACTS:].chunk(2, 1)
        outside = (begins < 0)[:, None]
        scores, first, last = best_spans(outputs.masked_fill(outside, NOWHERE), self.longest)
        begin, end = begins.gather(1, first[:, None]), ends.gather(1, last[:, None])
        rows = torch.cat([torch.ones_like(begin), scores[:, None], begin, end], 1).double().cpu()
        questions, places, marks = targets[:, 2:FACTS].long().cpu().unbind(1)
        spans = torch.zeros(len(questions_of(self._file(int(marks[0])))), WINDOWS, 4, dtype=torch.float64)
        spans[questions, places] = rows
        return {"loss": lost.double().sum() / 2, "mark": marks.sum(), "spans": spans}

    def values(self, sums: Mapping[str, torch.Tensor], examples: int) -> Mapping[str, float]:
        questions = questions_of(self._file(round(float(sums["mark"]) / examples)))
        asked = sums["spans"][..., 0].any(1).nonzero().flatten().tolist()
        found = [measured(predicted(questions[one], sums["spans"][one]), questions[one].answers) for one in asked]
        exact, f1 = (sum(values) / len(found) for values in zip(*found, strict=True))
        return {"loss": float(sums["loss"]) / examples, "exact_match": exact, "f1": f1}

    def _file(self, mark: int) -> File:
        """The file that examples are from. Raises PrunebenchError for one that is not in `answers`."""
        found = next((file for file in self.answers if mark_of(file) == mark), None)
        if found is None:
            raise PrunebenchError(
                f"objective {self.name!r}: `answers` lacks the file that these questions are from: give it the files "
                "of the data set, that for training too if the recipe has `validation`"
            )
        return found


def best_spans(outputs: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The highest sum of a start and an end at or behind it, and both places, each of shape (N,).

    Args:
        outputs: logits of shape (N, 2, length).
        longest: tokens of a span at most.
    """
    starts, ends = outputs.unbind(1)
    length = starts.shape[1]
    best = torch.full_like(starts[:, 0], -torch.inf)
    first = last = torch.zeros_like(best, dtype=torch.int64)
    for distance in range(min(longest, length)):
        value, place = (starts[:, : length - distance] + ends[:, distance:]).max(1)
        better = value > best
        best, first = torch.where(better, value, best), torch.where(better, place, first)
        last = torch.where(better, place + distance, last)
    return best, first, last


def predicted(question: Question, windows: torch.Tensor) -> str:
    """The text of the best span of all windows; each has a row: whether it is there, the score, begin and end."""
    scores = windows[:, 1].masked_fill(windows[:, 0] == 0, -torch.inf)
    _, _, begin, end = windows[int(scores.argmax())].tolist()
    return question.passage[int(begin) : int(end)]


def measured(text: str, answers: Sequence[tuple[int, str]]) -> tuple[float, float]:
    """Exact match and F1 of an answer: each with the right answer that gives the most."""
    return max(exact_match(text, one) for _, one in answers), max(f1(text, one) for _, one in answers)


def normalized(text: str) -> str:
    """A text in lower case, without punctuation (of ASCII) and English articles, and with single spaces."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(text: str, answer: str) -> float:
    """1 if two texts are the same when they are normalized, else 0."""
    return float(normalized(text) == normalized(answer))


def f1(text: str, answer: str) -> float:
    """The harmonic mean of the shares of words in common, counted as often as they occur; 0 if there are none."""
    given, right = normalized(text).split(), normalized(answer).split()
    common = sum((Counter(given) & Counter(right)).values())
    return 2 * common / (len(given) + len(right)) if common else 0.0


@prunebench.hookimpl
def register_datasets() -> list[type[prunebench.Dataset]]:
    return [SQuAD]


@prunebench.hookimpl
def register_objectives() -> list[type[prunebench.Objective]]:
    return [QuestionAnswering]
