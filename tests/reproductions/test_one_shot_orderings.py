"""The orderings of pruning after training, asked of results made by hand."""

import pytest

from prunebench import Metric, load_suite
from prunebench.plan.planning import make_plan
from tests.suites import READABLE


@pytest.fixture
def one_shot(script):
    return script("one_shot")


@pytest.fixture
def answered(one_shot, boards, rows):
    """The answers that a board with these figures gives, by the two methods; some pairs by their errors first."""

    def made(figures, everything=True, **changes):
        page = one_shot.page(boards(one_shot=rows(figures, **changes)), everything=everything)
        found = {}
        for one in page.answers["digits"]:
            found.setdefault((one.compared.partition(",")[0], len(one.parts)), one)
        return {methods: one for (methods, _), one in found.items()}

    return made


def errors(*values):
    return [{"output_error": value} for value in values]


def test_a_lower_error_is_seen_if_the_whole_interval_says_so(answered):
    """Differences 0.10, 0.11 and 0.12, paired by seed: 0.11 ± 4.3027 * 0.01 / √3."""
    found = answered({("wanda", 0.5): errors(0.20, 0.21, 0.22), ("magnitude-layerwise", 0.5): errors(0.30, 0.32, 0.34)})
    made = found["`wanda` against `magnitude-layerwise`"]
    assert "% of the outputs: 50 %: +11.00 [+8.52, +13.48] | **seen** |" in made.row


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((0.1, 0.2, 0.35), "**seen**"),
        ((0.5, 0.6, 0.7), "**not seen**"),
        ((0.3, 0.5, 0.2), "undecided"),
        ((0.1, 0.2), "undecided"),
        ((), "not run"),
    ],
)
def test_each_verdict(answered, ours, verdict):
    found = answered({("wanda", 0.9): errors(*ours), ("magnitude-layerwise", 0.9): errors(0.3, 0.4, 0.5)})
    assert found["`wanda` against `magnitude-layerwise`"].verdict == verdict


def test_perplexities_are_better_when_lower(answered):
    metric = Metric(name="perplexity", label="perplexity", direction="lower")
    figures = {("ria", 0.8): [{"perplexity": v} for v in (9.0, 9.1, 9.2)]}
    figures["wanda", 0.8] = [{"perplexity": v} for v in (10.0, 10.2, 10.1)]
    assert answered(figures, objective=(metric,))["`ria` against `wanda`"].verdict == "**seen**"


def test_more_data_helps_the_one_more_if_its_error_falls_by_more(answered):
    """It falls by 0.2, 0.2, 0.2 against 0.05, 0.06, 0.07: by 0.14 ± 0.0248 more."""
    found = answered(
        {
            ("sparsegpt-32", 0.7): errors(0.5, 0.6, 0.7),
            ("sparsegpt-1024", 0.7): errors(0.3, 0.4, 0.5),
            ("wanda-32", 0.7): errors(0.80, 0.81, 0.82),
            ("wanda-1024", 0.7): errors(0.75, 0.75, 0.75),
        }
    )
    made = found["from `sparsegpt-32` to `sparsegpt-1024` against from `wanda-32` to `wanda-1024`"]
    assert "70 %: +14.00 [+11.52, +16.48] | **seen** |" in made.row


def test_claims_about_methods_that_a_board_lacks_may_be_left_out(answered, one_shot):
    figures = {("wanda", 0.5): (0.9, 0.9, 0.8), ("magnitude-layerwise", 0.5): (0.7, 0.8, 0.8)}
    assert set(answered(figures, everything=False)) == {"`wanda` against `magnitude-layerwise`"}


def asked_for(one_shot):
    """What the claims compare: methods with sparsities."""
    for claim in one_shot.CLAIMS:
        names = claim.rows if isinstance(claim, one_shot.Gain) else (claim.better, claim.worse)
        yield from ((name, sparsity) for name in names for sparsity in claim.sparsities)


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
