"""Metrics, and classification: values that are worked out by hand."""

import math
from typing import ClassVar

import pytest
import torch

import prunebench
from prunebench import Classification, DataFacts, Metric

TEN = DataFacts(shape=(1, 8, 8), classes=10, train=10, test=10)
HUNDRED = DataFacts(shape=(1, 8, 8), classes=100, train=10, test=10)
ERROR = Metric(name="rmse", label="RMSE", direction="lower", decimals=3)
ACCURACY = Classification().metrics(TEN)[0]


def test_a_value_is_shown_with_its_factor_unit_and_decimals():
    assert ACCURACY.shown(0.97984) == "97.98 %"
    assert ERROR.shown(1.23456) == "1.235"


def test_the_direction_says_which_value_is_better():
    assert ACCURACY.is_better(0.9, 0.8)
    assert ERROR.is_better(0.8, 0.9)
    assert not ERROR.is_better(0.9, 0.8)
    assert not ERROR.is_better(0.8, 0.8)
    assert (ACCURACY.sign, ERROR.sign) == (1, -1)


def test_the_best_of_values_is_the_lowest_where_lower_is_better():
    assert ACCURACY.best_of([0.5, math.nan, 0.75]) == 0.75
    assert ERROR.best_of([0.5, math.nan, 0.75]) == 0.5
    with pytest.raises(ValueError, match="empty"):
        ERROR.best_of([math.nan])


def test_what_is_not_a_number_is_neither_better_nor_worse():
    assert not ERROR.is_better(math.nan, 1.0)
    assert not ERROR.is_better(1.0, math.nan)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"name": "Top 5"}, "not the name of a metric"),
        ({"decimals": -1}, "decimals"),
        ({"factor": 0.0}, "factor"),
        ({"factor": math.inf}, "factor"),
    ],
)
def test_a_metric_that_could_not_be_written_is_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        Metric(**{"name": "error", "label": "error", "direction": "lower", **wrong})


def test_classification_reports_accuracy_and_top_5_where_classes_are_many():
    assert [metric.name for metric in Classification().metrics(TEN)] == ["accuracy"]
    assert [metric.name for metric in Classification().metrics(HUNDRED)] == ["accuracy", "accuracy_top5"]
    assert [metric.name for metric in Classification(top5_from=10).metrics(TEN)] == ["accuracy", "accuracy_top5"]


def test_guessing_is_right_once_for_each_class_and_five_times_among_the_five_best():
    assert [metric.chance for metric in Classification().metrics(HUNDRED)] == [0.01, 0.05]


def test_sums_of_classification_count_right_answers_and_add_up_losses():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    sums = Classification().sums(logits, torch.tensor([0, 1]))
    assert sums.keys() == {"loss", "accuracy"}
    assert int(sums["accuracy"]) == 1
    assert float(sums["loss"]) == pytest.approx(-math.log(0.7) - math.log(0.3))
    added = {"loss": torch.tensor(3.0), "accuracy": torch.tensor(1)}
    assert Classification().values(added, 2) == {"loss": 1.5, "accuracy": 0.5}


def test_top_5_counts_what_is_among_the_five_best():
    logits = torch.arange(6.0).expand(3, 6)  # the best is class 5, and only class 0 is not among the five best
    sums = Classification(top5_from=6).sums(logits, torch.tensor([0, 1, 5]))
    assert (int(sums["accuracy"]), int(sums["accuracy_top5"])) == (1, 2)


def test_the_loss_is_the_mean_cross_entropy():
    logits = torch.log(torch.tensor([[0.7, 0.3], [0.4, 0.6]]))
    loss = Classification().loss(logits, torch.tensor([0, 0]))
    assert float(loss) == pytest.approx((-math.log(0.7) - math.log(0.4)) / 2)


def test_only_an_objective_that_overrides_it_has_label_smoothing():
    assert Classification().smooths
    assert not prunebench.Objective().smooths


def test_an_objective_refuses_data_with_other_targets():
    class Ranking(prunebench.Objective):
        name = "ranking"
        targets: ClassVar = ("ranks",)

    with pytest.raises(ValueError, match="'ranking' is for targets that are ranks, and those of the data are classes"):
        Ranking().check(TEN)
