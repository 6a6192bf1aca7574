"""Inputs and targets of every kind: stored as they are, checked, verified, and what a network is given of them."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

import prunebench
from prunebench import DataFacts
from prunebench.api.components import Input
from prunebench.api.errors import BrokenDataset, DamagedData
from prunebench.data import arrays
from prunebench.data.prepared import damage, prepare
from prunebench.data.task_data import Data

CPU = torch.device("cpu")
LENGTH = 5
TEXT = np.arange(12 * LENGTH + 1) % 7


class Sentences(prunebench.Dataset):
    """Consecutive windows of a text that counts to seven: ten to train on, two to test."""

    name = "sentences"

    def facts(self):
        targets = {"targets": "tokens", "target_shape": (LENGTH,)}
        return DataFacts((LENGTH,), train=10, test=2, kind="text", vocabulary=7, **targets)

    def load(self, root):
        tokens = TEXT.astype(np.uint8)
        inputs, targets = tokens[:-1].reshape(12, LENGTH), tokens[1:].reshape(12, LENGTH)
        return prunebench.Arrays(inputs[:10], targets[:10], inputs[10:], targets[10:])


class Table(prunebench.Dataset):
    """Eight rows to train on, four to test; the second column is always the same, and the target is their sum."""

    name = "table"

    def facts(self):
        return DataFacts((2,), train=8, test=4, kind="features", targets="numbers")

    def load(self, root):
        features = np.stack([np.arange(12), np.full(12, 3)], 1).astype(np.float32)
        targets = features.sum(1)
        return prunebench.Arrays(features[:8], targets[:8], features[8:], targets[8:])


class Captions(prunebench.Dataset):
    """A picture and a sentence, and which of three labels apply."""

    name = "captions"
    mean: ClassVar = (10.0,)
    std: ClassVar = (2.0,)

    def facts(self):
        inputs = (Input((1, 2, 2), name="picture"), Input((3,), "tokens", 5, "words"))
        return DataFacts(inputs=inputs, classes=3, train=6, test=2, targets="labels")

    def load(self, root):
        drawn = np.random.RandomState(0)

        def some(count):
            picture = drawn.randint(0, 256, (count, 1, 2, 2)).astype(np.uint8)
            words = drawn.randint(0, 5, (count, 3)).astype(np.int32)
            return {"words": words, "picture": picture}, drawn.randint(0, 2, (count, 3)).astype(np.float32)

        return prunebench.Arrays(*some(6), *some(2))


class Any(prunebench.Objective):
    name = "any"

    def outputs(self, facts):
        return (1,)

    def metrics(self, facts):
        return [prunebench.Metric(name="nothing", label="nothing", direction="lower")]


@pytest.fixture
def opened(tiny, tmp_path):
    def opened(dataset, **recipe):
        task = replace(tiny.task(dataset=dataset, **{"batch_size": 4, **recipe}), objective=Any())
        return Data(task, prepare(dataset, None, tmp_path), CPU)

    return opened


# --- tokens and text


def test_a_network_is_given_whole_numbers_of_tokens(opened):
    inputs, targets = next(iter(opened(Sentences()).in_order(opened(Sentences()).test, 2)))
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.tolist() == (TEXT[50:60].reshape(2, 5)).tolist()
    assert targets.tolist() == (TEXT[51:61].reshape(2, 5)).tolist()


def test_windows_of_a_text_are_held_out_from_its_end(opened):
    data = opened(Sentences(), validation=3)
    assert data.train.inputs.flatten().tolist() == TEXT[:35].tolist()
    assert data.validation.inputs.flatten().tolist() == TEXT[35:50].tolist()


def test_shifted_windows_begin_anywhere_and_go_on_in_the_text(opened):
    data = opened(Sentences(), validation=3, augmentation=("shift",))
    first = set()
    for step in range(40):
        inputs, targets = data.batch(0, "train", step)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])  # each target is the token after the input's
        assert ((inputs[:, :-1] + 1) % 7 == inputs[:, 1:]).all()
        first |= set(inputs[:, 0].tolist())
    assert first == set(range(7))


def test_shifted_windows_never_reach_into_what_is_held_out(opened):
    train = opened(Sentences(), validation=3).train
    shifted = train.shifted(torch.tensor([6, 6, 5]), torch.tensor([0, 4, 4]))
    assert shifted.inputs[0].tolist() == shifted.inputs[1].tolist() == TEXT[30:35].tolist()
    assert shifted.inputs[2].tolist() == TEXT[29:34].tolist()


def test_where_a_window_begins_depends_on_seed_and_step_alone(opened):
    data, again = (opened(Sentences(), augmentation=("shift",)) for _ in range(2))
    data.batch(0, "train", 7)
    one, other = data.batch(0, "train", 3)[0], again.batch(0, "train", 3)[0]
    assert torch.equal(one, other)
    assert not torch.equal(one, again.batch(1, "train", 3)[0])


# --- features


def test_features_have_mean_0_and_deviation_1_over_the_training_examples(opened):
    data = opened(Table(), validation=2)
    inputs = data.normalized(data.train.inputs)
    assert inputs.dtype == torch.float32
    assert torch.allclose(inputs.mean(0), torch.zeros(2), atol=1e-6)
    assert inputs[:, 0].std(correction=0) == pytest.approx(1.0)
    assert inputs[:, 1].eq(0).all()  # a column that is always the same
    kept = data.train.inputs[:, 0]
    expected = (data.test.inputs[:, 0] - kept.mean()) / kept.std(correction=0)
    assert torch.allclose(data.normalized(data.test.inputs)[:, 0], expected)


def test_targets_that_are_numbers_are_as_they_are_stored(opened):
    data = opened(Table())
    assert next(iter(data.in_order(data.test, 4)))[1].tolist() == [11.0, 12.0, 13.0, 14.0]


# --- several inputs


def test_several_inputs_are_a_dict_each_of_its_own_kind(opened):
    data = opened(Captions())
    inputs, targets = data.batch(0, "train", 0)
    assert {name: value.dtype for name, value in inputs.items()} == {"picture": torch.float32, "words": torch.int64}
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {"picture": (4, 1, 2, 2), "words": (4, 3)}
    assert (targets.dtype, targets.shape) == (torch.float32, (4, 3))
    stored = Captions().load(None).train_inputs
    rows = [(torch.from_numpy(stored["words"]) == words).all(1).nonzero()[0, 0] for words in inputs["words"]]
    for row, picture in zip(rows, inputs["picture"], strict=True):
        assert torch.equal(picture, (torch.from_numpy(stored["picture"][row]).float() - 10) * 0.5)


def test_each_of_several_inputs_has_a_file_that_is_verified(tmp_path):
    prepared = prepare(Captions(), None, tmp_path)
    names = {path.name for path in prepared.folder.iterdir()}
    assert names == {f"{part}.npy" for part in arrays.parts_of(("picture", "words"))}
    for name in sorted(names):
        path = prepared.folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert "its hash differs" in damage(prepared)
        path.write_bytes(content)
        path.unlink()
        assert "does not exist" in damage(prepared) or "hash differs" in damage(prepared)
        assert not arrays.is_whole(prepared.folder) or damage(prepared)
        path.write_bytes(content)
    assert damage(prepared) == ""
    assert prepare(Captions(), None, tmp_path) == prepared


def test_a_missing_input_is_made_again(opened, tmp_path):
    folder = prepare(Captions(), None, tmp_path).folder
    (folder / "train_inputs-words.npy").unlink()
    (folder / "test_inputs-words.npy").unlink()
    prepare(Captions(), None, tmp_path)
    assert arrays.parts_in(folder) == arrays.parts_of(("picture", "words"))


# --- what does not fit


class Wrong(Table):
    name = "wrong"
    what: str = ""

    def load(self, root):
        loaded = super().load(root)
        if self.what == "double":
            return replace(loaded, train_inputs=loaded.train_inputs.astype(np.float64))
        if self.what == "infinite":
            loaded.test_inputs[1, 0] = np.inf
        if self.what == "nan":
            loaded.train_labels[0] = np.nan
        if self.what == "column":
            return replace(loaded, train_labels=loaded.train_labels[:, None])
        return loaded


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("double", "train_inputs is float64 of shape (8, 2), and should be float32 of shape (8, 2)"),
        ("infinite", "test_inputs has values that are not finite"),
        ("nan", "train_labels has values that are not finite"),
        ("column", "train_labels is float32 of shape (8, 1), and should be float32 of shape (8,)"),
    ],
)
def test_numbers_that_do_not_fit_the_facts_are_refused(tmp_path, what, message):
    with pytest.raises(BrokenDataset) as caught:
        prepare(Wrong(what=what), None, tmp_path)
    assert message in str(caught.value)


class Odd(Sentences):
    name = "odd"

    def load(self, root):
        return replace(super().load(root), train_inputs=np.full((10, LENGTH), 7, np.uint8))


def test_tokens_that_are_not_in_the_vocabulary_are_refused(tmp_path):
    with pytest.raises(BrokenDataset, match=r"train_inputs has tokens that are not all in 0\.\.6"):
        prepare(Odd(), None, tmp_path)


class Half(Captions):
    name = "half"
    what: str = "name"

    def load(self, root):
        loaded = super().load(root)
        if self.what == "name":
            return replace(loaded, train_inputs={"picture": loaded.train_inputs["picture"]})
        return replace(loaded, test_labels=loaded.test_labels + 1)


def test_several_inputs_need_their_names_and_labels_are_0_or_1(tmp_path):
    with pytest.raises(
        BrokenDataset, match="train_inputs is a dict of picture, and should be a dict of picture, words"
    ):
        prepare(Half(), None, tmp_path)
    with pytest.raises(BrokenDataset, match="test_labels are not all 0 or 1"):
        prepare(Half(what="label"), None, tmp_path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"kind": "sounds"}, "the kind of an input is one of images, features, tokens, text, and not 'sounds'"),
        ({"kind": "tokens", "shape": (4,)}, "tokens have a vocabulary"),
        ({"vocabulary": 4}, "other inputs have none"),
        ({"kind": "features", "shape": ()}, "the shape of the features"),
        ({"targets": "ranks"}, "targets are classes, labels, numbers or tokens, and not 'ranks'"),
        ({"targets": "labels", "classes": 0}, "the number of classes must be above 0"),
        ({"targets": "numbers"}, "no classes"),
        ({"targets": "tokens", "classes": 0}, "targets that are tokens have a length"),
        ({"inputs": (Input((1, 2, 2)),)}, "either a shape, or several inputs"),
        ({"inputs": (Input((1, 2, 2)), Input((1, 2, 2))), "shape": ()}, "have different names"),
    ],
)
def test_facts_that_contradict_themselves_are_refused(tmp_path, facts, message):
    class Contradictory(Captions):
        name = "contradictory"

        def facts(self):
            return DataFacts(**{"shape": (1, 2, 2), "classes": 3, "train": 6, "test": 2, **facts})

    with pytest.raises(BrokenDataset) as caught:
        prepare(Contradictory(), None, tmp_path)
    assert message in str(caught.value)


def test_data_that_is_damaged_is_not_opened(opened, tmp_path):
    prepared = prepare(Table(), None, tmp_path)
    (prepared.folder / "train_inputs.npy").write_bytes(b"")
    with pytest.raises(DamagedData):
        arrays.opened(prepared.folder, "train")
