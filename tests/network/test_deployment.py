"""What is measured of a deployed network: the network that runs, a file that is one, and passes that were made."""

import copy
import time

import pytest
import safetensors.torch
import torch
from torch import nn

import prunebench
from prunebench import Deploy, Deployed, Initialize, Prune, Reinitialize, Shuffle, Train
from prunebench.api.tasks import Entry
from prunebench.execution.performing import measured, perform
from prunebench.network.deployment import dense_bytes, latencies, measure, stored_bytes
from prunebench.plan.ablations import ablated
from prunebench.plan.planning import make_plan, resolve


class Negated(prunebench.Method):
    """Deploys the network with its last layer the other way round; notes what it is given."""

    name = "negated"
    note: str = ""
    seen = []  # a log, and no parameter

    def deploy(self, scoring):
        self.seen.append((scoring.model.training, scoring.seed))
        with torch.no_grad():
            list(scoring.model.parameters())[-2].neg_()
        return Deployed(scoring.model, notes={"latency_ms": self.note} if self.note else {"kernels": "upside down"})


@pytest.fixture
def trained(tiny, run_stages):
    """A network that has learned the tiny task, with half of its weights."""
    return run_stages(tiny.task(), Train(), Prune(by=tiny.ByChance(), density=0.5), Train("+1ep"))


# --- The stage


def test_accuracy_and_loss_are_those_of_the_network_that_is_deployed(trained):
    Negated.seen.clear()
    plain, _ = measured(Train(), trained.end, trained.context)
    figures, notes = measured(Deploy(by=Negated()), trained.end, trained.context)
    assert plain["test_accuracy"] > 0.8
    assert figures["test_accuracy"] < 0.2
    assert figures["test_loss"] > plain["test_loss"]
    assert notes == {"kernels": "upside down"}
    assert Negated.seen == [(False, 0)]


def test_without_a_method_the_network_itself_is_measured(trained):
    figures, notes = measured(Deploy(), trained.end, trained.context)
    assert figures["test_accuracy"] == trained.accuracy
    assert notes == {}
    assert figures.keys() == {
        "test_loss",
        "test_accuracy",
        "size_bytes",
        "size_bytes_dense",
        "latency_ms",
        "latency_ms_iqr",
        "latency_ms_dense",
        "latency_ms_dense_iqr",
    }
    # The same kernels multiply the same numbers, zeros among them.
    assert 0.1 < figures["latency_ms"] / figures["latency_ms_dense"] < 10


def test_a_latency_that_is_not_applicable_is_left_out_and_everything_else_is_measured(trained):
    figures, notes = measured(Deploy(by=Negated(note="not applicable: no such chip")), trained.end, trained.context)
    assert notes == {"latency_ms": "not applicable: no such chip"}
    assert figures.keys() == {"test_loss", "test_accuracy", "size_bytes", "size_bytes_dense"}


def test_the_state_and_what_comes_after_stay_as_they_are(tiny, run_stages):
    stages = (Train("5it"), Prune(by=tiny.ByChance(), density=0.5))
    plain = run_stages(tiny.task(), *stages, Train())
    chain = run_stages(tiny.task(), *stages, Deploy(by=Negated()), Train(), Deploy(by=Negated()))
    before, after = chain.before(Deploy), chain.end
    for field in ("parameters", "buffers", "masks", "optimizer"):
        one, other = getattr(before, field), getattr(after, field)
        assert all(torch.equal(one[name], other[name]) for name in one | other)
    assert (after.step, after.history, after.cost.flops) == (before.step, before.history, before.cost.flops)
    assert all(torch.equal(after.parameters[name], value) for name, value in plain.end.parameters.items())
    assert after.cost.training_flops == plain.end.cost.training_flops


def test_measuring_changes_nothing_in_the_state_that_is_measured(trained):
    before = copy.deepcopy(trained.end.parameters)
    measured(Deploy(by=Negated()), trained.end, trained.context)
    assert all(torch.equal(trained.end.parameters[name], value) for name, value in before.items())
    assert perform(trained.nodes[-1], trained.end, None, trained.context).step == trained.end.step


def test_a_deployment_is_keyed_by_its_method_and_how_it_is_measured(tiny):
    def key(*stages):
        chained = tiny.Chained(chain=(Initialize(), Train(), *stages))
        return list(resolve(tiny.trial(chained), "root"))[-1].key

    stages = [(), (Deploy(),), (Deploy(batch=8),), (Deploy(by=Negated()),), (Deploy(by=Negated(note="x")),)]
    assert len({key(*some) for some in stages}) == len(stages)


def test_it_changes_neither_density_nor_steps_of_a_plan(tiny):
    chain = (Initialize(), Prune(by=tiny.ByChance(), density=0.25), Train(), Deploy(by=Negated()))
    plan = make_plan([tiny.trial(tiny.Chained(chain=chain))], {})
    node = plan.nodes[plan.trials[0].key]
    assert (node.density, node.start, node.stop, node.steps) == (0.25, 20, 20, 0)


def test_ablations_leave_it_where_it_stands(tiny):
    prune, deploy = Prune(by=tiny.ByChance(), density=0.25), Deploy(by=Negated())
    chain = (Initialize(), prune, Train(), deploy)

    def changed(**how):
        return ablated(chain, Entry(label="x", method=tiny.Chained(chain=chain), **how))

    assert changed(shuffle=True) == [Initialize(), prune, Shuffle(), Train(), deploy]
    assert changed(reinitialize=True) == [Initialize(), prune, Reinitialize(), Train(), deploy]
    assert changed(invert=True)[-1] == deploy


def test_a_method_that_deploys_nothing_says_so(trained, tiny):
    with pytest.raises(NotImplementedError, match="'by-chance' deploys nothing"):
        measured(Deploy(by=tiny.ByChance()), trained.end, trained.context)


# --- Bytes


@pytest.fixture
def linear():
    """A layer of 1,000 weights and 10 biases."""
    torch.manual_seed(0)
    return nn.Linear(100, 10)


def test_the_dense_size_is_that_of_a_file_of_all_numbers(linear, tmp_path):
    safetensors.torch.save_file(linear.state_dict(), tmp_path / "dense.safetensors")
    assert dense_bytes(linear) == stored_bytes(linear) == (tmp_path / "dense.safetensors").stat().st_size
    assert dense_bytes(linear) == pytest.approx(4 * 1010, abs=200)


def test_zeros_cost_a_bit_each(linear):
    full = stored_bytes(linear)
    with torch.no_grad():
        linear.weight.view(-1)[100:] = 0
    assert dense_bytes(linear) == full
    # 100 numbers and a bit for each of 1,000, instead of 1,000 numbers; and the name of the bits.
    assert full - stored_bytes(linear) == pytest.approx(4000 - 400 - 125, abs=100)


def test_where_a_mask_would_cost_more_than_it_saves_zeros_are_written_out(linear):
    with torch.no_grad():
        linear.weight.view(-1)[:31] = 0  # 124 bytes less for 125 of mask
    assert stored_bytes(linear) == dense_bytes(linear)
    with torch.no_grad():
        linear.weight.view(-1)[:100] = 0
    assert stored_bytes(linear) < dense_bytes(linear)


def test_buffers_are_part_of_the_file(linear):
    assert dense_bytes(nn.Sequential(linear, nn.BatchNorm1d(10))) > dense_bytes(linear) + 4 * 4 * 10


# --- Milliseconds


class Slow(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.passes = seconds, 0

    def forward(self, inputs):
        self.passes += 1
        time.sleep(self.seconds)
        return inputs


def test_latency_is_the_median_of_the_passes_with_its_spread_after_some_that_do_not_count():
    networks = {"slow": Slow(0.02), "fast": Slow(0.002)}
    figures = latencies(networks, torch.zeros(1))
    assert figures.keys() == {"slow", "slow_iqr", "fast", "fast_iqr"}
    assert figures["slow"] >= 20
    assert 2 <= figures["fast"] < 20
    assert figures["slow_iqr"] >= 0
    assert networks["slow"].passes > 5 + 5


def test_as_many_examples_are_timed_as_were_asked_for(trained):
    shapes = set()
    network = trained.module
    network.register_forward_hook(lambda module, inputs, logits: shapes.add(inputs[0].shape[0]))
    measure(Deployed(network), copy.deepcopy(network), trained.context.data, 40)
    assert shapes == {40}  # more than the 25 of the test set


def test_the_dense_network_is_timed_in_the_deployed_ones_precision(trained):
    seen = []
    dense, half = trained.module, copy.deepcopy(trained.module).to(torch.bfloat16)
    dense.register_forward_hook(lambda module, inputs, logits: seen.append(logits.dtype))
    figures = measure(Deployed(half, dtype=torch.bfloat16), dense, trained.context.data, 1)
    assert set(seen) == {torch.bfloat16}
    assert figures["size_bytes"] < figures["size_bytes_dense"]
