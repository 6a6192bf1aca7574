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
from prunebench.api.environment import environment
from prunebench.api.errors import DamagedData, StoreError
from prunebench.api.executors import ExitCode
from prunebench.data import Prepared, files_of, is_streamed, verified
from prunebench.store import Store, pack, unpack

from .local import Processes

BEGUN, FOREIGN = "begun", "foreign"
"""What a task says before its result: that its work begins, or that its node does not see the store."""


@dataclass(frozen=True)
class Goods:
    """What an order needs on a node that does not see the store; references to objects, but for the plugins."""

    states: Mapping[str, Any]
    data: Mapping[str, Any]
    """Of each file of the prepared data, by its name, the pieces."""
    plugins: Mapping[str, str]


def carried_out(text: str, token: str, goods: Goods | None) -> Iterator[Any]:
    """A task: carry out an order in a process of its own, and tell how that ended."""
    order = prunebench.JobSpec.from_json(text)
    order = replace(order, environment=tuple(_environment(order.threads).items()))
    shared = Path(token).is_file()
    order = replace(order, seal=_seal(order.data, order.fingerprint, order.seal)) if shared else order
    if not shared and goods is None:
        yield FOREIGN
        return
    yield BEGUN
    try:
        if shared:
            _check_files(Path(order.data))
            ended = _run(order)
            yield {"exitcode": ended.exitcode, "cause": ended.cause}
        else:
            assert goods is not None
            yield _brought_and_run(order, abroad(Path(token)), goods)
    except StoreError as error:
        yield {"exitcode": ExitCode.STORE_FULL, "cause": "", "log": f"{os.uname().nodename}: {error}".encode()}


_environment = functools.cache(environment)


@functools.cache
def _seal(data: str, fingerprint: str, seal: str) -> str:
    """The seal of prepared data as this node sees it: where files look otherwise here, they are verified once."""
    try:
        return verified(Prepared(Path(data), fingerprint, seal)).seal
    except DamagedData:  # which the order finds out too, and says
        return ""


def _check_files(data: Path) -> None:
    """Raise StoreError when prepared data names files that this node does not see; arrays name none."""
    if not is_streamed(data):
        return
    try:
        files = files_of(data)
    except DamagedData:  # which the order finds out too, and says
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


def _run(order: prunebench.JobSpec) -> prunebench.JobResult:
    """Carry out an order in a fresh process, as the local executor does; a Ray worker keeps the forkserver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # Ray was told to leave it alone, where it is not set
    gpus = () if order.device == "cpu" or visible is None else (visible,)
    site = prunebench.RunContext(
        store=Path(order.store), device=order.device, plugins=order.plugins, blocked=order.blocked
    )
    with Processes(site, 1, gpus) as pool:
        pool.submit(order)
        while not (ended := pool.wait(None)):
            pass
    return ended[0]


def abroad(token: Path) -> Path:
    """The folder of a run on a node that does not see its store."""
    return Path(tempfile.gettempdir()) / f"prunebench-{os.getuid()}" / token.name


def _own(folder: Path) -> None:
    """Make a folder that only this user can write to, as plugins are put there. Raises StoreError."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError(f"{folder} can be written to by others: remove it")


def tidied(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _brought_and_run(order: prunebench.JobSpec, home: Path, goods: Goods) -> dict[str, Any]:
    """Carry out an order with what was sent along; the result has all that the run's store is to have of it."""
    _own(home.parent)
    folder = home / "orders" / order.key
    store = Store.open(folder)
    try:
        moved = _brought(order, home, store, goods)
    except OSError as error:
        raise StoreError(str(error)) from error
    except DamagedData as error:
        return {"exitcode": ExitCode.INPUT_MISSING, "cause": "", "log": f"{os.uname().nodename}: {error}\n".encode()}
    _check_files(Path(moved.data))
    ended = _run(moved)
    entry = pack(store, order.key) if ended.exitcode == ExitCode.DONE else None
    log = moved.log.read_bytes() if moved.log.is_file() else None
    failure = store.failure(order.key)
    if ended.exitcode >= 0:  # a killed one leaves what it had got to for the next
        shutil.rmtree(folder, ignore_errors=True)
    return {"exitcode": ended.exitcode, "cause": ended.cause, "log": log, "failure": failure, "entry": entry}


def _brought(order: prunebench.JobSpec, home: Path, store: Store, goods: Goods) -> prunebench.JobSpec:
    """The order as it is to be carried out here."""
    import ray

    for key, state in goods.states.items():
        if not store.has(key):
            unpack(store, key, ray.get(state))
    plugins = tuple(str(_put(home / "plugins", path, goods.plugins[path])) for path in order.plugins)
    name = hashlib.sha256(order.data.encode()).hexdigest()[:8] + Path(order.data).suffix
    data = _data(home / "data" / order.fingerprint / name, goods.data)
    seal = _seal(str(data), order.fingerprint, "")
    if not seal:
        tidied(str(data))
        _seal.cache_clear()
        raise DamagedData(f"{data} was damaged on its way")
    return replace(order, store=str(store.root), data=str(data), seal=seal, plugins=plugins)


def _put(folder: Path, path: str, text: str) -> Path:
    """A plugin's file, in a folder of its own: two may have one name."""
    file = folder / hashlib.sha256(path.encode()).hexdigest()[:8] / Path(path).name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_text(text, "utf-8")
        aside.replace(file)
    return file


def _data(folder: Path, files: Mapping[str, Any]) -> Path:
    """The prepared data, fetched once a node."""
    import ray

    if folder.is_dir():
        return folder
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    aside.mkdir(parents=True, exist_ok=True)
    for name, pieces in files.items():
        with (aside / name).open("wb") as file:
            for piece in pieces:
                file.write(ray.get(piece))
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(aside, ignore_errors=True)  # another worker of this node was first
    return folder
