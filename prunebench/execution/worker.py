"""A worker: gets names, rebuilds the chain that they stand for, performs one job, puts its state into the store."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from prunebench import registry, tracebacks
from prunebench.data import Data, Prepared
from prunebench.errors import PrunebenchError
from prunebench.execution.outcomes import components
from prunebench.execution.perform import Bench, measured, perform
from prunebench.executors import Order
from prunebench.plan import Node, resolve
from prunebench.state import State, from_tensors, to_tensors
from prunebench.store import Record, Store
from prunebench.suite.reading import trial_from_plain


def carry_out(order: Order) -> None:
    """Perform an order. An exception of the work itself is written to the store as a failure, and raised again."""
    torch.set_num_threads(order.threads)
    store = Store(Path(order.store))
    try:
        _carry_out(order, store)
    except Exception as error:
        store.write_failure(order.key, _failure(error, order))
        raise


def _failure(error: Exception, order: Order) -> Record:
    """What is told of an error: its message, with the last line of a plugin that it came from."""
    reason = str(error) if isinstance(error, PrunebenchError) else f"{type(error).__name__}: {error}"
    files = _authors_files(order)
    place = tracebacks.place(error, files)
    return {
        "reason": f"{reason} ({place})" if place else reason,
        "lines": tracebacks.lines(error, files),
        "traceback": traceback.format_exc(),
        "key": order.key,
        "time": time.time(),
    }


def _authors_files(order: Order) -> set[Path]:
    """The files of the plugins that an order works with; none where it names what is no longer there."""
    try:
        trial = trial_from_plain(order.trial, registry.load(order.plugins, frozenset(order.blocked)))
    except PrunebenchError:
        return set()
    return tracebacks.files_of(component for _, component in components(trial))


def _carry_out(order: Order, store: Store) -> None:
    started = time.time()
    trial = trial_from_plain(order.trial, registry.load(order.plugins, frozenset(order.blocked)))
    device = torch.device(order.device)
    prepared = Prepared(Path(order.data), order.fingerprint)
    bench = Bench(trial, device, lambda: Data(trial.task, prepared, device))
    nodes = _nodes(order, bench)
    states: dict[str, State] = {}

    def state_of(key: str | None) -> State | None:
        if key is not None and key not in states:
            states[key] = read_state(store, key)
        return None if key is None else states[key]

    parent = order.parent
    for node in nodes:
        states[node.key] = perform(node, state_of(parent), state_of(node.source), bench)
        parent = node.key
    told = {"inputs": dict(order.inputs)}
    write_state(store, nodes[-1], order.parent, states[order.key], bench, started, dict(order.environment), told)


def _nodes(order: Order, bench: Bench) -> list[Node]:
    """The nodes of the order's path, found again in the trial's chain."""
    chain = {node.key: node for node in resolve(bench.trial, order.protocol)}
    try:
        return [chain[key] for key in order.path]
    except KeyError:
        raise PrunebenchError("the code of a plugin or of prunebench changed while the run was on: run again") from None


def read_state(store: Store, key: str) -> State:
    """The state of an entry."""
    record = store.record(key)
    return from_tensors(store.tensors(key, record), record["shapes"], record["state"])


def write_state(
    store: Store,
    node: Node,
    parent: str | None,
    state: State,
    bench: Bench,
    started: float,
    environment: dict[str, str],
    told: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Put a state into the store, with the figures that rows are made of, and what else there is to tell."""
    kept = state.kept()
    figures, notes = measured(node.stage, state, bench)
    record = {
        "stage": repr(node.stage),
        "trial": str(node.trial),
        "parent": parent,
        **told,
        "started": started,
        "finished": time.time(),
        "environment": {**environment, "device": _device_name(bench.device)},
        "figures": figures,
        "notes": notes,
        "layers": [
            {**asdict(layer), "total": layer.size, "kept": kept.get(layer.name, layer.size)}
            for layer in bench.network.layers
        ],
        "inference_flops": bench.network.flops_at(kept),
        "shapes": {name: list(mask.shape) for name, mask in state.masks.items()},
        "state": {
            "step": state.step,
            "trajectory": state.trajectory,
            "cost": asdict(state.cost),
            "history": list(state.history),
            "loss_sum": state.loss_sum,
            "loss_steps": state.loss_steps,
        },
    }
    files = to_tensors(state)
    store.write(node.key, json.loads(json.dumps(record)), {name: part for name, part in files.items() if part})


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
