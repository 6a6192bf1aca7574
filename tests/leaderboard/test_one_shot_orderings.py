"""The orderings of pruning after training, asked of results made by hand."""

from types import SimpleNamespace

import pytest

from prunebench import Metric, load_suite
from prunebench.leaderboard.statistics import Difference
from prunebench.plan.planning import make_plan
from tests.suites import READABLE


@pytest.fixture
def one_shot(script):
    return script("one_shot")


@pytest.fixture
def page(one_shot, result, monkeypatch, tmp_path):
    """The rows of the page that a board with these figures has, by claim and sparsity.

    Args:
        figures: by method and sparsity the metrics of each seed.
    """

    def make(figures, **changes):
        results = [
            result(method=method, sparsity=sparsity, seed=seed, metrics=metrics, **changes)
            for (method, sparsity), seeds in figures.items()
            for seed, metrics in enumerate(seeds)
        ]
        monkeypatch.setattr(one_shot, "read_board", lambda folder: SimpleNamespace(results=results))
        lines = one_shot.page_of(tmp_path).splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
        found = {}
        for _, methods, sparsity, by, here in cells[1:]:  # some pairs by their errors first, and then by the metric
            found.setdefault((methods, sparsity), (by, here))
        return found

    return make


def errors(*values):
    return [{"output_error": value} for value in values]


def test_a_lower_error_is_seen_if_the_whole_interval_says_so(page):
    """Differences 0.10, 0.11 and 0.12: 0.11 ± 4.3027 * 0.01 / √3."""
    found = page({("wanda", 0.5): errors(0.20, 0.21, 0.22), ("magnitude-layerwise", 0.5): errors(0.30, 0.32, 0.34)})
    assert found["wanda, magnitude-layerwise", "50 %"] == (
        "+11.00 [+8.52, +13.48] % of the outputs",
        "**seen**",
    )


@pytest.mark.parametrize(
    ("ours", "here"),
    [
        ((0.1, 0.2, 0.35), "**seen**"),
        ((0.5, 0.6, 0.7), "**not seen**"),
        ((0.3, 0.5, 0.2), "undecided"),
        ((0.1, 0.2), "undecided (too few seeds)"),
        ((0.1,), "undecided (too few seeds)"),
        ((), "not run"),
    ],
)
def test_each_answer(page, ours, here):
    found = page({("wanda", 0.9): errors(*ours), ("magnitude-layerwise", 0.9): errors(0.3, 0.4, 0.5)})
    assert found["wanda, magnitude-layerwise", "90 %"][1] == here


def test_the_metric_of_the_task_says_which_direction_is_better(page, one_shot):
    """Accuracy is better when higher; the same figures the other way round are not seen."""
    better, worse = ([{"accuracy": value} for value in values] for values in ((0.92, 0.93, 0.95), (0.90, 0.91, 0.92)))
    found = page({("sparsegpt", 0.8): better, ("wanda", 0.8): worse, ("wanda-owl", 0.8): worse, ("ria", 0.8): better})
    rows = [(by, here) for (methods, at), (by, here) in found.items() if (methods, at) == ("ria, wanda", "80 %")]
    assert rows == [("+2.33 [+0.90, +3.77] points", "**seen**")]
    assert (
        one_shot._better({("a", 0.5): {0: 3.0}, ("b", 0.5): {0: 5.0}}, one_shot.Claim("", "a", "b"), 0.5, -1).mean == 2
    )


def test_perplexities_are_better_when_lower(page):
    metric = Metric(name="perplexity", label="perplexity", direction="lower")
    figures = {("ria", 0.8): [{"perplexity": v} for v in (9.0, 9.1, 9.2)]}
    figures["wanda", 0.8] = [{"perplexity": v} for v in (10.0, 10.2, 10.1)]
    found = page(figures, objective=(metric,))
    assert found["ria, wanda", "80 %"][1] == "**seen**"


def test_owl_is_asked_for_at_70_percent_and_more_and_2_of_4_at_50_percent(page):
    found = page({("dense", 0.0): [{"accuracy": 0.9}]})
    assert [at for methods, at in found if methods == "wanda-owl, wanda"] == ["70 %", "80 %", "90 %"]
    assert [at for methods, at in found if methods.startswith("alps-2-of-4")] == ["50 %"]


def test_more_data_helps_the_one_more_if_its_error_falls_by_more(page):
    """It falls by 0.2, 0.2, 0.2 against 0.05, 0.06, 0.07: by 0.14 ± 0.0248 more."""
    found = page(
        {
            ("sparsegpt-32", 0.7): errors(0.5, 0.6, 0.7),
            ("sparsegpt-1024", 0.7): errors(0.3, 0.4, 0.5),
            ("wanda-32", 0.7): errors(0.80, 0.81, 0.82),
            ("wanda-1024", 0.7): errors(0.75, 0.75, 0.75),
        }
    )
    row = found["sparsegpt-32 → sparsegpt-1024, wanda-32 → wanda-1024", "70 %"]
    assert row == ("+14.00 [+11.52, +16.48] % of the outputs", "**seen**")


def test_a_difference_of_zero_without_spread_is_undecided(one_shot):
    assert one_shot.answer(Difference(0.0, 0.0, 0.0, 5)) == "undecided"


def asked_for(one_shot):
    """What the claims compare: methods with sparsities."""
    for claim in one_shot.CLAIMS:
        pairs = (claim.better, claim.worse) if isinstance(claim, one_shot.Claim) else (*claim.more, *claim.less)
        yield from ((name, sparsity) for name in pairs for sparsity in claim.sparsities)


@pytest.mark.parametrize("suite", ["one-shot", "text-gpt-one-shot"])
def test_the_suites_have_every_method_that_is_asked_for(one_shot, suite):
    loaded = load_suite(suite)
    rows = {(trial.entry.label, trial.sparsity) for trial in loaded.trials}
    # With as many gradients as CHITA and CBS, the others are rows of their own where they have more by default.
    given = {"woodfisher-256"} if suite == "text-gpt-one-shot" else set()
    assert {one for one in asked_for(one_shot) if one[0] not in given} <= rows
    assert {trial.seed for trial in loaded.trials} == set(range(5))


@pytest.mark.skipif("text-minilm-one-shot" not in {path.stem for path in READABLE}, reason="needs packages")
def test_the_suite_of_a_pretrained_network_has_what_it_can_bear_of_them(one_shot):
    """Without the methods that hold many gradients of 10.6 million weights, and at three sparsities."""
    loaded = load_suite("text-minilm-one-shot")
    rows = {(trial.entry.label, trial.sparsity) for trial in loaded.trials}
    heavy = {"woodfisher", "woodfisher-256", "chita", "cbs", "sparsegpt-32", "sparsegpt-1024"}
    lacking = {name for name, _ in asked_for(one_shot) if name not in {label for label, _ in rows}}
    assert lacking == heavy
    assert {trial.seed for trial in loaded.trials} == set(range(5))
    for label in ("wanda", "sparsegpt", "wanda-reconstructed"):
        assert {sparsity for name, sparsity in rows if name == label} == {0.5, 0.7, 0.9}


@pytest.mark.skipif("text-minilm-one-shot" not in {path.stem for path in READABLE}, reason="needs packages")
def test_it_shares_its_dense_networks_with_the_suite_of_the_same_task():
    plans = [make_plan(load_suite(name).trials, {}) for name in ("text-minilm", "text-minilm-one-shot")]
    here, there = ({one.key for one in plan.trials if one.trial.entry.method.control} for plan in plans)
    assert len(here) == 5
    assert here == there
