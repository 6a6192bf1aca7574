"""What scores leave undecided, counted by hand: scores of 0, layers without a score, and ties at the threshold."""

import pytest
import torch
from prunebench_plugins.transfer import ranks

import prunebench
from prunebench import Initialize, Prune, Structure, Train
from prunebench.api.layers import Layer
from prunebench.pruning.choices import Choice, choice_of
from prunebench.pruning.masks import keep_highest
from prunebench.records.results import undecided


def choice(scores, density, allocation="global", structure=None, masks=None):
    """Of a pruning by scores, given as lists by layer."""
    scores = {name: torch.tensor(values, dtype=torch.float32) for name, values in scores.items()}
    layers = [Layer(name, tuple(score.shape), 0.0) for name, score in scores.items()]
    before = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    before |= {name: torch.tensor(mask).bool() for name, mask in (masks or {}).items()}
    kept = keep_highest(scores, before, layers, density, allocation, structure)
    return choice_of(scores, kept, layers, allocation, structure, before)


def test_scores_that_decide_leave_nothing_undecided():
    found = choice({"a": [[1.0, 2.0], [3.0, 4.0]], "b": [[-5.0, 6.0]]}, 0.5)
    assert found == Choice(zero=0, candidates=6, tied=0, kept=3, unscored=())


def test_scores_of_0_and_layers_without_another_are_counted():
    found = choice({"a": [[0.0, 2.0], [3.0, 4.0]], "b": [[0.0, -0.0]]}, 0.5)
    assert found == Choice(zero=3, candidates=6, tied=0, kept=3, unscored=("b",))


def test_kept_weights_at_the_threshold_are_ties_if_another_was_not_kept():
    # Five of six: the threshold is 0; two of the three zeros are kept.
    assert choice({"a": [[0.0, 2.0], [3.0, 4.0]], "b": [[0.0, 0.0]]}, 5 / 6).tied == 2
    # All of those at the threshold are kept: nothing is decided by order.
    assert choice({"a": [[1.0, 1.0], [1.0, 0.0]]}, 0.75).tied == 0
    assert choice({"a": [[1.0, 1.0], [1.0, 0.0]]}, 0.5).tied == 2


def test_each_layer_has_a_threshold_of_its_own_where_it_is_ranked_by_itself():
    scores = {"a": [[1.0, 1.0, 3.0, 4.0]], "b": [[1.0, 5.0, 6.0, 7.0]]}
    assert choice(scores, 0.75, "uniform").tied == 1  # a keeps one of its two ones, b no one
    assert choice(scores, 0.75).tied == 1  # six of eight: one of three ones
    assert choice(scores, 0.875).tied == 2


def test_what_was_pruned_before_is_no_candidate():
    scores = {"a": [[0.0, 0.0, 3.0, 4.0]], "b": [[0.0, 1.0, 1.0, 2.0]]}
    found = choice(scores, 3 / 8, masks={"a": [[0, 0, 1, 1]], "b": [[1, 1, 0, 1]]})
    assert found == Choice(zero=1, candidates=5, tied=0, kept=3, unscored=())
    gone = choice(scores, 2 / 8, masks={"a": [[0, 0, 0, 0]]})
    assert gone.unscored == ()  # a layer without candidates lacks nothing


def test_groups_of_n_to_m_are_ranked_by_themselves():
    scores = {"a": [[1.0, 1.0, 1.0, 0.0, 4.0, 3.0, 2.0, 2.0]], "odd": [[0.0, 0.0, 0.0]]}
    found = choice(scores, 0.5, structure=Structure(2, 4))
    # The first group keeps two of three ones, the second keeps 4 and 3; the layer that 2:4 does not fit keeps all.
    assert found == Choice(zero=1, candidates=8, tied=2, kept=4, unscored=())
    assert choice({"a": [[0.0, 0.0, 0.0, 0.0]]}, 0.5, structure=Structure(2, 4)).unscored == ("a",)


def test_of_several_prunings_the_largest_shares_count():
    first = Choice(zero=1, candidates=10, tied=3, kept=5, unscored=("b",))
    second = Choice(zero=2, candidates=5, tied=1, kept=4, unscored=("a", "b"))
    expected = Choice(zero=2, candidates=5, tied=3, kept=5, unscored=("b", "a"))
    assert first | second == expected
    assert Choice() | first == first | Choice() == first
    clean = Choice(candidates=7, kept=3)
    assert Choice() | clean == clean


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, ""),
        ({"zero_share": 0.4, "tied_share": 0.009, "unscored_layers": 0}, ""),
        ({"tied_share": 0.01}, "1 % of the kept weights were chosen by their order, among equal scores"),
        ({"unscored_layers": 1, "unscored_share": 0.983}, "1 layer has no score (98.3 % of the weights)"),
        (
            {"unscored_layers": 16, "unscored_share": 0.5, "tied_share": 0.25},
            "16 layers have no score (50 % of the weights), and 25 % of the kept weights were chosen by their order, "
            "among equal scores",
        ),
    ],
)
def test_a_remark_is_made_where_it_matters(metrics, expected):
    assert undecided(metrics) == expected


class Halves(prunebench.Method):
    """Scores of 0 in the first layer."""

    name = "halves"

    def scores(self, scoring):
        first, *others = scoring.layers
        scores = {layer.name: torch.rand(layer.shape, generator=scoring.generator) for layer in others}
        return {first.name: torch.zeros(first.shape), **scores}

    def stages(self, trial):
        yield Initialize()
        yield Prune(by=self, density=trial.density)
        yield Train()


class Each(prunebench.Updater):
    """Chooses masks by the same scores at each step."""

    def __init__(self, dense):
        type(self).trains_dense = dense

    def apply_masks(self, training):
        if self.trains_dense:
            self.choose(training)

    def after_step(self, training):
        if not self.trains_dense:
            self.choose(training)

    def choose(self, training):
        scores = {name: torch.ones_like(weight) for name, weight in training.weights.items()}
        scores["1.weight"] = torch.zeros_like(scores["1.weight"])
        training.keep_highest(scores, 0.5)


class InTraining(prunebench.Method):
    name = "in-training"
    dense: bool = False

    def updater(self, density):
        return Each(self.dense)

    def stages(self, trial):
        yield Initialize()
        yield Train(by=self, density=trial.density)


def test_a_pruning_is_counted_in_the_state_and_carried_on(tiny, run_chain):
    chain = run_chain(tiny.trial(Halves(), 0.5))
    # 234 of 468 are kept: all 36 of the second layer, and 198 of the 432 that score 0.
    expected = Choice(zero=432, candidates=468, tied=198, kept=234, unscored=("1.weight",))
    assert chain.after(Prune).choice == chain.end.choice == expected


@pytest.mark.parametrize("dense", [False, True])
def test_a_choice_in_a_training_is_counted_too(tiny, run_chain, dense):
    found = run_chain(tiny.trial(InTraining(dense=dense), 0.5)).end.choice
    assert found == Choice(zero=432, candidates=468, tied=198, kept=234, unscored=("1.weight",))


@pytest.mark.parametrize("name", ["random", "magnitude", "magnitude-init", "imp", "gradual", "static", "ste", "nm"])
def test_nothing_is_said_of_magnitudes_and_random_masks(tiny, method, run_chain, name):
    parameters = {"n": 1, "m": 2} if name == "nm" else {"interval": "4it"} if name == "gradual" else {}
    task = tiny.task(tiny.MLP(hidden=(12, 8)))
    found = run_chain(tiny.trial(method(name, **parameters), 0.5, task=task)).end.choice
    assert found.candidates > 0
    assert (found.zero, found.tied, found.unscored) == (0, 0, ())


def test_a_ticket_ranks_what_it_prunes_below_0_so_that_no_layer_lacks_a_score():
    masks = {"w": torch.tensor([[True, False]]), "gone": torch.tensor([[False, False]])}
    weights = {"w": torch.zeros(1, 2), "gone": torch.zeros(1, 2), "new": torch.zeros(1, 2)}
    expected = {"w": [[1.0, -1.0]], "gone": [[-1.0, -1.0]], "new": [[1.0, 1.0]]}
    assert {name: score.tolist() for name, score in ranks(masks, weights).items()} == expected
