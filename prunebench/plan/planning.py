"""The plan. Trials become chains of stages, and chains merge into one prefix tree by their keys.

A node's key is the hash of its parent's key and its own stage, and the root's that of the task (data fingerprint,
model, recipe, protocol version). Consecutive trainings are one trajectory: a point on it is keyed by the trajectory and
its step, not by where it was split, so the dense training of magnitude pruning and that of a ticket which rewinds to
step 500 are the same node. Nothing runs here, and no data is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

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
    Rewind,
    Stage,
    Train,
)
from prunebench.api.tasks import Engine, Task, Trial
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.messages import tracebacks
from prunebench.network.description import describe
from prunebench.network.modules import called
from prunebench.network.starting import check_start
from prunebench.plan.ablations import ablated, distilled
from prunebench.plan.chain import Adopt, Link, linked
from prunebench.plan.engines import engine_key, engine_of, without_engine
from prunebench.plan.requirements import (
    check_cut,
    check_density,
    check_distillation,
    check_kept,
    check_last_batch,
    check_layerwise,
    check_low_rank,
)
from prunebench.plan.transfers import check_alike, ticket_length, ticket_trial, transferred_stages
from prunebench.plan.tuning import Choose, candidates, shared, with_own_recipe
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
    sources: tuple[str, ...] = ()
    """Of a choice: the last states of the candidates, then those that their chains have in common. Of a transfer: the
    state of the ticket, in another task."""

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
            if stage.timed is not None:
                text += f" in {stage.timed.runtime.name}"
        elif isinstance(stage, Rewind):
            text = f"rewind to step {self.stop}"
        elif isinstance(stage, Adopt):
            text = "take over a ticket of another task"
        elif isinstance(stage, Choose):
            text = f"choose one of {len(stage.candidates)} candidates"
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
    permuted: str = ""
    """The structure of a pruning that holds after a permutation of input channels, if the chain has one."""

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
    root_of = cache(lambda task: protocol(task, fingerprints.get(task.label, UNKNOWN_DATA)))
    for trial in trials:
        label = trial.task.label
        for task in trial.tasks:
            if task.label not in protocols:
                protocols[task.label] = root_of(task)
                broken[task.label] = _why_broken(task)
                if not broken[task.label]:
                    _check_start(task, f"task {task.label!r}")
        if reason := next((broken[task.label] for task in trial.tasks if broken[task.label]), ""):
            planned.append(PlannedTrial(trial, protocols[label], failed=reason))
            continue
        network = _network(trial.task, described)
        try:
            chain = list(chain_of(trial, root_of, described))
        except Unreachable as reason:
            planned.append(PlannedTrial(trial, protocols[label], skipped=str(reason)))
            continue
        for node in chain:
            nodes.setdefault(node.key, node)
        keys = tuple(node.key for node in chain)
        engine, permuted = engine_of_chain(chain), permuted_in_chain(chain)
        planned.append(PlannedTrial(trial, protocols[label], keys, network=network, engine=engine, permuted=permuted))
    return Plan(tuple(planned), _joined(nodes))


def chain_of(
    trial: Trial, root_of: Callable[[Task], str], described: Callable[[Task], Network] = describe
) -> Iterator[Node]:
    """The chain of a trial: its nodes, and first those of its candidates if it is tuned, and of the ticket of another
    task if it begins with one. Raises as `resolve`.

    Args:
        root_of: the protocol of a task for its data.
    """
    trial = with_own_recipe(trial)
    if trial.entry.tune is not None:
        yield from _tuned(trial, root_of, described)
        return
    chain = list(
        _transferred(trial, root_of, described)
        if trial.entry.ticket_of is not None
        else resolve(trial, root_of(trial.task), described)
    )
    own = (node.stop for node in chain if node.steps and node.trial.task == trial.task)
    check_last_batch(trial.task, max(own, default=0))
    yield from chain


def _tuned(trial: Trial, root_of: Callable[[Task], str], described: Callable[[Task], Network]) -> Iterator[Node]:
    """The nodes of all candidates, each once, that of the choice, and that of a measurement of what was chosen."""
    named = candidates(trial)
    chains = [list(chain_of(candidate, root_of, described)) for candidate in named.values()]
    last = chains[0][-1]
    if isinstance(last.stage, Deploy):
        raise PrunebenchError(f"{trial}: `tune` compares networks before they are deployed: remove it, or the deploy")
    metric = trial.task.metrics[0]
    stage, ends = Choose(metric.name, metric.sign, tuple(named)), [chain[-1].key for chain in chains]
    key = digest("choose", canonical_digest(stage), ends)
    sources = (*ends, *shared(chains))
    chosen = Node(key, stage, trial, None, None, last.stop, last.stop, last.density, sources=sources)
    yield from {node.key: node for chain in chains for node in chain}.values()
    yield chosen
    if trial.measure is not None:
        network = _network(trial.task, described)
        yield _node(Link(trial.measure, last.stop, last.stop), trial, chosen, None, network)


def _transferred(trial: Trial, root_of: Callable[[Task], str], described: Callable[[Task], Network]) -> Iterator[Node]:
    """The nodes by which the ticket is found in the other task, then those of the trial's own chain."""
    source = ticket_trial(trial)
    found = list(chain_of(source, root_of, described))
    found = found[: ticket_length([node.stage for node in found], trial.entry.method.name)]
    network = _network(trial.task, described)
    check_alike(trial, _network(source.task, described), network)
    yield from found
    stages = transferred_stages(trial, found[-1].key, found[-1].density)
    yield from _resolved(trial, root_of(trial.task), network, lambda: stages)


def engine_of_chain(chain: Iterable[Node]) -> Engine:
    """`sparse` if that computes any of the trainings."""
    return "sparse" if any(node.engine == "sparse" for node in chain) else "dense"


def permuted_in_chain(chain: Iterable[Node]) -> str:
    """The structure of a pruning that permutes input channels, such as `2:4 of permuted channels`."""
    structures = (node.stage.structure for node in chain if isinstance(node.stage, PruneLayerwise))
    return next((str(one) for one in structures if one is not None and one.permuted), "")


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
    network, entry = _network(trial.task, described), trial.entry
    known = replace(trial, describe=lambda _: network)
    yield from _resolved(trial, root, network, lambda: distilled(ablated(_stages(entry.method, known), entry), entry))


def _resolved(trial: Trial, root: str, network: Network, stages: Callable[[], Iterable[Stage]]) -> Iterator[Node]:
    method = trial.entry.method
    try:
        chain = list(stages())
        links = linked(_with_measure(chain, trial.measure), trial.task.clock)
        check_distillation(trial, links)
        check_low_rank(links)
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
            check_kept(stage.density, network)
            density = stage.density
        key = digest(trajectory, link.stop)
        at = source.key if source else None
        return Node(key, stage, trial, last.key, at, link.start, link.stop, density, trajectory, engine)
    if isinstance(stage, (PruneLayerwise, Reconstruct)):
        check_layerwise(network)
    canonical = stage
    if isinstance(stage, Rewind):
        canonical = replace(stage, to=f"{link.stop}it")  # however it was written
    elif isinstance(stage, Cut):
        check_cut(stage, network)
        density = min(last.density, stage.density)  # a guess, exact for cuts by weights
    elif isinstance(stage, Adopt):
        density = stage.density
    elif isinstance(stage, PRUNING):
        check_density(stage, network)
        density = stage.density
        if stage.structure is not None:
            density = min(last.density, stage.structure.kept(network.layers) / network.size)
    at = source.key if source else None
    key = digest(last.key, canonical_digest(canonical), at)
    tickets = (stage.ticket,) if isinstance(stage, Adopt) else ()
    return Node(key, stage, trial, last.key, at, link.start, link.stop, density, sources=tickets)


def expected_flops(node: Node, network: Network) -> float:
    """A guess of a node's training FLOPs before it ran: FLOPs fall as the weights do (exact for even sparsity)."""
    examples = examples_between(node.trial.task, node.start, node.stop) if isinstance(node.stage, Train) else 0
    prunable = sum(layer.flops for layer in network.layers)
    return training_flops(network.flops - prunable * (1 - node.density), examples)
