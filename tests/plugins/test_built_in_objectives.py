"""Built-in objectives beside classification: values that are worked out by hand, and scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from prunebench import DataFacts

LENGTH, VOCABULARY = 3, 256
TEXT = DataFacts(
    (LENGTH,), train=4, test=4, kind="text", vocabulary=VOCABULARY, targets="tokens", target_shape=(LENGTH,)
)
NUMBER = DataFacts((2,), train=4, test=4, kind="features", targets="numbers")
PAIR = DataFacts((2,), train=4, test=4, kind="features", targets="numbers", target_shape=(2,))
LABELS = DataFacts((2,), 3, train=4, test=4, kind="features", targets="labels")


@pytest.fixture(scope="module")
def objective(built_in):
    return lambda name, **parameters: built_in("objective", name, **parameters)


def evaluated(objective, batches):
    """The values of an evaluation, its sums added as the core adds them."""
    totals, examples = {}, 0
    for outputs, targets in batches:
        for name, value in objective.sums(outputs, targets).items():
            totals[name] = totals.get(name, 0) + value.double()
        examples += len(targets)
    return objective.values(totals, examples)


def in_batches(outputs, targets, size):
    return list(zip(outputs.split(size), targets.split(size), strict=True))


# --- language modelling


def test_a_language_model_returns_logits_for_each_position(objective):
    assert objective("language-modelling").outputs(TEXT) == (LENGTH, VOCABULARY)


def test_guessing_among_all_bytes_is_a_perplexity_of_256_and_8_bits(objective):
    outputs, targets = torch.zeros(2, LENGTH, VOCABULARY), torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = evaluated(objective("language-modelling"), [(outputs, targets)])
    assert found["perplexity"] == pytest.approx(256)
    assert found["bits_per_byte"] == pytest.approx(8)
    perplexity, bits = objective("language-modelling").metrics(TEXT)
    assert (perplexity.chance, perplexity.best, perplexity.direction) == (256, 1, "lower")
    assert (bits.chance, bits.direction) == (8, "lower")


def test_perplexity_is_the_inverse_of_the_geometric_mean_of_the_probabilities(objective):
    shares = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]])
    found = evaluated(objective("language-modelling"), [(shares.log(), torch.tensor([[0, 2]]))])
    assert found["perplexity"] == pytest.approx((0.5 * 0.125) ** -0.5)
    assert found["bits_per_byte"] == pytest.approx((1 + 3) / 2)
    assert found["loss"] == pytest.approx(math.log(4))


def test_every_position_counts_the_same_whatever_the_batches(objective):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(7, LENGTH, 11, generator=generator)
    targets = torch.randint(11, (7, LENGTH), generator=generator)
    found = [evaluated(objective("language-modelling"), in_batches(outputs, targets, size)) for size in (1, 3, 7)]
    expected = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten()).item()
    for one in found:
        assert one["loss"] == pytest.approx(expected, rel=1e-6)
        assert one["perplexity"] == pytest.approx(math.exp(expected), rel=1e-6)
    assert objective("language-modelling").loss(outputs, targets).item() == pytest.approx(expected)


def test_bits_per_byte_are_reported_only_where_tokens_are_bytes(objective):
    other = DataFacts((3,), train=4, test=4, kind="text", vocabulary=300, targets="tokens", target_shape=(3,))
    assert [metric.name for metric in objective("language-modelling").metrics(other)] == ["perplexity"]


def test_a_loss_that_is_too_large_has_no_finite_perplexity(objective):
    sums = {"loss": torch.tensor(3000.0), "tokens": torch.tensor(3.0)}
    assert objective("language-modelling").values(sums, 1)["perplexity"] == math.inf


# --- regression


def test_errors_are_in_the_units_of_the_targets(objective):
    fitted = objective("regression").fitted(torch.tensor([100.0, 300.0]))  # mean 200, deviation 100
    outputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([210.0, 280.0])  # predictions 200 and 300
    found = evaluated(fitted, [(outputs, targets)])
    assert found["rmse"] == pytest.approx(math.sqrt((10**2 + 20**2) / 2))
    assert found["r2"] == pytest.approx(1 - (10**2 + 20**2) / (35**2 + 35**2))
    assert found["loss"] == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert fitted.loss(outputs, targets).item() == pytest.approx(found["loss"])


def test_targets_are_as_they_are_without_standardization(objective):
    fitted = objective("regression", standardize=False).fitted(torch.tensor([100.0, 300.0]))
    found = evaluated(fitted, [(torch.tensor([[1.0]]), torch.tensor([3.0]))])
    assert (found["loss"], found["rmse"]) == (4.0, 2.0)


@given(
    st.integers(2, 30),
    st.integers(1, 9),
    st.floats(-1e4, 1e4),
    st.floats(0.01, 100),
    st.sampled_from([NUMBER, PAIR]),
)
def test_figures_of_regression_are_scikit_learns(objective, count, size, mean, deviation, facts):
    drawn = np.random.RandomState(count)
    shape = (count, *facts.target_shape)
    targets = torch.tensor(mean + deviation * drawn.standard_normal(shape), dtype=torch.float32)
    fitted = objective("regression").fitted(targets)
    outputs = torch.tensor(drawn.standard_normal((count, *objective("regression").outputs(facts))), dtype=torch.float32)
    found = evaluated(fitted, in_batches(outputs, targets, size))
    predicted = (outputs.double().reshape(shape) * fitted.deviation + fitted.mean).numpy()
    true = targets.double().numpy()
    assert found["rmse"] == pytest.approx(math.sqrt(((predicted - true) ** 2).mean()), rel=1e-4, abs=1e-9)
    assert found["r2"] == pytest.approx(metrics.r2_score(true, predicted), rel=1e-3, abs=1e-3)


def test_a_target_that_never_changes_is_explained_or_not(objective):
    fitted = objective("regression").fitted(torch.tensor([5.0, 5.0]))
    assert evaluated(fitted, [(torch.zeros(2, 1), torch.full((2,), 5.0))])["r2"] == 1.0
    assert evaluated(fitted, [(torch.ones(2, 1), torch.full((2,), 5.0))])["r2"] == 0.0


def test_the_direction_of_each_metric(objective):
    error, share = objective("regression").metrics(NUMBER)
    assert (error.name, error.direction, share.name, share.direction) == ("rmse", "lower", "r2", "higher")
    assert [metric.direction for metric in objective("multi-label").metrics(LABELS)] == ["higher", "higher"]


# --- labels


def test_labels_are_counted_together(objective):
    outputs = torch.tensor([[1.0, -1.0, 2.0], [-1.0, -2.0, 3.0]])  # predicted: 101, 001
    targets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # true: 110, 001
    found = evaluated(objective("multi-label"), [(outputs, targets)])
    assert found["f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["exact_match"] == 0.5
    assert found["loss"] == pytest.approx(objective("multi-label").loss(outputs, targets).item())


def test_nothing_predicted_and_nothing_there_is_an_f1_of_0(objective):
    assert evaluated(objective("multi-label"), [(-torch.ones(2, 3), torch.zeros(2, 3))])["f1"] == 0.0


@given(st.integers(1, 20), st.integers(1, 7))
def test_f1_is_scikit_learns(objective, count, size):
    drawn = torch.Generator().manual_seed(count)
    outputs, targets = torch.randn(count, 3, generator=drawn), torch.randint(2, (count, 3), generator=drawn).float()
    found = evaluated(objective("multi-label"), in_batches(outputs, targets, size))
    assert found["f1"] == pytest.approx(metrics.f1_score(targets, outputs > 0, average="micro", zero_division=0))
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(targets, outputs > 0))


def test_data_without_classes_has_its_own_default_objective(registry):
    assert {kind: [cls.name for cls in registry.default_objectives(kind)] for kind in
            ("classes", "labels", "numbers", "tokens")} == {
        "classes": ["classification"],
        "labels": ["multi-label"],
        "numbers": ["regression"],
        "tokens": ["language-modelling"],
    }  # fmt: skip
