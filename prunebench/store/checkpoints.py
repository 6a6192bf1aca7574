"""Checkpoints: the state of a training, saved at intervals, so that a kill costs a minute and not a day.

A training that continues from one ends with the same bits as one that was never interrupted: a checkpoint is the state
that a training which ended there would have left.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict

from prunebench.api.errors import CorruptEntry, StoreError
from prunebench.api.stages import Train
from prunebench.plan.planning import Node
from prunebench.records.files import remove
from prunebench.store.entries import Entries, Store
from prunebench.store.state_files import read_state, rest_of, shapes_of
from prunebench.training.cost import Cost
from prunebench.training.loop import CheckpointCallback
from prunebench.training.state import State, to_tensors
from prunebench.training.trial_context import TrialContext


class Checkpoints(CheckpointCallback):
    """Keeps the newest state of a node's training; made when that begins.

    Args:
        every: seconds between two of them; 0 keeps none.
        reached: called with every step.
        check: raises an error when a state must not be saved because its data was damaged.
    """

    def __init__(
        self,
        store: Store,
        node: Node,
        every: float,
        reached: Callable[[int], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._check = check
        self._entries, self._node, self._every, self._reached = store.checkpoints(node.key), node, every, reached
        self._begun = self._last = time.perf_counter()

    def wants(self, steps_made: int) -> bool:
        self._reached(steps_made)
        return self._every > 0 and time.perf_counter() - self._last >= self._every

    def keep(self, state: State) -> None:
        self._check()
        seconds = Cost(wall_seconds=time.perf_counter() - self._begun)
        files = {name: part for name, part in to_tensors(state).items() if part}
        record = {
            "node": self._node.key,
            "shapes": shapes_of(state),
            "state": rest_of(state) | {"unbooked": asdict(state.unbooked + seconds)},
        }
        name = f"{state.step:012d}"
        self._entries.write(name, json.loads(json.dumps(record)), files)
        for older in kept_steps(self._entries):
            if older != name:
                self._entries.discard(older)
        self._last = time.perf_counter()


def kept_steps(entries: Entries) -> list[str]:
    """The names of the checkpoints, the newest first."""
    return sorted((path.name for path in entries.root.glob("[0-9]*")), reverse=True)


def newest(store: Store, node: Node, context: TrialContext) -> State | None:
    """The state that an interrupted training of this node continues from, if any; damaged checkpoints are removed."""
    entries = store.checkpoints(node.key)
    for name in kept_steps(entries):
        entries.sweep(name)
        try:
            state = read_state(entries, name, context)
            _check_own(entries, name, state, node)
        except StoreError as error:
            say(f"not used: {error}")
            entries.discard(name)
        else:
            say(f"goes on from a checkpoint at step {state.step}")
            return state
    return None


def _check_own(entries: Entries, name: str, state: State, node: Node) -> None:
    own = isinstance(node.stage, Train) and node.start <= state.step <= node.stop
    if not own or state.trajectory != node.trajectory or entries.record(name).get("node") != node.key:
        raise CorruptEntry(f"{entries.folder(name)} is of another training than {node.key}")


def say(text: object) -> None:
    """Print a line to the worker's log; a full disk must not cost the result."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def forget(store: Store, key: str) -> None:
    """Remove the checkpoints of a job that is done."""
    with contextlib.suppress(OSError):
        remove(store.checkpoints(key).root)
