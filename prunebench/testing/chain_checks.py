"""Checks of a method on a network: of its chain, and of what its hooks do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from statistics import fmean

import torch

from prunebench.api import contexts
from prunebench.api.components import Model
from prunebench.api.contexts import Scoring
from prunebench.api.errors import Unreachable
from prunebench.api.methods import Method, method_of
from prunebench.api.stages import PRUNING, Cut, Deploy, Initialize, Prune, Reinitialize, Rewind, Shuffle, Stage, Train
from prunebench.api.tasks import Prunable, Trial
from prunebench.execution.performing import final_figures, perform
from prunebench.network.description import describe
from prunebench.plan.chain import leaves_dense
from prunebench.plan.planning import Node
from prunebench.store.state_files import shapes_of
from prunebench.testing.global_state import same
from prunebench.testing.harness import (
    ADAM,
    ADAMW,
    MOMENTUM,
    SHORT,
    Case,
    Harness,
    Run,
    attributes_of,
    context_of,
    data_of,
    nodes_of,
    performed,
    raised,
    with_spy,
)
from prunebench.testing.verdicts import Nonconformity, NotApplicable, warn
from prunebench.training.state import State, Tensors, from_tensors, to_tensors

SEEDS = 2
"""Over which losses are averaged."""
ENOUGH = 60
"""Steps after which a small network has learnt."""
SPARSE = (0.9, 0.95, 0.75, 0.99, 0.5)
"""The targets, those first at which it shows whether the best weights are kept."""
SHOWN = 3
"""Problems of one kind that are shown."""
_STOPPED = "its chain does not run: see chain and scores"
_MOVING = (Train, Rewind, Reinitialize, Shuffle)
"""The stages that change weights of every layer."""
TENSORS = ("masks", "parameters", "buffers", "optimizer", "memory")


def chain(harness: Harness, network: Model) -> None:
    """Its chain is well-formed, the same each time, and runs from end to end."""
    run = harness.watched(network)
    if run.error is not None and run.spy.problems.get("scores"):
        raise NotApplicable("its scores are invalid, so that its chain does not run: see scores")
    raised(run)
    if [node.key for node in nodes_of(run.trial)] != [node.key for node in run.nodes]:
        raise Nonconformity("stages yields another chain when it is called again")
    if (
        any(isinstance(node.stage, Train) and not leaves_dense(node.stage) for node in run.nodes)
        and not run.spy.updates
    ):
        warn(f"its updater set no masks in {run.trial.task.clock.total} steps: check it with shorter times")


def scores(harness: Harness, network: Model) -> str:
    """There is a finite score for each weight, in a tensor of its shape."""
    _report(_tried(harness, network), "scores")
    run = _sound(harness, network)
    if not run.spy.scored:
        raise NotApplicable("nothing in its chain is pruned by scores")
    unscored = ", ".join(map(repr, run.spy.unscored))
    return f"every score is 0 in {unscored}: there the order of the weights decides" if unscored else ""


def density(harness: Harness, network: Model) -> str:
    """Exactly the weights that were asked for are kept, and all others are zero, at five sparsities."""
    _sound(harness, network)
    reached, reason = [], None
    for sparsity in harness.targets:
        try:
            run = harness.run(Case(network=network, sparsity=sparsity))
        except Unreachable as error:
            reason = reason or error
        else:
            _check_density(run)
            reached.append(f"{sparsity:g}")
    if reason is None:
        return ""
    if not reached:
        raise reason
    return f"at {', '.join(reached)} only: {reason}"


def zeros(harness: Harness, network: Model) -> None:
    """Pruned weights are zero in every pass, under momentum, Adam and weight decay, and after every stage."""
    _sound(harness, network)
    for optimizer in (MOMENTUM, ADAM, ADAMW):
        run = harness.run(harness.case(network, optimizer=optimizer))
        _report(run, "zeros", f" (under {optimizer.name})")
        if not any(state.masks for state in run.states.values()):
            raise NotApplicable("it removes channels, and masks nothing" if run.end.cut else "it prunes nothing")
        for node, _, state in run.steps():
            if revived := _revived(state):
                raise Nonconformity(f"{revived} after {_called(node)} (under {optimizer.name})")


def seeds(harness: Harness, network: Model) -> None:
    """A trial comes out the same when it is run again, and another seed's mask is another."""
    run = _sound(harness, network)
    if found := difference(run, raised(performed(run.trial))):
        raise Nonconformity(f"the same trial comes out otherwise when it is run again: {found}")
    other = raised(performed(replace(run.trial, seed=run.trial.seed + 1), draw=1))
    if (run.end.masks or run.end.cut) and same(run.end.masks, other.end.masks) and run.end.cut == other.end.cut:
        raise Nonconformity(
            f"the masks of seeds {run.trial.seed} and {other.trial.seed} are the same: draw from scoring.generator or "
            "training.generator(...)"
        )


def order(harness: Harness, network: Model) -> None:
    """A trial comes out the same whatever ran before it in the process."""
    run = _sound(harness, network)
    raised(performed(replace(run.trial, seed=run.trial.seed + 7)))
    after = raised(performed(run.trial, draw=54321))
    if found := difference(run, after):
        raise Nonconformity(f"the trial comes out otherwise when another one ran before it: {found}")


def resume(harness: Harness, network: Model) -> None:
    """Training in pieces, each in another process as it were, is training in one."""
    run = _sound(harness, network)
    if not any(isinstance(node.stage, Train) for node in run.nodes):
        raise NotApplicable("its chain does not train")

    def in_pieces(node: Node, state: State | None, source: State | None, run: Run) -> State:
        for stop in (*_cuts(node), node.stop):
            again = {one.key: one for one in nodes_of(harness.again(run.trial))}
            if node.key not in again:
                raise NotApplicable("its chain is another in another process: see chain and parameters")
            piece = with_spy(replace(again[node.key], stop=stop), run.spy)
            state = _through_disk(perform(piece, state, source, context_of(run.trial)))
        assert state is not None
        return state

    pieces = raised(performed(run.trial, by=in_pieces))
    if found := difference(run, pieces):
        raise Nonconformity(
            f"a training that stops and goes on comes out otherwise: {found}; what an updater remembers belongs into "
            "training.memory"
        )
    whole, parts = run.end.cost.training_flops, pieces.end.cost.training_flops
    if not math.isclose(whole, parts, rel_tol=1e-9):
        raise Nonconformity(f"a training that stops and goes on costs {parts:,.0f} FLOPs, and not {whole:,.0f}")


def devices(harness: Harness, network: Model) -> None:
    """It works on a GPU as well, and keeps as many weights there."""
    run = _sound(harness, network)
    if not torch.cuda.is_available():
        raise NotApplicable("this machine has no CUDA device")
    there = performed(run.trial, device=torch.device("cuda", 0))
    _report(there, "scores")
    raised(there)
    _check_density(there)
    if revived := _revived(there.end):
        raise Nonconformity(revived)


def excluded(harness: Harness, network: Model) -> None:
    """Layers that a task leaves alone are not pruned, and not changed but by training."""
    _sound(harness, network)
    names = [layer.name for layer in describe(harness.trial(harness.case(network)).task).layers]
    alone = names[::2]
    case = harness.case(network, prunable=Prunable(exclude=tuple(f"^{re.escape(name)}$" for name in alone)))
    run = harness.run(case)
    _check_density(run)
    for node, before, after in run.steps():
        for name in alone:
            if name in after.masks:
                raise Nonconformity(f"{_called(node)} prunes {name!r}, which the task excludes")
            moved = before is not None and not torch.equal(
                before.narrowed(after.cut).parameters[name], after.parameters[name]
            )
            if moved and not isinstance(node.stage, _MOVING):
                raise Nonconformity(f"{_called(node)} changes {name!r}, which the task excludes")
    whole = {layer.name: layer for layer in describe(harness.trial(harness.case(network)).task).layers}
    for name in alone:
        if run.end.parameters[name].shape[1 - whole[name].input_dim] != whole[name].shape[1 - whole[name].input_dim]:
            raise Nonconformity(f"outputs of {name!r} are removed, which the task excludes")
        if not bool(run.end.parameters[name].all()):
            raise Nonconformity(f"there are zeros in {name!r}, which the task excludes")


def cost(harness: Harness, network: Model) -> None:
    """What scoring and training cost is declared, and not too little."""
    run = _sound(harness, network)
    _report(run, "cost")
    if wrong := [name for name, value in asdict(run.end.cost).items() if not (math.isfinite(value) and value >= 0)]:
        raise Nonconformity(f"the ledger has no number for {', '.join(wrong)}")


def untouched(harness: Harness, network: Model) -> None:
    """Global generators and torch's settings are as they were after each hook."""
    _report(_sound(harness, network), "globals")


def context(harness: Harness, network: Model) -> None:
    """The context that is passed to it is not changed in place: masks, data, and the method itself."""
    run = _sound(harness, network)
    _report(run, "context")
    used, data = run.context.data, data_of(run.trial.task)
    for split in ("train", "test"):
        one, other = getattr(used, split), getattr(data, split)
        if not (same(one.inputs, other.inputs) and same(one.targets, other.targets)):
            raise Nonconformity(f"the {split} examples were changed in place")
    if not same(attributes_of(harness.method), harness.before):
        raise Nonconformity("the method itself was changed: what is to be remembered belongs into training.memory")


def inversion(harness: Harness, network: Model) -> str:
    """Keeping the worst weights instead of the best leads to a higher loss."""
    _sound(harness, network)
    case = _sparse_case(harness, network)
    best, worst = (
        fmean(_loss(harness.run(replace(case, invert=invert, seed=seed))) for seed in range(SEEDS))
        for invert in (False, True)
    )
    found = f"test loss {best:.3g}, and {worst:.3g} when the worst are kept, at {case.sparsity:g}"
    if not best < worst:
        raise Nonconformity(
            f"{found}; if the scores are not meant to say which weights matter, write "
            'exempt = {"inversion": "why"} in the class'
        )
    return found


def deploy(harness: Harness, network: Model) -> str:
    """The network that it delivers gives finite outputs, the same each time, and leaves the process as it was."""
    trial = delivery(harness, network)
    run, again = (raised(performed(trial)) for _ in range(2))
    _report(run, "globals")
    metric = trial.task.metrics[0]
    for name in (metric.name, "loss"):
        if run.figures[f"test_{name}"] != again.figures[f"test_{name}"]:
            raise Nonconformity(f"the test {name} is another when the network is delivered again")
    return f"test {metric.label} {metric.shown(run.figures[f'test_{metric.name}'])}"


class Largest(Method):
    """Prunes what another method is to deliver."""

    name = "largest"

    def scores(self, scoring: Scoring) -> Tensors:
        return {name: weight.abs() for name, weight in scoring.weights.items()}


class Delivered(Method):
    """A method's chain with what it delivers at its end; an ordinary pruning where it defines no chain."""

    name = "delivered"

    of: Method

    def stages(self, trial: contexts.Trial) -> Iterator[Stage]:
        try:
            yield from list(self.of.stages(trial))
        except Unreachable:
            yield from (Initialize(), Train(), Prune(by=Largest(), density=trial.density))
        yield Deploy(by=self.of)


def delivers(method: Method) -> bool:
    """Whether a method has something to deliver."""
    return type(method).deploy is not Method.deploy


def delivery(harness: Harness, network: Model) -> Trial:
    """The trial of what a method delivers on a network, whether or not it defines a chain."""
    try:
        return delivered(harness.trial(harness.case(network)))
    except Unreachable:
        return delivered(harness.trial(Case(network=network, sparsity=harness.targets[0], steps=SHORT)))


def delivered(trial: Trial) -> Trial:
    """The trial with what its method delivers at the end of its chain."""
    return replace(trial, entry=replace(trial.entry, method=Delivered(of=trial.entry.method)))


def difference(one: Run, other: Run) -> str:
    """Where two runs first differ, bit for bit; empty when they do not."""
    for node, another in zip(one.nodes, other.nodes, strict=False):
        before, after = one.states[node.key], other.states[another.key]
        for field in TENSORS:
            first, second = getattr(before, field), getattr(after, field)
            for name in sorted(first.keys() | second.keys()):
                if name not in first or name not in second or not same(first[name], second[name]):
                    return f"{field} of {name!r} after {_called(node)}"
        if _timeless(before) != _timeless(after):
            return f"evaluations after {_called(node)}"
    return "" if len(one.nodes) == len(other.nodes) else "the chain"


def _timeless(state: State) -> list[dict[str, float]]:
    return [{name: value for name, value in figures.items() if name != "time"} for figures in state.history]


def _tried(harness: Harness, network: Model) -> Run:
    """The watched run, whatever stopped it."""
    try:
        return harness.watched(network)
    except Unreachable:
        raise
    except Exception:  # there is no chain to be run
        raise NotApplicable(_STOPPED) from None


def _sound(harness: Harness, network: Model) -> Run:
    """The watched run; NotApplicable where an error stopped it, which the checks of chain and scores are about."""
    run = _tried(harness, network)
    if run.error is not None and not isinstance(run.error, Unreachable):
        raise NotApplicable(_STOPPED)
    return raised(run)


def _report(run: Run, check: str, where: str = "") -> None:
    """Raise the problems that the spy noted for a check."""
    problems = run.spy.problems.get(check, [])
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise Nonconformity("\n".join([*problems[:SHOWN], *more]) + where)


def _check_density(run: Run) -> None:
    """Weights are counted in the state, and not copied from a request."""
    layers, state = describe(run.trial.task).layers, run.end
    size = sum(layer.size for layer in layers)
    if any(isinstance(node.stage, Cut) for node in run.nodes):
        _check_cut(run, size)
        return
    kept = sum(int(state.masks[layer.name].sum()) if layer.name in state.masks else layer.size for layer in layers)
    structures = [node.stage.structure for node in run.nodes if isinstance(node.stage, PRUNING)]
    if not (structures and structures[-1]):  # with a structure, low-rank factors are beyond it
        kept += sum(state.parameters[name].numel() for factors in state.cut.factors.values() for name in factors)
    # What N:M sparsity keeps of layers that it does not fit is no fault of the method.
    density = run.nodes[-1].density if structures and structures[-1] else run.trial.density
    if kept != round(density * size):
        raise Nonconformity(
            f"{kept} of {size} weights are kept at sparsity {run.trial.sparsity:g}, and not {round(density * size)}"
        )
    if revived := _revived(state):
        raise Nonconformity(f"{revived} in the end, at sparsity {run.trial.sparsity:g}")


def _check_cut(run: Run, size: int) -> None:
    """At most the weights that were asked for are left."""
    layers, left = describe(run.trial.task).layers, run.end.kept()
    kept = sum(left.get(layer.name, layer.size) for layer in layers)
    if kept > round(run.trial.density * size):
        raise Nonconformity(
            f"{kept} of {size} weights are left at sparsity {run.trial.sparsity:g}, and not at most "
            f"{round(run.trial.density * size)}"
        )


def _revived(state: State) -> str:
    for name, mask in state.masks.items():
        if count := int(torch.count_nonzero(state.parameters[name][~mask])):
            return f"{count} pruned weights of {name!r} are not zero"
    return ""


def _cuts(node: Node) -> list[int]:
    """Where a training is stopped on its way."""
    if not isinstance(node.stage, Train):
        return []
    length = node.stop - node.start
    return sorted({node.start + length // 3, node.start + 3 * length // 4} - {node.start})


def _through_disk(state: State) -> State:
    """The state as it comes back from the store."""
    rest = {name: getattr(state, name) for name in ("step", "trajectory", "history", "loss_sum", "loss_steps")}
    return from_tensors(
        to_tensors(state), shapes_of(state), rest | {"cost": asdict(state.cost), "choice": asdict(state.choice)}
    )


def _sparse_case(harness: Harness, network: Model) -> Case:
    """Where it shows which weights are kept."""
    reason = Unreachable("it has no targets")
    for sparsity in SPARSE:
        case = Case(network=network, sparsity=sparsity, optimizer=ADAM, evaluate_every="2it", invert=True, steps=ENOUGH)
        try:
            nodes = nodes_of(harness.trial(case))
        except Unreachable as error:
            reason = error
            continue
        methods = [method_of(node.stage) for node in nodes if isinstance(node.stage, (Prune, Cut))]
        reasons = [method.exempt["inversion"] for method in methods if method and "inversion" in method.exempt]
        if methods and len(reasons) == len(methods):
            raise NotApplicable(reasons[0])
        return case
    raise reason


def _loss(run: Run) -> float:
    """The mean test loss since the last pruning: what is pruned badly takes longer to recover, if it ever does."""
    losses = [figures["test_loss"] for figures in run.end.history]
    return fmean(losses) if losses else final_figures(run.end, run.context)["test_loss"]


def _called(node: Node) -> str:
    """A stage in a few words."""
    by = getattr(node.stage, "by", None)
    return type(node.stage).__name__ + (f" by {by.name}" if by else "")
