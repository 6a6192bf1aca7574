"""Tickets as the masks of other trials: the same work again, other seeds, other tasks, and what does not fit."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import prunebench
from prunebench import Initialize, Prune, Train
from prunebench.api.errors import PrunebenchError, SuiteError, TicketError, Unreachable
from prunebench.api.files import File
from prunebench.api.registry import Registry
from prunebench.api.tasks import Prunable
from prunebench.inspection.tickets import Facts, Ticket
from prunebench.plan.planning import protocol, resolve
from prunebench.records.keys import digest
from prunebench.suite.reading import trial_from_plain, trial_to_plain
from prunebench.testing import NETWORKS, conformance
from prunebench.testing.tasks import task_of


def ticket_of(trial, masks, initial, final, step=0):
    layers = tuple((layer.name, layer.shape) for layer in trial.network.layers)
    shape, outputs = trial.task.interface.shape, trial.task.interface.outputs
    facts_of = {"trial": str(trial), "configuration": trial_to_plain(trial), "layers": layers, "shape": shape}
    empty = {"figures": {}, "key": "", "protocol": "", "fingerprint": "", "environment": {}}
    facts = Facts(**facts_of, **empty, classes=outputs[-1], interface=trial.task.interface, initial_step=step)
    return Ticket(facts, masks, initial, final)


def ticket_of_chain(chain):
    """What the end of a chain that rewinds to its initialization is a ticket of."""
    first, end = chain.after(Initialize), chain.end
    initial, final = (state.parameters | state.buffers for state in (first, end))
    return ticket_of(chain.context.trial, end.masks, initial, final)


def ticket_on(trial, density=0.5):
    """Every other weight of a network, or as many as `density` says; its weights are drawn by chance."""
    torch.manual_seed(7)
    module = trial.task.model.build_for(trial.task.interface)
    named = (*module.named_parameters(), *module.named_buffers())
    values = {name: value.detach() for name, value in named}
    scores = {layer.name: torch.rand(layer.shape) for layer in trial.network.layers}
    masks = {}
    for layer in trial.network.layers:
        kept = torch.zeros(layer.size, dtype=torch.bool)
        kept[scores[layer.name].flatten().argsort()[: round(density * layer.size)]] = True
        masks[layer.name] = kept.view(layer.shape)
    final = {name: value * masks[name] if name in masks else value for name, value in values.items()}
    return ticket_of(trial, masks, values, final)


@pytest.fixture
def transfer(method, tmp_path):
    """The method with a ticket, and other parameters."""

    def make(ticket, **parameters):
        ticket.save(tmp_path / "t.safetensors")
        return method("transfer", ticket=File.at(str(tmp_path / "t.safetensors")), **parameters)

    return make


@pytest.fixture
def one_shot(tiny, method, run_chain):
    """A ticket found in one shot, rewound to its initialization and trained again."""
    return run_chain(tiny.trial(method("imp", iterative=False), task=tiny.task(tiny.Conv())))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("weights", ["own", "ticket"])
def test_a_tickets_own_trial_trains_again_bit_for_bit(tiny, transfer, run_chain, one_shot, weights):
    again = run_chain(
        tiny.trial(transfer(ticket_of_chain(one_shot), weights=weights), task=one_shot.context.trial.task)
    )
    for field in ("masks", "parameters", "buffers", "optimizer"):
        assert same(getattr(again.end, field), getattr(one_shot.end, field))
    assert again.accuracy == one_shot.accuracy
    trained = one_shot.end.cost.training_flops - one_shot.after(Train, 0).cost.training_flops
    assert again.end.cost.training_flops == pytest.approx(trained)


def test_another_seed_trains_other_weights_under_the_same_mask(tiny, transfer, run_chain, one_shot):
    task = one_shot.context.trial.task
    other = run_chain(tiny.trial(transfer(ticket_of_chain(one_shot)), task=task, seed=1))
    assert same(other.end.masks, one_shot.end.masks)
    assert not same(other.after(Initialize).parameters, one_shot.after(Initialize).parameters)
    assert not same(other.end.parameters, one_shot.end.parameters)


def test_another_seed_with_the_tickets_weights_begins_where_the_ticket_did(tiny, transfer, one_shot, run_chain):
    method = transfer(ticket_of_chain(one_shot), weights="ticket")
    trial = tiny.trial(method, task=replace_recipe(one_shot.context.trial.task, steps=1, lr=1e-30), seed=1)
    other, first = run_chain(trial), one_shot.after(Initialize)
    assert not same(other.after(Initialize).parameters, first.parameters)
    for name, value in other.end.parameters.items():
        expected = first.parameters[name] * one_shot.end.masks.get(name, True)
        assert torch.allclose(value, expected, rtol=0, atol=1e-12)


def replace_recipe(task, lr, **changes):
    optimizer = replace(task.recipe.optimizer, lr=lr, weight_decay=0.0, momentum=0.0)
    return replace(task, recipe=replace(task.recipe, optimizer=optimizer, **changes))


def test_its_chain_prunes_to_the_tickets_own_density(tiny, transfer):
    trial = tiny.trial(tiny.ByChance(), sparsity=0.75)
    method = transfer(ticket_on(trial, 0.25))
    stages = list(method.stages(trial))
    assert stages == [Initialize(), Prune(by=method, density=stages[1].density), Train()]
    kept = sum(int(mask.sum()) for mask in ticket_on(trial, 0.25).masks.values())
    assert stages[1].density == kept / trial.network.size


def test_another_sparsity_is_skipped_with_the_reason(tiny, transfer):
    trial = tiny.trial(tiny.ByChance(), sparsity=0.9)
    with pytest.raises(Unreachable, match=r"the ticket has a sparsity of 0\.5 here, and no other"):
        list(transfer(ticket_on(trial, 0.5)).stages(trial))


class Five(prunebench.Dataset):
    """As many pixels as blobs, but five classes."""

    name = "five"
    mean = std = (1.0,)

    def facts(self):
        return prunebench.DataFacts(shape=(1, 6, 6), classes=5, train=60, test=25)


def test_an_output_layer_of_other_classes_stays_dense(tiny, transfer, scoring_of):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(12,))))
    there = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(12,)), dataset=Five()), sparsity=0.4390)
    method = transfer(ticket_on(trial))
    [_, prune, _] = method.stages(there)
    assert prune.density == (216 + 60) / (432 + 60)
    module = there.task.model.build((1, 6, 6), 5)
    scores = method.scores(scoring_of(module, (1, 6, 6)))
    assert scores["4.weight"].tolist() == torch.ones(5, 12).tolist()
    assert torch.equal(scores["1.weight"] > 0, ticket_on(trial).masks["1.weight"])


def test_a_small_dense_output_layer_does_not_change_where_a_ticket_belongs(tiny, transfer):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(64, 24))))
    there = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(64, 24)), dataset=Five()))
    [_, prune, _] = transfer(ticket_on(trial)).stages(there)
    assert prune.density == pytest.approx((0.5 * (36 * 64 + 64 * 24) + 24 * 5) / (36 * 64 + 64 * 24 + 24 * 5))


def test_the_tickets_weights_leave_an_output_layer_of_another_shape_as_it_was_drawn(tiny, transfer):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(12,))))
    ticket = ticket_on(trial)
    training = Begun(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 5)))
    drawn = training.parameters["4.weight"].clone()
    transfer(ticket, weights="ticket").updater(None).begin(training)
    assert torch.equal(training.parameters["1.weight"], ticket.initial["1.weight"])
    assert torch.equal(training.parameters["1.bias"], ticket.initial["1.bias"])
    assert torch.equal(training.parameters["4.weight"], drawn)


def test_the_tickets_weights_have_to_fit_everywhere_else(tiny, transfer):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(12,), bias=False)))
    training = Begun(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 3)))
    with pytest.raises(TicketError, match=r"no initial weights of this shape for 1\.bias$"):
        transfer(ticket_on(trial), weights="ticket").updater(None).begin(training)


class Begun:
    """As much of a training as its beginning needs."""

    def __init__(self, model):
        self.model, self.masks = model, {}
        self.parameters = dict(model.named_parameters())
        self.network = prunebench.Network((), 0.0, 0, "4.weight")


def test_a_network_that_does_not_fit_is_an_error_that_lists_what(tiny, transfer):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=(12, 8))))
    method = transfer(ticket_on(trial))
    wider = tiny.trial(method, task=tiny.task(tiny.MLP(hidden=(13, 8))))
    with pytest.raises(PrunebenchError) as caught:
        list(resolve(wider, "root"))
    assert "does not fit: 1.weight is 12×36 in the ticket and 13×36 here; 4.weight is 8×12" in str(caught.value)
    excluded = tiny.trial(method, task=tiny.task(tiny.MLP(hidden=(12, 8)), prunable=Prunable(first=False)))
    with pytest.raises(TicketError, match=r"does not fit: 1\.weight is 12×36 in the ticket and not prunable here$"):
        list(method.stages(excluded))


def test_a_ticket_of_nothing_that_is_here_is_an_error(tiny, transfer):
    one = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=())))
    there = tiny.trial(tiny.ByChance(), task=tiny.task(tiny.MLP(hidden=()), dataset=Five()))
    with pytest.raises(TicketError, match="no layer is the same in the ticket and here"):
        list(transfer(ticket_on(one)).stages(there))


def test_keys_follow_the_content_of_the_ticket_and_not_its_place(tiny, method, tmp_path):
    trial = tiny.trial(tiny.ByChance())
    ticket, other = ticket_on(trial), ticket_on(trial)
    other.masks["1.weight"] = other.masks["1.weight"].roll(1, 0)
    names = {"here": ticket, "there": ticket, "other": other}
    keys = {}
    for name, saved in names.items():
        saved.save(tmp_path / name)
        made = method("transfer", ticket=File.at(str(tmp_path / name)))
        nodes = list(resolve(tiny.trial(made), protocol(trial.task, "")))
        keys[name] = (digest(made), *(node.key for node in nodes))
    assert keys["here"] == keys["there"]
    assert keys["here"][1] == keys["other"][1]  # the initialization
    assert set(keys["here"][2:]).isdisjoint(keys["other"][2:])


def test_a_worker_is_told_the_path_and_refuses_another_content(tiny, transfer, tmp_path):
    trial = tiny.trial(tiny.ByChance())
    ours = tiny.trial(transfer(ticket_on(trial)))
    plain = json.loads(json.dumps(trial_to_plain(ours)))
    components = {"method": {"transfer": type(ours.entry.method)}, "model": {"tiny-mlp": tiny.MLP}}
    registry = Registry(components=components | {"dataset": {"blobs": tiny.Blobs}})
    assert trial_from_plain(plain, registry) == ours
    transfer(ticket_on(trial, 0.25))
    with pytest.raises(SuiteError, match=r"ticket: '.*t\.safetensors' is not the expected file"):
        trial_from_plain(plain, registry)


@pytest.mark.parametrize("weights", ["own", "ticket"])
@pytest.mark.parametrize("network", [pytest.param(one, marks=pytest.mark.slow) for one in NETWORKS[1:]] + [NETWORKS[0]])
def test_it_conforms_on_the_network_of_its_ticket(tiny, transfer, network, weights):
    dataset, objective = task_of(network)
    task = replace(tiny.task(network, dataset=dataset), objective=objective)
    trial = tiny.trial(tiny.ByChance(), task=task)
    report = conformance(transfer(ticket_on(trial), weights=weights), networks=[network])
    assert report.ok, str(report)
    warnings = [finding.detail for finding in report.findings if finding.status == "warned"]
    assert all(
        "its updater set no masks" in detail for detail in warnings
    )  # which it never does: the ticket's mask stays
    skipped = {finding.check for finding in report.findings if finding.status == "skipped"}
    assert skipped <= {"devices", *type(transfer(ticket_on(trial))).exempt}
