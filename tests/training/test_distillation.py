"""Trainings that imitate the dense network: the loss by hand, the steps, their cost, and what cannot be a teacher."""

import json
import math
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import prunebench
from prunebench import Classification, Distillation, Initialize, Prune, Train
from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.files import File, Weights
from prunebench.api.objectives import softmax_divergence
from prunebench.api.tasks import Optimizer
from prunebench.execution.job_specs import from_values, to_values
from prunebench.execution.performing import perform
from prunebench.execution.results import variant
from prunebench.plan.planning import make_plan, resolve
from prunebench.training.loop import CheckpointCallback

HOW = Distillation(temperature=2.0, weight=0.75)


def test_the_divergence_is_that_of_softened_outputs_times_the_squared_temperature():
    """The teacher says (1/2, 1/2), the network (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3."""
    divergence = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    ours, theirs = torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2)
    assert float(softmax_divergence(ours, theirs, 1.0)) == pytest.approx(divergence)
    assert float(softmax_divergence(2 * ours, theirs, 2.0)) == pytest.approx(4 * divergence)
    both = torch.cat([ours, theirs]), torch.zeros(2, 2)  # the second example is imitated exactly
    assert float(Classification().distilled_loss(*both, 1.0)) == pytest.approx(divergence / 2)


def test_the_divergence_is_torchs_own_and_never_below_zero():
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 7, 5)
    for temperature in (0.5, 1.0, 4.0):
        p = (theirs / temperature).softmax(1)
        expected = (p * (p.log() - (ours / temperature).softmax(1).log())).sum(1).mean() * temperature**2
        found = softmax_divergence(ours, theirs, temperature)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
        assert float(softmax_divergence(theirs, theirs, temperature)) == pytest.approx(0, abs=1e-6)
        assert float(found) > 0


def test_every_built_in_objective_has_its_own_imitation(built_in):
    language, regression, labels = (
        built_in("objective", name) for name in ("language-modelling", "regression", "multi-label")
    )
    ours, theirs = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]]), torch.zeros(1, 2, 2)
    of_a_token = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert float(language.distilled_loss(ours, theirs, 1.0)) == pytest.approx(of_a_token / 2)
    assert float(regression.distilled_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [5.0]]), 9.0)) == 4.5
    # Probabilities of 3/4 and of 1/2 for one label: KL(1/2, 3/4) is the divergence above.
    logit = torch.tensor([[math.log(3), 0.0]])
    assert float(labels.distilled_loss(logit, torch.zeros(1, 2), 1.0)) == pytest.approx(of_a_token / 2)
    assert float(labels.distilled_loss(2 * logit, torch.zeros(1, 2), 2.0)) == pytest.approx(4 * of_a_token / 2)


@pytest.fixture
def taught(tiny, run_stages):
    """A chain that trains, prunes half, and trains on with or without a teacher."""

    def run(how=HOW, more=(), until="end", model=None, **recipe):
        task = tiny.task(model or tiny.MLP(), **recipe)
        prune = Prune(by=tiny.ByChance(), density=0.5)
        return run_stages(task, Train(until="6it"), prune, *more, Train(until=until, distillation=how))

    return run


def test_a_step_is_that_of_the_weighted_mean_of_both_losses(taught):
    chain = taught(until="7it", optimizer=Optimizer(name="sgd", lr=0.1))
    start, dense = chain.after(Prune), chain.after(Train, 0)

    def network(state):
        module = chain.context.trial.task.model.build((1, 6, 6), 3)
        module.load_state_dict(state.parameters)
        return module

    student, teacher = network(start), network(dense)
    inputs, targets = chain.context.data.batch(0, "train", 6)
    outputs, wanted = student(inputs), teacher(inputs).detach()
    p, log_q = (wanted / 2).softmax(1), (outputs / 2).log_softmax(1)
    imitation = 4 * (p * (p.log() - log_q)).sum(1).mean()
    loss = 0.25 * cross_entropy(outputs, targets) + 0.75 * imitation
    loss.backward()
    for name, parameter in student.named_parameters():
        mask = start.masks.get(name, torch.ones_like(parameter))
        expected = start.parameters[name] - 0.1 * parameter.grad * mask
        assert torch.allclose(chain.end.parameters[name], expected, atol=1e-7)
        assert not torch.equal(chain.end.parameters[name], start.parameters[name])
    assert chain.end.history[-1]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_teacher_costs_one_dense_pass_of_each_example(taught):
    with_teacher, without = taught(), taught(how=None)
    seen = with_teacher.end.cost.examples - with_teacher.after(Train, 0).cost.examples
    more = with_teacher.end.cost.training_flops - without.end.cost.training_flops
    assert more == pytest.approx(seen * with_teacher.context.network.flops)
    assert seen == without.end.cost.examples - without.after(Train, 0).cost.examples == 300 - 92


def test_the_teacher_changes_nothing_but_the_loss(taught, tiny):
    """A share of 1e-30 is no share: dropout, order and everything else are those of a training without a teacher."""
    model = tiny.MLP(dropout=0.5)
    ours = taught(how=Distillation(weight=1e-30), model=model, evaluate_every="end")
    theirs = taught(how=None, model=model, evaluate_every="end")
    for name, value in theirs.end.parameters.items():
        assert torch.equal(ours.end.parameters[name], value)


class Kept(CheckpointCallback):
    def __init__(self, steps_made):
        self.steps_made, self.state = steps_made, None

    def wants(self, steps_made):
        return steps_made == self.steps_made

    def keep(self, state):
        self.state = state


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("steps_made", [7, 13, 19])
def test_a_resumed_training_is_bitwise_that_of_an_uninterrupted_one(taught, tiny, conv, steps_made):
    chain = taught(model=tiny.Conv() if conv else tiny.MLP(dropout=0.3))
    node, kept = chain.nodes[-1], Kept(steps_made)
    perform(node, chain.states[node.parent], chain.states[node.source], chain.context, kept)
    again = perform(node, kept.state, chain.states[node.source], chain.context)
    same_state(again, chain.end)


def same_state(one, other):
    for part in ("parameters", "buffers", "optimizer", "masks"):
        ours, theirs = getattr(one, part), getattr(other, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert one.cost.training_flops == other.cost.training_flops
    assert one.loss_sum == other.loss_sum


def test_a_training_in_two_parts_is_bitwise_that_in_one(taught):
    split = taught(more=[Train(until="12it", distillation=HOW)])
    assert [node.source for node in split.nodes[-2:]] == [split.nodes[1].key] * 2
    same_state(split.end, taught().end)


def test_the_key_is_of_the_teacher_and_of_how_it_is_imitated(tiny):
    def keys(how):
        stages = (Initialize(), Train(), Prune(by=tiny.ByChance(), density=0.5), Train(until="+1ep", distillation=how))
        return [node.key for node in resolve(tiny.trial(tiny.Chained(chain=stages)), "root")]

    plain, ours, warmer = keys(None), keys(HOW), keys(replace(HOW, temperature=3.0))
    assert plain[:3] == ours[:3] == warmer[:3]
    assert len({plain[3], ours[3], warmer[3]}) == 3


# Methods


def trial_of(tiny, method, how=HOW, **changes):
    trial = tiny.trial(method, **changes)
    return replace(trial, entry=replace(trial.entry, distillation=how))


def distilled(trial):
    return [
        (type(node.stage).__name__, node.source)
        for node in resolve(trial, "root")
        if getattr(node.stage, "distillation", 0)
    ]


def test_a_method_imitates_the_dense_network_in_its_fine_tuning(tiny, method):
    nodes = list(resolve(trial_of(tiny, method("magnitude")), "root"))
    assert [getattr(node.stage, "distillation", None) for node in nodes] == [None, None, None, HOW]
    assert nodes[3].source == nodes[1].key


def test_every_level_of_a_ticket_imitates_the_first_dense_training(tiny, method):
    nodes = list(resolve(trial_of(tiny, method("imp"), sparsity=0.5), "root"))
    taught = [node for node in nodes if isinstance(node.stage, Train) and node.stage.distillation]
    assert len(taught) == 4
    assert {node.source for node in taught} == {nodes[1].key}


def test_a_method_that_prunes_while_it_trains_imitates_the_weights_that_it_starts_from(tiny, method, tmp_path):
    made = method("gradual", interval="3it")
    with pytest.raises(Unreachable, match="prunes random weights, from which nothing can be distilled: start the task"):
        distilled(trial_of(tiny, made))
    values = tiny.MLP().build((1, 6, 6), 3).state_dict()
    safetensors.torch.save_file(values, tmp_path / "w.safetensors")
    task = replace(tiny.task(), weights=Weights(file=File.at(str(tmp_path / "w.safetensors"))))
    nodes = list(resolve(trial_of(tiny, made, task=task), "root"))
    assert nodes[1].stage.distillation == HOW
    assert nodes[1].source == nodes[0].key


@pytest.mark.parametrize("name", ["snip", "random", "imported-less"])
def test_random_weights_are_no_teacher(tiny, method, name):
    made = tiny.ByChance() if name == "imported-less" else method(name)
    plan = make_plan([trial_of(tiny, made)], {})
    assert "nothing can be distilled" in plan.trials[0].skipped


def test_a_method_without_a_training_after_its_pruning_has_nobody_to_teach(tiny, method):
    plan = make_plan([trial_of(tiny, method("magnitude", finetune=0))], {})
    assert plan.trials[0].skipped == (
        "method 'magnitude' does not train what it has pruned: there is nothing to distil into"
    )


def test_a_training_that_only_adds_a_penalty_is_the_teacher_of_what_is_cut_from_it(tiny, method):
    nodes = list(resolve(trial_of(tiny, method("slimming")), "root"))
    trainings = [node for node in nodes if isinstance(node.stage, prunebench.Train)]
    assert [node.stage.distillation for node in trainings] == [None, HOW]
    assert trainings[1].source == trainings[0].key


class Plain(prunebench.Objective):
    name = "plain"
    targets = ("classes",)

    def outputs(self, facts):
        return (facts.classes,)

    def metrics(self, facts):
        return Classification().metrics(facts)

    def loss(self, outputs, targets):
        return cross_entropy(outputs, targets)

    def sums(self, outputs, targets):
        return Classification().sums(outputs, targets)


class Penalized(Plain):
    """Cross-entropy of two passes, the second on inputs that are turned."""

    name = "penalized"

    def batch_loss(self, model, inputs, targets):
        return self.loss(model(inputs), targets) + 0.5 * self.loss(model(inputs.flip(-1)), targets)

    def batch_flops(self, network):
        return 3 * network.flops


@pytest.mark.parametrize("objective", [Plain(), Penalized()])
def test_an_objective_without_an_imitation_is_an_error(tiny, method, objective):
    task = replace(tiny.task(), objective=objective)
    with pytest.raises(PrunebenchError, match=f"objective '{objective.name}' does not support distillation"):
        list(resolve(trial_of(tiny, method("magnitude"), task=task), "root"))


def test_a_training_before_any_pruning_has_no_teacher(tiny):
    chain = tiny.Chained(chain=(Initialize(), Train(distillation=HOW)))
    with pytest.raises(
        PrunebenchError, match="a training with `distillation` follows a pruning, or makes masks itself"
    ):
        list(resolve(tiny.trial(chain), "root"))


def test_rows_with_and_without_a_teacher_are_of_two_variants(tiny, method):
    with_teacher, without = (
        make_plan([trial_of(tiny, method("magnitude"), how=how)], {}).trials[0] for how in (HOW, None)
    )
    assert variant(with_teacher) != variant(without)


def test_a_worker_is_told_of_it(registry):
    stage = Train(until="+1ep", distillation=HOW)
    assert from_values(json.loads(json.dumps(to_values(stage, registry))), registry) == stage


# Own training steps


def test_an_objective_may_bring_its_own_step(tiny, run_stages):
    task = replace(tiny.task(steps=1, optimizer=Optimizer(name="sgd", lr=0.1)), objective=Penalized())
    chain = run_stages(task, Train())
    start = chain.after(Initialize)
    module = task.model.build((1, 6, 6), 3)
    module.load_state_dict(start.parameters)
    inputs, targets = chain.context.data.batch(0, "train", 0)
    loss = cross_entropy(module(inputs), targets) + 0.5 * cross_entropy(module(inputs.flip(-1)), targets)
    loss.backward()
    for name, parameter in module.named_parameters():
        expected = start.parameters[name] - 0.1 * parameter.grad
        assert torch.allclose(chain.end.parameters[name], expected, atol=1e-7)


def test_an_own_step_is_charged_and_is_part_of_what_costs_are_relative_to(tiny, run_stages):
    from prunebench.training.cost import dense_training_flops

    task = replace(tiny.task(steps=20), objective=Penalized())
    chain = run_stages(task, Train())
    network = chain.context.network
    assert chain.end.cost.training_flops == pytest.approx(6 * network.flops * chain.end.cost.examples)
    assert dense_training_flops(task, network) == pytest.approx(chain.end.cost.training_flops)


def test_an_own_step_under_masks_keeps_pruned_weights_at_zero(tiny, run_stages):
    task = replace(tiny.task(steps=20), objective=Penalized())
    end = run_stages(task, Prune(by=tiny.ByChance(), density=0.3), Train()).end
    assert all(not bool(end.parameters[name][~mask].any()) for name, mask in end.masks.items())
    assert not Penalized().smooths


def test_half_precision_imitates_in_full(taught):
    chain = taught(precision="bfloat16", until="8it", evaluate_every="end")
    assert all(bool(value.isfinite().all()) for value in chain.end.parameters.values())
    assert isinstance(chain.module, nn.Module)
