"""The plan. Trials become chains of stages, and chains merge into one prefix tree by their keys.

A node's key is the hash of its parent's key and its own stage, and the root's that of the task (data fingerprint,
model, recipe, protocol version). Consecutive trainings are one trajectory: a point on it is keyed by the trajectory and
its step, not by where it was split, so the dense training of magnitude pruning and that of a ticket which rewinds to
step 500 are the same node. Nothing runs here, and no data is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from prunebench.api import times
from prunebench.api.components import Component
from prunebench.api.errors import DataError, PluginError, PrunebenchError, Unreachable
from prunebench.api.files import Weights
from prunebench.api.layers import Network
from prunebench.api.methods import Method
from prunebench.api.runtimes import Measure
from prunebench.api.stages import (
    PRUNING,
    Cut,
    Deploy,
    Initialize,
    Prune,
    PruneLayerwise,
    Reconstruct,
    Reinitialize,
    Rewind,
    Shuffle,
    Stage,
    Train,
)
from prunebench.api.tasks import Engine, Entry, Task, Trial
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.messages import tracebacks
from prunebench.messages.suggestions import nearest
from prunebench.network.description import alone, describe
from prunebench.network.modules import called
from prunebench.network.starting import check_start
from prunebench.plan.chain import Link, linked, removes
from prunebench.plan.engines import engine_key, engine_of, without_engine
from prunebench.pruning.allocation import check_shares, total_kept
from prunebench.records.keys import canonical_digest, digest, field_values
from prunebench.records.results import UNKNOWN_DATA
from prunebench.records.sources import files_of
from prunebench.training.cost import examples_between, training_flops
from prunebench.training.recipes import resolved_options

__all__ = ["UNKNOWN_DATA", "Node", "Plan", "PlannedTrial", "make_plan"]


@dataclass(frozen=True)
class Node:
    """A stage at its place in the tree."""

    key: str
    stage: Stage
    trial: Trial
    """One of the trials that run through here: what a worker rebuilds the chain from."""
    parent: str | None
    source: str | None
    """Another ancestor whose state the stage reads (rewinding, shuffling, reconstruction, distillation)."""
    start: int
    stop: int
    """The state's step before and after."""
    density: float
    """Of the prunable weights, after the stage."""
    trajectory: str = ""
    """Of a training: what it continues from, however it is split."""
    engine: Engine = "dense"
    """Of a training: what computes it."""

    @property
    def steps(self) -> int:
        return self.stop - self.start if isinstance(self.stage, Train) else 0

    @property
    def summary(self) -> str:
        """The stage in a few words, such as `train from step 0 to 100 by rigl`."""
        stage, by = self.stage, getattr(self.stage, "by", None)
        text = type(stage).__name__.lower()
        if isinstance(stage, Train):
            text = f"train from step {self.start} to {self.stop}"
        elif isinstance(stage, Prune):
            text = f"prune to density {stage.density:.4g}"
        elif isinstance(stage, PruneLayerwise):
            text = f"prune layer by layer to density {stage.density:.4g}"
        elif isinstance(stage, Cut):
            text = f"cut to {stage.density:.4g} of the {stage.unit}"
        elif isinstance(stage, Rewind):
            text = f"rewind to step {self.stop}"
        elif isinstance(stage, Measure):
            text = f"measure in {', '.join(entry.label for entry in stage.runtimes)}"
        text = f"{text} by {by.name}" if by else text
        return f"{text} (sparse engine)" if self.engine == "sparse" else text


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and the keys of its chain; or the reason why it is skipped, or fails before anything is run."""

    trial: Trial
    protocol: str
    chain: tuple[str, ...] = ()
    skipped: str = ""
    failed: str = ""
    network: Network | None = field(default=None, compare=False, repr=False)
    """The task's, where it is known already."""
    engine: Engine = "dense"
    """`sparse` if that computes a training of the chain."""

    @property
    def key(self) -> str:
        """Of the state that the trial ends with."""
        return self.chain[-1]

    @property
    def identity(self) -> str:
        """Of the trial's result in a suite: the same on every machine."""
        trial = self.trial
        names = (trial.task.label, trial.entry.label, trial.sparsity, trial.seed)
        return digest("trial", self.protocol, self.chain[-1:], names)


@dataclass(frozen=True)
class Plan:
    """The tree of a suite."""

    trials: tuple[PlannedTrial, ...]
    nodes: Mapping[str, Node]

    def children(self) -> dict[str, list[str]]:
        """Keys of the nodes that continue from each node."""
        found: dict[str, list[str]] = {key: [] for key in self.nodes}
        for key, node in self.nodes.items():
            if node.parent is not None:
                found[node.parent].append(key)
        return found


def protocol(task: Task, fingerprint: str) -> str:
    """The key of a task: all that its rows must share to be ranked together.

    Engines give the same numbers up to rounding. They are in the keys of the trainings that they compute.
    """
    parts = {name: value for name, value in field_values(without_engine(task)).items() if name != "label"}
    # What a recipe leaves open is the library's to choose, and may be another choice in its next version.
    return digest("task", PROTOCOL_VERSION, fingerprint, parts, resolved_options(task.recipe.optimizer))


def make_plan(
    trials: Iterable[Trial], fingerprints: Mapping[str, str], described: Callable[[Task], Network] = describe
) -> Plan:
    """The plan of some trials. Those of a data set whose facts cannot be used fail, each with the reason.

    Args:
        fingerprints: of the data, by task label; a task that is missing here gets UNKNOWN_DATA.
        described: as `describe`, for callers that cache descriptions.
    """
    planned: list[PlannedTrial] = []
    nodes: dict[str, Node] = {}
    protocols: dict[str, str] = {}
    broken: dict[str, str] = {}
    for trial in trials:
        label = trial.task.label
        if label not in protocols:
            protocols[label] = protocol(trial.task, fingerprints.get(label, UNKNOWN_DATA))
            broken[label] = _why_broken(trial.task)
            if not broken[label]:
                _check_start(trial.task, f"task {label!r}")
        if reason := broken[label]:
            planned.append(PlannedTrial(trial, protocols[label], failed=reason))
            continue
        network = _network(trial.task, described)
        try:
            chain = list(_resolved(trial, protocols[label], network))
        except Unreachable as reason:
            planned.append(PlannedTrial(trial, protocols[label], skipped=str(reason)))
            continue
        _check_last_batch(trial.task, chain)
        for node in chain:
            nodes.setdefault(node.key, node)
        keys = tuple(node.key for node in chain)
        planned.append(PlannedTrial(trial, protocols[label], keys, network=network, engine=engine_of_chain(chain)))
    return Plan(tuple(planned), _joined(nodes))


def engine_of_chain(chain: Iterable[Node]) -> Engine:
    """`sparse` if that computes any of the trainings."""
    return "sparse" if any(node.engine == "sparse" for node in chain) else "dense"


def _why_broken(task: Task) -> str:
    """What is wrong with the facts of a task's data set, in one line; nothing where they can be used."""
    try:
        task.facts  # noqa: B018
    except DataError as error:
        return " ".join(str(error).split())
    return ""


def _check_start(task: Task, where: str, weights: Weights | None = None) -> None:
    """Raises PrunebenchError for a file of weights that the task's network cannot start from."""
    try:
        check_start(task, weights)
    except PrunebenchError as error:
        raise type(error)(f"{where}: {error}") from None
    except Exception:  # of the model's own code, which describing the network reports
        return


def _joined(nodes: dict[str, Node]) -> dict[str, Node]:
    """Let each point of a trajectory continue from the point before it, wherever trials split it; parents first."""
    points: dict[str, list[Node]] = {}
    for node in nodes.values():
        if node.trajectory:
            points.setdefault(node.trajectory, []).append(node)
    for trajectory in points.values():
        trajectory.sort(key=lambda node: node.stop)
        for before, after in pairwise(trajectory):
            nodes[after.key] = replace(after, parent=before.key, start=before.stop)
    return nodes


def resolve(trial: Trial, root: str, described: Callable[[Task], Network] = describe) -> Iterator[Node]:
    """The chain of a trial as nodes: times become steps, and what a stage goes back to becomes a key.

    Raises Unreachable for a trial to be skipped, PrunebenchError for a chain that makes no sense.
    """
    yield from _resolved(trial, root, _network(trial.task, described))


def _resolved(trial: Trial, root: str, network: Network) -> Iterator[Node]:
    method = trial.entry.method
    try:
        stages = _stages(method, replace(trial, describe=lambda _: network))
        chain = list(distilled(ablated(stages, trial.entry), trial.entry))
        links = linked(_with_measure(chain, trial.measure), trial.task.clock)
        _check_distillation(trial, links)
    except (Unreachable, KeyboardInterrupt):
        raise
    except PrunebenchError as error:
        raise PrunebenchError(f"{trial}: {error}") from None
    except BaseException as error:  # of the method's own code, an exit included
        raise PluginError(f"{trial}: stages of method {method.name!r} {_blamed(error, method)}") from error
    if not links:
        raise PrunebenchError(f"{trial}: method {method.name!r} has an empty chain")
    if isinstance(first := links[0].stage, Initialize) and first.start is not None:
        _check_start(trial.task, str(trial), first.start)
    key = digest(root, trial.seed, canonical_digest(links[0].stage))
    passed = [Node(key, links[0].stage, trial, None, None, 0, 0, 1.0)]
    yield passed[0]
    for link in links[1:]:
        source = None if link.source is None else passed[link.source]
        passed.append(_node(link, trial, passed[-1], source, network))
        yield passed[-1]


def _with_measure(stages: list[Stage], measure: Measure | None) -> list[Stage]:
    """The stages of a trial and the measurement in runtimes; a chain that delivers its network itself has none."""
    delivers = bool(stages) and isinstance(stages[-1], Deploy)
    return stages if measure is None or delivers else [*stages, measure]


def _check_last_batch(task: Task, chain: Sequence[Node]) -> None:
    """Raises PrunebenchError where a training would come to a batch of one example that the model cannot train on."""
    facts, recipe = task.facts, task.recipe
    if recipe.batch_size > 1 and (recipe.drop_last or (facts.train - recipe.validation) % recipe.batch_size != 1):
        return
    if max((node.stop for node in chain if node.steps), default=0) < task.clock.steps_per_epoch:
        return
    if reason := alone(task.model, task.interface):
        which, advice = "the last batch of an epoch has", "set `drop_last: true` in the recipe, or another batch_size"
        if recipe.batch_size == 1:
            which, advice = "each batch has", "set a larger batch_size in the recipe"
        raise PrunebenchError(
            f"task {task.label!r}: {which} one example, and model {task.model.name!r} cannot be trained on one "
            f"({reason}): {advice}"
        )


def _stages(method: Method, trial: Trial) -> Iterable[Stage]:
    stages = method.stages(trial)
    if not isinstance(stages, Iterable):
        raise PluginError(f"stages of method {method.name!r} must yield stages, and returned {stages!r}")
    return stages


def _network(task: Task, described: Callable[[Task], Network]) -> Network:
    """Raises PluginError for a model that the task's data does not fit, or whose code is broken."""
    try:
        return described(task)
    except (PrunebenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # of the model's own code, an exit included
        model, (inputs, outputs) = task.model, (task.interface.inputs, task.interface.outputs)
        shapes = " and ".join(f"{given.name} {_times(given.shape)}".lstrip() for given in inputs)
        data = f"inputs of {shapes} ({task.dataset.name!r}) and outputs of {_times(outputs)}"
        raise PluginError(
            f"task {task.label!r}: model {called(model)!r} with {data} {_blamed(error, model)}"
        ) from error


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _blamed(error: BaseException, component: Component) -> str:
    """What a component's code raised, and where."""
    return f"raised {tracebacks.description(error, files_of([component]))}"


def _node(link: Link, trial: Trial, last: Node, source: Node | None, network: Network) -> Node:
    stage, density = link.stage, last.density
    if isinstance(stage, Train):
        manner, engine = replace(stage, until="end"), engine_of(stage, last.density, trial.task, network)
        continues = isinstance(last.stage, Train) and replace(last.stage, until="end") == manner
        trajectory = last.trajectory if continues else digest(last.key, canonical_digest(manner), *engine_key(engine))
        if stage.density is not None:
            _check_kept(stage.density, network)
            density = stage.density
        key = digest(trajectory, link.stop)
        at = source.key if source else None
        return Node(key, stage, trial, last.key, at, link.start, link.stop, density, trajectory, engine)
    if isinstance(stage, (PruneLayerwise, Reconstruct)):
        _check_layerwise(network)
    canonical = stage
    if isinstance(stage, Rewind):
        canonical = replace(stage, to=f"{link.stop}it")  # however it was written
    elif isinstance(stage, Cut):
        _check_cut(stage, network)
        density = min(last.density, stage.density)  # a guess, exact for cuts by weights
    elif isinstance(stage, PRUNING):
        _check_density(stage, network)
        density = stage.density
        if stage.structure is not None:
            density = min(last.density, stage.structure.kept(network.layers) / network.size)
    at = source.key if source else None
    key = digest(last.key, canonical_digest(canonical), at)
    return Node(key, stage, trial, last.key, at, link.start, link.stop, density)


def _check_layerwise(network: Network) -> None:
    if unseen := [layer.name for layer in network.layers if not layer.layerwise]:
        raise Unreachable(
            f"{', '.join(unseen)} cannot be pruned or reconstructed layer by layer, only plain weights of linear "
            "layers and two-dimensional convolutions: leave them out with `prunable: {exclude: [...]}` of the task"
        )


def _check_cut(stage: Cut, network: Network) -> None:
    if not 0 < stage.density <= 1:
        raise Unreachable(f"a cut cannot leave a share of {stage.density:g}")
    names = [layer.name for layer in network.layers]
    for pattern in stage.exclude:
        if not any(re.search(pattern, name) for name in names):
            raise PrunebenchError(
                f"{pattern!r} in `exclude` matches none of the {len(names)} prunable weights; the nearest are "
                f"{', '.join(nearest(pattern, names, n=3, cutoff=0))}"
            )


def _check_density(stage: Prune | PruneLayerwise, network: Network) -> None:
    if stage.structure is not None:
        stage.structure.check(stage.density, network.layers)
    _check_kept(stage.density, network)
    if isinstance(stage.allocation, tuple):
        check_shares(network.layers, stage.density, stage.allocation)


def _check_kept(density: float, network: Network) -> None:
    if total_kept(network.size, density) == 0:
        raise Unreachable(f"density {density:g} keeps none of {network.size} weights")


def ablated(stages: Iterable[Stage], entry: Entry) -> list[Stage]:
    """A method's chain with the entry's ablations; all that comes before them stays as it is, and is shared.

    `invert` keeps the lowest scores in every pruning; `shuffle` moves the last mask's weights to random places of
    their layers; `reinitialize` draws new weights under the last mask instead of rewinding, and trains them from step
    0, by the whole recipe before what only fine-tunes. A mask that a training makes is known when that training ends:
    shuffled, it goes back to the first weights, and is trained by the whole recipe too.

    Raises Unreachable for a chain that does not prune, or for `invert` where a training makes the last mask.
    """
    chain = list(stages)
    if not (entry.shuffle or entry.reinitialize or entry.invert):
        return chain
    last = _last_mask(chain, entry)
    trained = isinstance(chain[last], Train)
    if entry.invert:
        if trained:
            raise Unreachable(f"method {entry.method.name!r} makes its last mask while it trains: no pruning to invert")
        if any(isinstance(stage, PruneLayerwise) for stage in chain):
            raise Unreachable(f"method {entry.method.name!r} prunes layer by layer: there are no scores to invert")
        chain = [replace(stage, invert=True) if isinstance(stage, (Prune, Cut)) else stage for stage in chain]
    head, tail = chain[: last + 1], chain[last + 1 :]
    if entry.reinitialize:
        tail = [Reinitialize(), *_from_the_start(tail)]
    if entry.shuffle and isinstance(chain[last], Cut):
        raise Unreachable(f"method {entry.method.name!r} removes channels: there is no mask to shuffle")
    if entry.shuffle:
        tail = [Rewind(), Shuffle(), *_from_the_start(tail)] if trained else [Shuffle(), *tail]
    return [*head, *tail]


def distilled(stages: Iterable[Stage], entry: Entry) -> Iterator[Stage]:
    """A chain whose trainings imitate the dense network from the first mask on, if the entry says so."""
    pruned = False
    for stage in stages:
        pruned = pruned or removes(stage)
        imitates = entry.distillation is not None and pruned and isinstance(stage, Train)
        yield replace(stage, distillation=entry.distillation) if imitates else stage  # type: ignore[type-var]


def _check_distillation(trial: Trial, links: Sequence[Link]) -> None:
    """Raises Unreachable where a teacher would know nothing or nobody is taught, PrunebenchError for an objective."""
    method, objective = trial.entry.method.name, trial.task.objective
    taught = [link for link in links if isinstance(link.stage, Train) and link.stage.distillation is not None]
    if not taught:
        if trial.entry.distillation is not None:
            raise Unreachable(f"method {method!r} does not train what it has pruned: there is nothing to distil into")
        return
    if not objective.distils:
        raise PrunebenchError(f"objective {objective.name!r} does not support distillation")
    first = links[0].stage
    from_file = trial.task.weights is not None or (isinstance(first, Initialize) and first.start is not None)
    for link in taught:
        before = links[: (link.source or 0) + 1]
        if not from_file and not any(isinstance(one.stage, Train) for one in before):
            raise Unreachable(
                f"method {method!r} prunes random weights, from which nothing can be distilled: start the task from a "
                "file of `weights`, or use a method that trains before it prunes"
            )


def _last_mask(chain: Sequence[Stage], entry: Entry) -> int:
    """The place of the stage that makes the last mask."""
    for place in reversed(range(len(chain))):
        if removes(chain[place]):
            return place
    raise Unreachable(f"method {entry.method.name!r} prunes nothing that could be ablated")


def _from_the_start(tail: Sequence[Stage]) -> list[Stage]:
    """What follows the last pruning, for weights that stand at step 0 and know nothing yet."""
    stages = [stage for stage in tail if not isinstance(stage, Rewind)]
    ends = [stage.until for stage in stages if isinstance(stage, Train)]
    fine_tunes = not ends or times.parse(ends[0])[0]
    return [Train(), *stages] if fine_tunes else stages


def expected_flops(node: Node, network: Network) -> float:
    """A guess of a node's training FLOPs before it ran: FLOPs fall as the weights do (exact for even sparsity)."""
    examples = examples_between(node.trial.task, node.start, node.stop) if isinstance(node.stage, Train) else 0
    prunable = sum(layer.flops for layer in network.layers)
    return training_flops(network.flops - prunable * (1 - node.density), examples)
