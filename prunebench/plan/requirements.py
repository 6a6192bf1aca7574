"""What the stages of a chain require of a task and its network; whatever they lack is said before anything runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.layers import Network
from prunebench.api.methods import Method, method_of
from prunebench.api.runtimes import Measure
from prunebench.api.stages import Cut, Deploy, Initialize, Prune, PruneLayerwise, Rewind, Stage, Train
from prunebench.api.tasks import Task, Trial
from prunebench.messages.suggestions import nearest
from prunebench.network.description import alone
from prunebench.plan.chain import Link
from prunebench.pruning.allocation import check_shares, total_kept


def check_last_batch(task: Task, last_step: int) -> None:
    """Raises PrunebenchError where a training would come to a batch of one example that the model cannot train on.

    Args:
        last_step: the last step of the recipe that is trained; 0 for none.
    """
    facts, recipe = task.facts, task.recipe
    if recipe.batch_size > 1 and (recipe.drop_last or (facts.train - recipe.validation) % recipe.batch_size != 1):
        return
    if last_step < task.clock.steps_per_epoch:
        return
    if reason := alone(task.model, task.interface):
        which, advice = "the last batch of an epoch has", "set `drop_last: true` in the recipe, or another batch_size"
        if recipe.batch_size == 1:
            which, advice = "each batch has", "set a larger batch_size in the recipe"
        raise PrunebenchError(
            f"task {task.label!r}: {which} one example, and model {task.model.name!r} cannot be trained on one "
            f"({reason}): {advice}"
        )


def check_distillation(trial: Trial, links: Sequence[Link]) -> None:
    """Check that a trial can be distilled.

    Raises Unreachable where the teacher is not trained or no training follows the pruning, and PrunebenchError for an
    objective without distillation.
    """
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


def check_low_rank(links: Sequence[Link]) -> None:
    """Raises Unreachable where low-rank factors are followed by what they have no place in."""
    added: Method | None = None
    for link in links:
        stage, by = link.stage, method_of(link.stage)
        if added is not None and not _leaves_weights(stage, by):
            raise Unreachable(
                f"{type(stage).__name__} cannot follow method {added.name!r}, whose low-rank factors stay beside the "
                "weights: only trainings with fixed masks, and rewinding the learning rate alone, can"
            )
        if isinstance(stage, PruneLayerwise) and by is not None and by.low_rank:
            added = by


def _leaves_weights(stage: Stage, by: Method | None) -> bool:
    """Whether a stage leaves masks as they are, and takes no weights back."""
    if isinstance(stage, Train):
        return by is None or by.updater(stage.density).keeps_masks
    return isinstance(stage, (Deploy, Measure)) or (isinstance(stage, Rewind) and not stage.weights)


def check_layerwise(network: Network) -> None:
    """Raises Unreachable for a network with weights that have no layer of their own to calibrate."""
    if unseen := [layer.name for layer in network.layers if not layer.layerwise]:
        raise Unreachable(
            f"{', '.join(unseen)} cannot be pruned or reconstructed layer by layer, only plain weights of linear "
            "layers and two-dimensional convolutions: leave them out with `prunable: {exclude: [...]}` of the task"
        )


def check_cut(stage: Cut, network: Network) -> None:
    """Raises Unreachable for a density that no cut leaves, PrunebenchError for an `exclude` that names no weight."""
    if not 0 < stage.density <= 1:
        raise Unreachable(f"a cut cannot leave a share of {stage.density:g}")
    names = [layer.name for layer in network.layers]
    for pattern in stage.exclude:
        if not any(re.search(pattern, name) for name in names):
            raise PrunebenchError(
                f"{pattern!r} in `exclude` matches none of the {len(names)} prunable weights; the nearest are "
                f"{', '.join(nearest(pattern, names, n=3, cutoff=0))}"
            )


def check_density(stage: Prune | PruneLayerwise, network: Network) -> None:
    """Raises Unreachable for a density that the structure or the allocation of a pruning does not reach."""
    if stage.structure is not None:
        stage.structure.check(stage.density, network.layers)
    check_kept(stage.density, network)
    if isinstance(stage.allocation, tuple):
        check_shares(network.layers, stage.density, stage.allocation)


def check_kept(density: float, network: Network) -> None:
    """Raises Unreachable for a density that leaves no weight."""
    if total_kept(network.size, density) == 0:
        raise Unreachable(f"density {density:g} keeps none of {network.size} weights")
