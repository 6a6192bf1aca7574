"""The Ray executor's side of the nodes: a task carries an order out in a fresh process.

A node that sees the store's folder works in it. On any other a task says that it is FOREIGN, and comes again with the
states, the data and the plugin files that the order needs; what it makes goes back in its answer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import prunebench
from prunebench.api.errors import DamagedData, StoreError
from prunebench.api.executors import ExitCode
from prunebench.data import Prepared, files_of, is_streamed, verified
from prunebench.records import describe_environment
from prunebench.store import Store, pack, unpack

from .local import Processes

BEGUN, NO_STORE = "begun", "foreign"
"""What a task yields before its result: its work begins, or its node does not see the store."""


@dataclass(frozen=True)
class PackedInputs:
    """What a job needs on a node that does not see the store; references to objects, except the plugins."""

    states: Mapping[str, Any]
    data: Mapping[str, Any]
    """Of each file of the prepared data, by its name, the pieces."""
    plugins: Mapping[str, str]


def run_task(text: str, token: str, inputs: PackedInputs | None) -> Iterator[Any]:
    """A task: perform a job in a child process, and yield how that ended."""
    job = prunebench.JobSpec.from_json(text)
    job = replace(job, environment=tuple(_environment(job.threads).items()))
    shared = Path(token).is_file()
    job = replace(job, seal=_seal(job.data, job.fingerprint, job.seal)) if shared else job
    if not shared and inputs is None:
        yield NO_STORE
        return
    yield BEGUN
    try:
        if shared:
            _check_files(Path(job.data))
            results = _run(job)
            yield {"exitcode": results.exitcode, "cause": results.cause}
        else:
            assert inputs is not None
            yield _unpack_and_run(job, node_folder(Path(token)), inputs)
    except StoreError as error:
        yield {"exitcode": ExitCode.STORE_FULL, "cause": "", "log": f"{os.uname().nodename}: {error}".encode()}


_environment = functools.cache(describe_environment)


@functools.cache
def _seal(data: str, fingerprint: str, seal: str) -> str:
    """The seal of prepared data as this node sees it: where files look otherwise here, they are verified once."""
    try:
        return verified(Prepared(Path(data), fingerprint, seal)).seal
    except DamagedData:  # which the job finds and reports too
        return ""


def _check_files(data: Path) -> None:
    """Raise StoreError when prepared data names files that this node does not see; arrays name none."""
    if not is_streamed(data):
        return
    try:
        files = files_of(data)
    except DamagedData:  # which the job finds and reports too
        return
    try:
        with os.scandir(files) as found:
            there = any(True for _ in found)
    except OSError:
        there = False
    if not there:
        raise StoreError(
            f"{files} has no files here, and the data set is decoded from them while a network trains: "
            "mount that folder on every node"
        )


def _run(job: prunebench.JobSpec) -> prunebench.JobResult:
    """Perform a job in a new process, as the local executor does; a Ray worker keeps the fork server."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # Ray was told to leave it alone, where it is not set
    gpus = () if job.device == "cpu" or visible is None else (visible,)
    context = prunebench.RunContext(store=Path(job.store), device=job.device, plugins=job.plugins, blocked=job.blocked)
    with Processes(context, 1, gpus) as pool:
        pool.submit(job)
        while not (results := pool.wait(None)):
            pass
    return results[0]


def node_folder(token: Path) -> Path:
    """The folder of a run on a node that does not see its store."""
    return Path(tempfile.gettempdir()) / f"prunebench-{os.getuid()}" / token.name


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can write to, as plugins are put there. Raises StoreError."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError(f"{folder} can be written to by others: remove it")


def remove_node_folder(token: str) -> None:
    """Remove a run's folder on this node, which may keep temporary files elsewhere than the driver does."""
    remove_folder(str(node_folder(Path(token))))


def remove_folder(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _unpack_and_run(job: prunebench.JobSpec, folder_of_run: Path, inputs: PackedInputs) -> dict[str, Any]:
    """Perform a job with the inputs that were sent along; the result has all that the run's store needs."""
    _make_private(folder_of_run.parent)
    folder = folder_of_run / "orders" / job.key
    store = Store.open(folder)
    try:
        local_spec = _unpacked(job, folder_of_run, store, inputs)
    except OSError as error:
        raise StoreError(str(error)) from error
    except DamagedData as error:
        return {"exitcode": ExitCode.INPUT_MISSING, "cause": "", "log": f"{os.uname().nodename}: {error}\n".encode()}
    _check_files(Path(local_spec.data))
    results = _run(local_spec)
    entry = pack(store, job.key) if results.exitcode == ExitCode.DONE else None
    log = local_spec.log.read_bytes() if local_spec.log.is_file() else None
    failure = store.failure(job.key)
    if results.exitcode >= 0:  # a killed one leaves what it had got to for the next
        shutil.rmtree(folder, ignore_errors=True)
    return {"exitcode": results.exitcode, "cause": results.cause, "log": log, "failure": failure, "entry": entry}


def _unpacked(job: prunebench.JobSpec, folder_of_run: Path, store: Store, inputs: PackedInputs) -> prunebench.JobSpec:
    """The job with the paths of this node."""
    import ray

    for key, state in inputs.states.items():
        if not store.has(key):
            unpack(store, key, ray.get(state))
    plugins = tuple(str(_write_plugin(folder_of_run / "plugins", path, inputs.plugins[path])) for path in job.plugins)
    name = hashlib.sha256(job.data.encode()).hexdigest()[:8] + Path(job.data).suffix
    data = _data(folder_of_run / "data" / job.fingerprint / name, inputs.data)
    seal = _seal(str(data), job.fingerprint, "")
    if not seal:
        remove_folder(str(data))
        _seal.cache_clear()
        raise DamagedData(f"{data} was damaged in transit")
    return replace(job, store=str(store.root), data=str(data), seal=seal, plugins=plugins)


def _write_plugin(folder: Path, path: str, text: str) -> Path:
    """A plugin's file, in a separate folder: two may have one name."""
    file = folder / hashlib.sha256(path.encode()).hexdigest()[:8] / Path(path).name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(text, "utf-8")
        partial.replace(file)
    return file


def _data(folder: Path, files: Mapping[str, Any]) -> Path:
    """The prepared data, fetched once a node."""
    import ray

    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    for name, chunks in files.items():
        with (partial / name).open("wb") as file:
            for chunk in chunks:
                file.write(ray.get(chunk))
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(partial, ignore_errors=True)  # another worker of this node was first
    return folder
