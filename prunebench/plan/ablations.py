"""Changes of a method's chain that a suite asks for: ablations, and distillation from the dense network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from prunebench.api import times
from prunebench.api.errors import Unreachable
from prunebench.api.stages import Cut, Prune, PruneLayerwise, Reinitialize, Rewind, Shuffle, Stage, Train
from prunebench.api.tasks import Entry
from prunebench.plan.chain import leaves_dense, removes


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
        tail = [Reinitialize(draw=int(entry.reinitialize)), *_from_the_start(tail)]
    if entry.shuffle and isinstance(chain[last], Cut):
        raise Unreachable(f"method {entry.method.name!r} removes channels: there is no mask to shuffle")
    if entry.shuffle:
        tail = [Rewind(), Shuffle(), *_from_the_start(tail)] if trained else [Shuffle(), *tail]
    return [*head, *tail]


def distilled(stages: Iterable[Stage], entry: Entry) -> Iterator[Stage]:
    """A chain whose trainings imitate the dense network from the first mask on, if the entry says so."""
    pruned = False
    for stage in stages:
        pruned = pruned or (entry.distillation is not None and not leaves_dense(stage))
        yield replace(stage, distillation=entry.distillation) if pruned and isinstance(stage, Train) else stage


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
