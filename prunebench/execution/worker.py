"""A worker: performs the stages of one job, and writes the last state to the store."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import torch

from prunebench.api import plugins
from prunebench.api.errors import CorruptEntry, DamagedData, MissingEntry, PrunebenchError, StoreError
from prunebench.api.executors import ExitCode, JobSpec
from prunebench.api.layers import Network
from prunebench.api.stages import Train
from prunebench.data.prepared import Prepared
from prunebench.data.task_data import Data
from prunebench.execution.job_specs import Assignment
from prunebench.execution.key_inputs import components
from prunebench.execution.measuring.throughput import throughput, watched
from prunebench.execution.performing import measured, other_states, perform
from prunebench.execution.processes.memory import keep_freed
from prunebench.isolation import descendants
from prunebench.messages import tracebacks
from prunebench.messages.redaction import redacted
from prunebench.plan.planning import Node
from prunebench.records.sources import files_of
from prunebench.store.checkpoints import Checkpoints, forget, newest, say
from prunebench.store.entries import Record, Store
from prunebench.store.locks import Lock, Work, lock
from prunebench.store.state_files import read_state, rest_of, shapes_of
from prunebench.training.state import State, to_tensors
from prunebench.training.trial_context import TrialContext

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run_job(job: JobSpec) -> int:
    """Perform a job in this process, which should be a new one; returns an `ExitCode`.

    The state goes into the store, and so does the reason of a failure (`ExitCode.FAILED`). The reasons of other exit
    codes are printed; what is printed belongs in `job.log`.
    """
    try:
        return _run_job(job)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException:
        traceback.print_exc()
        return ExitCode.FAILED


def main() -> NoReturn:
    """Perform the job whose JSON is on standard input, and end this process with its exit code."""
    descendants.adopt_orphans()
    code = run_job(JobSpec.from_json(sys.stdin.read()))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and processes that a method has left are not waited for.
    descendants.kill_children()
    os._exit(code)


def _run_job(job: JobSpec) -> int:
    torch.set_num_threads(job.threads)
    keep_freed()
    store = Store(Path(job.store))
    try:
        try:
            return _perform_job(job, store)
        except (StoreError, DamagedData):
            raise
        except torch.OutOfMemoryError as error:
            say(redacted(traceback.format_exc()))
            return _exit_with(str(error).splitlines()[0], ExitCode.OUT_OF_MEMORY)
        except (Exception, SystemExit) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:  # a method that prints, say, is not at fault
                return _exit_with(error, ExitCode.STORE_FULL)
            say(redacted(traceback.format_exc()))
            store.write_failure(job.key, _failure(error, job))
            return ExitCode.FAILED
    except (MissingEntry, CorruptEntry, DamagedData) as error:
        return _exit_with(error, ExitCode.INPUT_MISSING)
    except StoreError as error:
        return _exit_with(error, ExitCode.STORE_FULL)


def _exit_with(reason: object, code: int) -> int:
    say(reason)
    return code


def _failure(error: BaseException, job: JobSpec) -> Record:
    """What is told of an error: its message, with the last line of a plugin that it came from."""
    files = _plugin_files(job)
    place = tracebacks.place(error, files)
    reason = f"{error} ({place})" if place else str(error)
    return {
        "reason": reason if isinstance(error, PrunebenchError) else tracebacks.description(error, files),
        "lines": tracebacks.lines(error, files),
        "traceback": traceback.format_exc(),
        "key": job.key,
        "time": time.time(),
    }


def _plugin_files(job: JobSpec) -> set[Path]:
    """The files of the plugins that a job uses; none where one of them is gone."""
    try:
        trial = _assignment(job).trial
    except PrunebenchError:
        return set()
    return files_of(component for _, component in components(trial))


def _assignment(job: JobSpec) -> Assignment:
    return Assignment(job, plugins.load(job.plugins, frozenset(job.blocked)))


def _perform_job(job: JobSpec, store: Store) -> int:
    assignment, device = _assignment(job), torch.device(job.device)
    trial, nodes = assignment.trial, assignment.nodes
    prepared = Prepared(Path(job.data), job.fingerprint, job.seal)
    context = TrialContext(trial, device, lambda: Data(trial.task, prepared, device, trial.seed), assignment.network)
    held = lock(store, job.key, _work(nodes[-1]))
    if held is None:
        return _exit_with(f"another run is computing {job.key}", ExitCode.LOCKED)
    with held:
        if not _is_stored(store, job.key):
            store.sweep(job.key)
            _compute(job, store, nodes, context, held)
        forget(store, job.key)
    return ExitCode.DONE


def _work(node: Node) -> Work:
    trains = isinstance(node.stage, Train)
    return Work(str(node.trial), node.summary, node.start if trains else node.stop, node.stop)


def _is_stored(store: Store, key: str) -> bool:
    """Whether another run has computed the state in the meantime; a damaged one is removed."""
    try:
        store.verified(key)
    except MissingEntry:
        return False
    except CorruptEntry as error:
        say(f"made again: {error}")
        store.discard(key)
        return False
    return True


def _compute(job: JobSpec, store: Store, nodes: list[Node], context: TrialContext, held: Lock) -> None:
    """Perform the nodes, from the last checkpoint on if there is one, and write the last one's state."""
    started = time.time()
    states: dict[str, State] = {}

    def state_of(key: str | None) -> State | None:
        if key is not None and key not in states:
            states[key] = _input_state(store, key, context)
        return None if key is None else states[key]

    def others_of(node: Node) -> list[State]:
        return other_states(node, context, lambda key, theirs: _input_state(store, key, theirs))

    *before, last = nodes
    begun = newest(store, last, context)
    if begun is None:
        parent = job.parent
        for node in before:
            states[node.key] = perform(node, state_of(parent), state_of(node.source), context, others=others_of(node))
            parent = node.key
        begun = state_of(parent)
    source, others = state_of(last.source), others_of(last)
    checkpoints = Checkpoints(store, last, job.checkpoint_every, held.reached, context.check_data)
    with watched(context.device) as samples:
        state = perform(last, begun, source, context, checkpoints, others)
    extra = {"inputs": dict(job.inputs), "pace": throughput(begun, state, samples)}
    write_state(store, last, job.parent, state, context, started, dict(job.environment), extra)


def _input_state(store: Store, key: str, context: TrialContext) -> State:
    """The state that the work begins from. A damaged one is removed, to be computed again."""
    try:
        return read_state(store, key, context)
    except CorruptEntry:
        owner = lock(store, key, Work(str(context.trial), "taken away: damaged", 0, 0))
        if owner is not None:  # otherwise another run is computing it again already
            with owner:
                _discard_damaged(store, key, context)
        raise


def _discard_damaged(store: Store, key: str, context: TrialContext) -> None:
    """Check again, now that no other process may write the entry: it may have been computed again."""
    try:
        read_state(store, key, context)
    except CorruptEntry:
        store.discard(key)
    except MissingEntry:
        pass


def write_state(
    store: Store,
    node: Node,
    parent: str | None,
    state: State,
    context: TrialContext,
    started: float,
    environment: dict[str, str],
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write a state to the store, with the figures that rows are made of.

    Args:
        told: further fields of the record."""
    kept = state.kept()
    network = context.network_at(state.cut)
    figures, notes = measured(node.stage, state, context)
    record = {
        "stage": repr(node.stage),
        "trial": str(node.trial),
        "parent": parent,
        **extra,
        "started": started,
        "finished": time.time(),
        "environment": {**environment, **_device(context.device)},
        "figures": figures,
        "notes": notes,
        "layers": [
            {
                "name": layer.name,
                "shape": layer.shape,
                "flops": layer.flops,
                "total": layer.size,
                "kept": kept.get(layer.name, layer.size),
                **({"removed": True} if state.cut.in_removed_block(layer.name) else {}),
            }
            for layer in context.network.layers
        ],
        "inference_flops": network.flops_at(kept),
        **({"parameters_left": _parameters_left(network, kept)} if state.cut else {}),
        "shapes": shapes_of(state),
        "state": rest_of(state),
    }
    files = to_tensors(state)
    context.check_data()
    store.write(node.key, json.loads(json.dumps(record)), {name: part for name, part in files.items() if part})


def _parameters_left(network: Network, kept: Mapping[str, int]) -> int:
    """All parameters that are neither cut away nor pruned, biases and norms included."""
    return network.parameters - sum(layer.size - kept.get(layer.name, layer.size) for layer in network.layers)


def _device(device: torch.device) -> dict[str, str]:
    """The device, and the versions of its drivers and libraries."""
    if device.type != "cuda":
        return {"device": device.type}
    libraries = f"{torch.version.cuda or torch.version.hip}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    return {"device": torch.cuda.get_device_name(device), "cuda": libraries}
