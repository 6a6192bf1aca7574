"""The ladder of iterative pruning when layers have rates of their own."""

from math import log

import pytest

import prunebench
from prunebench import Prune
from prunebench.api.tasks import Prunable
from prunebench.plan.planning import make_plan

LENET = [80.0, 64.1, 51.3, 41.1, 32.9, 26.3, 21.1, 16.9, 13.5, 10.8, 8.7, 7.0, 5.6, 4.5, 3.6, 2.9, 2.3, 1.9, 1.5, 1.2]
"""What Frankle & Carbin print, in percent."""


class Scans(prunebench.Dataset):
    """As large as MNIST, and nowhere to be read."""

    name = "scans"
    mean = std = (64.0,)

    def facts(self):
        return prunebench.DataFacts(shape=(1, 28, 28), classes=10, train=60, test=10)


@pytest.fixture
def lenet(tiny):
    return tiny.task(tiny.MLP(hidden=(300, 100)), Scans())


@pytest.fixture
def conv(tiny):
    """Layers of 36, 144, 72 and 24 weights."""
    return tiny.task(tiny.Conv())


def prunings(trial):
    return [stage for stage in trial.entry.method.stages(trial) if isinstance(stage, Prune)]


def test_the_densities_of_lenet_are_those_that_the_paper_prints(tiny, registry, lenet):
    cls, _ = registry.find("method", "imp")
    imp = cls(**cls.presets["lenet"].values)
    found = prunings(tiny.trial(imp, sparsity=0.98764, task=lenet))
    assert [100 * stage.density for stage in found[:20]] == pytest.approx(LENET, abs=0.06)
    assert {stage.allocation for stage in found} == {(("1.weight", 0.8), ("4.weight", 0.8), ("7.weight", 0.9))}
    # 235,200 and 30,000 weights lose 20 % a level, 1000 lose 10 %.
    assert found[1].density == pytest.approx((265_200 * 0.64 + 1000 * 0.81) / 266_200)


def test_a_rung_keeps_the_power_of_each_layers_share(tiny, method, conv, run_chain):
    imp = method("imp", scope="layerwise", conv_rate=0.1, output_rate=0.5)
    second = round(1 - (252 * 0.81 + 24 * 0.25) / 276, 12)
    chain = run_chain(tiny.trial(imp, sparsity=second, task=conv))
    assert len([node for node in chain.nodes if isinstance(node.stage, Prune)]) == 2
    assert list(chain.after(Prune, 0).kept().values()) == [32, 130, 65, 12]
    assert list(chain.end.kept().values()) == [29, 117, 58, 6]


def test_between_two_rungs_all_layers_stand_at_the_same_fraction_of_a_level(tiny, method, lenet):
    from prunebench.pruning.allocation import kept_counts

    imp = method("imp", scope="layerwise", output_rate=0.1)
    trial = tiny.trial(imp, sparsity=0.6, task=lenet)
    last = prunings(trial)[-1]
    counts = kept_counts(trial.network.layers, last.density, last.allocation)
    assert sum(counts.values()) == round(0.4 * 266_200)
    sizes, shares = {layer.name: layer.size for layer in trial.network.layers}, dict(last.allocation)
    levels = [log(counts[name] / sizes[name]) / log(share) for name, share in shares.items()]
    assert levels == pytest.approx([levels[0]] * 3, abs=0.01)
    assert 4 < levels[0] < 5


def test_each_kind_of_layer_has_its_rate(tiny, method, conv):
    rates = {"conv_rate": 0.15, "linear_rate": 0.3, "rate": 0.25}
    [first] = prunings(tiny.trial(method("imp", scope="layerwise", iterative=False, **rates), task=conv))
    assert [share for _, share in first.allocation] == [0.85, 0.85, 0.85, 0.7]
    rates = {"output_rate": 0.05, "rate": 0.25}
    [first] = prunings(tiny.trial(method("lr-rewinding", scope="layerwise", iterative=False, **rates), task=conv))
    assert [share for _, share in first.allocation] == [0.75, 0.75, 0.75, 0.95]


def test_the_output_layer_is_the_models_also_where_the_task_leaves_it_dense(tiny, method):
    task = tiny.task(tiny.MLP(hidden=(12, 12)), prunable=Prunable(last=False))
    trial = tiny.trial(method("imp", scope="layerwise", output_rate=0.1, iterative=False), task=task)
    assert prunings(trial)[0].allocation == (("1.weight", 0.8), ("4.weight", 0.8))


def test_layerwise_with_one_rate_every_layer_keeps_the_same_share(tiny, method, run_chain, conv):
    chain = run_chain(tiny.trial(method("imp", scope="layerwise", iterative=False), sparsity=0.75, task=conv))
    assert list(chain.end.kept().values()) == [9, 36, 18, 6]


def test_a_layer_of_rate_0_stays_dense_and_bounds_the_sparsity(tiny, method, conv):
    imp = method("imp", scope="layerwise", output_rate=0.0)
    reached, lost = make_plan([tiny.trial(imp, sparsity=sparsity, task=conv) for sparsity in (0.9, 0.95)], {}).trials
    assert reached.chain
    assert lost.skipped == "density 0.05 is below 0.0869565, which the layers that stay dense make up"


def test_rates_of_layers_need_the_layerwise_scope(method):
    for rate in ("conv_rate", "linear_rate", "output_rate"):
        with pytest.raises(ValueError, match="belong to scope: layerwise"):
            method("imp", **{rate: 0.1})


def test_all_sparsities_share_one_layerwise_trajectory(tiny, method, lenet):
    imp = method("imp", scope="layerwise", output_rate=0.1)
    near, far = make_plan([tiny.trial(imp, sparsity=sparsity, task=lenet) for sparsity in (0.5, 0.95)], {}).trials
    # Three whole levels are below 50 % sparsity, and the fourth is cut for it.
    assert near.chain[: 2 + 3 * 2 + 2] == far.chain[: 2 + 3 * 2 + 2]


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("lenet", ("layerwise", None, None, 0.1)),
        ("conv-2", ("layerwise", 0.1, None, 0.1)),
        ("conv-4", ("layerwise", 0.1, None, 0.1)),
        ("conv-6", ("layerwise", 0.15, None, 0.1)),
    ],
)
def test_presets_of_the_lottery_ticket_paper(registry, preset, values):
    cls, _ = registry.find("method", "imp")
    imp = cls(**cls.presets[preset].values)
    assert (imp.scope, imp.conv_rate, imp.linear_rate, imp.output_rate) == values
    assert (imp.rate, imp.rewind_to) == (0.2, 0)


def test_presets_of_rewinding(registry):
    cls, _ = registry.find("method", "imp")
    made = {name: cls(**preset.values) for name, preset in cls.presets.items()}
    assert made["rewinding"].rewind_to == "1.6%"
    assert (made["weight-rewinding"].rewind_to, made["weight-rewinding"].restore_optimizer) == ("6.6%", True)
    assert not made["open-lth"].restore_optimizer
    assert all(preset.source for preset in cls.presets.values())
