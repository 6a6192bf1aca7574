"""The data set that needs no download."""

import numpy as np
import pytest

from prunebench.data.prepared import prepare


@pytest.fixture(scope="module")
def digits(built_in):
    return built_in("dataset", "digits")


@pytest.fixture(scope="module")
def arrays(digits):
    return digits.load(None)


def test_the_digits_are_what_their_facts_say(digits, tmp_path):
    assert len(prepare(digits, None, tmp_path).fingerprint) == 32  # raises when they are not


def test_the_split_is_fixed(digits, arrays):
    facts = digits.facts()
    assert (facts.train, facts.test, facts.classes, facts.shape) == (1000, 797, 10, (1, 8, 8))
    assert arrays.train_labels[:10].tolist() == list(range(10))
    assert arrays.test_labels[:10].tolist() == [1, 4, 0, 5, 3, 6, 9, 6, 1, 7]


def test_every_class_is_in_both_splits(arrays):
    assert np.bincount(arrays.train_labels).min() > 90
    assert np.bincount(arrays.test_labels).min() > 70


def test_a_network_sees_values_from_0_to_1(digits, arrays):
    seen = (arrays.train_inputs - np.float64(digits.mean)) / digits.std
    assert (seen.min(), seen.max()) == (0.0, 1.0)


def test_the_fingerprint_is_the_same_on_every_machine(prepared, digits):
    # Another one would make other keys of every result on this task.
    assert prepared(digits).fingerprint == "3f7c9df5d9a79b19d1b9e9e1d7398236"


@pytest.mark.parametrize("classes", [(0, 1), (5, 6, 7, 8, 9), (8, 3, 9), tuple(range(10))])
def test_some_classes_are_their_examples_in_their_order_with_labels_in_the_order_asked_for(built_in, classes):
    whole, some = built_in("dataset", "digits"), built_in("dataset", "digits", classes=classes)
    facts, part, everything = some.facts(), some.load(None), whole.load(None)
    assert (facts.classes, facts.train, facts.test) == (len(classes), len(part.train_labels), len(part.test_labels))
    for split in ("train", "test"):
        inputs, labels = (getattr(everything, f"{split}_{what}") for what in ("inputs", "labels"))
        chosen = np.isin(labels, classes)
        assert np.array_equal(getattr(part, f"{split}_inputs"), inputs[chosen])
        assert [classes[label] for label in getattr(part, f"{split}_labels")] == labels[chosen].tolist()


def test_a_class_is_listed_once(built_in):
    with pytest.raises(ValueError, match="listed once"):
        built_in("dataset", "digits", classes=(1, 1))
