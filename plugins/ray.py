"""The Ray executor: stages as tasks of a Ray cluster, each in a fresh process of the node that it runs on.

The walk keeps order, priorities and retries; Ray is given what is ready and has room. Nodes that see the store's folder
work in it. To others an order goes with the states, the data and the plugin files that it needs, and what it makes
comes back to the store of the run.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from typing_extensions import Doc

import prunebench
from prunebench import streaming
from prunebench.environment import environment
from prunebench.errors import CorruptEntry, PrunebenchError, StoreError
from prunebench.execution import exits
from prunebench.execution.parcels import pack, unpack
from prunebench.store import Store

from .local import Processes

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # 15 by default: stages would wait for whatever else runs, as local ones do not
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # a driver under `uv run` would have its environment made anew on workers
}
PIECE = 64 * 2**20
"""Bytes of a data set that are one object: any object store can hold some of them."""
OBJECT_STORE = 200 * 2**20
"""Bytes of the object store of a Ray that is started here, where the store is shared and nothing travels."""
LONGEST = 43
"""Bytes of the name of that Ray's folder: a socket's name may have 107, of which Ray adds up to 64."""
LOOK = 1.0
"""Seconds between two looks at the nodes of the cluster, and at Ctrl-C."""
TIDY = 5.0
"""Seconds that the nodes have to clean up."""
PATIENCE = 60.0
"""Seconds without any room, after which that is said."""
BEGUN, FOREIGN = "begun", "foreign"
"""What a task says before its result: that its work begins, or that its node does not see the store."""

_log = logging.getLogger("prunebench.ray")


class Ray(prunebench.Executor):
    """A Ray cluster: each stage is a task. Without an address, Ray is started on this machine for the run."""

    name = "ray"
    reference = "Moritz et al. 2018, arXiv:1712.05889"

    address: Annotated[str, Doc("of a cluster that is running: auto, or such as 10.0.0.1:6379")] = ""

    def open(self, site: prunebench.Site) -> prunebench.Crew:
        return Tasks(_imported(), self.address or os.environ.get("RAY_ADDRESS", ""), site)


def _imported() -> Any:
    """Ray, which is imported nowhere else: it takes seconds, and few need it."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        with _own_signals():
            import ray
    except ImportError as error:
        raise PrunebenchError(f"--executor ray needs Ray ({error}): pip install 'prunebench[ray]'") from None
    return ray


@dataclass
class Task:
    """An order on its way, and what Ray gives its answers by."""

    order: prunebench.Order
    answers: Any
    begun: bool = False


@dataclass(frozen=True)
class Goods:
    """What an order needs on a node that does not see the store; references to objects, but for the plugins."""

    states: Mapping[str, Any]
    data: Mapping[str, Any]
    """Of each file of the prepared data, by its name, the pieces."""
    plugins: Mapping[str, str]


class Tasks(prunebench.Crew):
    """Orders as Ray tasks, as many as the nodes have room for."""

    def __init__(self, ray: Any, address: str, site: prunebench.Site) -> None:
        self._ray, self._site = ray, site
        self._store = Store(site.store)
        self._num_cpus = site.resources.num_cpus or float(site.threads)
        gpus = 1.0 if site.resources.num_gpus is None else site.resources.num_gpus
        self._num_gpus = gpus if site.device == "cuda" else 0.0
        self._tasks: dict[str, Task] = {}
        self._ended: list[prunebench.Ended] = []
        self._token = self._store.root / f".seen.{uuid.uuid4().hex}"
        self._travels = False
        self._data: dict[str, dict[str, Any]] = {}
        self._room, self._looked, self._room_since = 0, -LOOK, time.monotonic()
        self._connected = not ray.is_initialized()
        self._scratch = _connect(ray, address) if self._connected else ""
        try:
            self._check_room()
            self._token.touch()
        except BaseException:
            self.shutdown()
            raise
        self._function = ray.remote(
            num_cpus=self._num_cpus, num_gpus=self._num_gpus, max_retries=0, max_calls=0, num_returns="streaming"
        )(carried_out)
        self.place = f"Ray: {self._places()} places on {len(self._nodes())} node{'s' * (len(self._nodes()) > 1)}"

    def _nodes(self) -> list[dict[str, float]]:
        """What each living node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _places(self) -> int:
        """How many stages all nodes together have room for, somebody else's tasks not counted."""
        wanted = {"CPU": self._num_cpus, "GPU": self._num_gpus}
        return sum(
            min(int(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in wanted.items() if amount)
            for node in self._nodes()
        )

    def _check_room(self) -> None:
        if not self._places():
            wanted = f"{self._num_cpus:g} CPUs" + f" and {self._num_gpus:g} GPUs" * bool(self._num_gpus)
            nodes = ", ".join(sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in self._nodes()}))
            raise PrunebenchError(
                f"no node of the Ray cluster has {wanted}, there are {nodes or 'none'}: "
                "ask for less with --num-cpus and --num-gpus"
            )

    @property
    def free(self) -> int:
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked, self._room = now, self._places()
            if self._room:
                self._room_since = now
            elif now - self._room_since > PATIENCE:
                _log.warning("the Ray cluster has no room for a stage any more; waiting for a node")
                self._room_since = now
        limit = self._room if self._site.workers is None else min(self._site.workers, self._room)
        return max(0, limit - len(self._tasks))

    def submit(self, order: prunebench.Order) -> None:
        try:
            goods = self._goods(order) if self._travels else None
        except StoreError as error:  # it was damaged, or is gone
            _log.warning("%s", error)
            for key in order.needs:
                self._check(key)
            self._ended.append(prunebench.Ended(order.key, exits.LOST))
            return
        answers = self._function.options(name=f"prunebench {order.key[:8]}").remote(
            order.to_json(), str(self._token), goods
        )
        self._tasks[order.key] = Task(order, answers)

    def _check(self, key: str) -> None:
        """Discard an entry that is damaged."""
        try:
            self._store.verified(key)
        except CorruptEntry:
            self._store.discard(key)
        except StoreError:
            pass  # there is none

    def _goods(self, order: prunebench.Order) -> Goods:
        states = {key: self._ray.put(pack(self._store, key)) for key in order.needs}
        if order.fingerprint not in self._data:
            files = sorted(Path(order.data).iterdir())
            self._data[order.fingerprint] = {file.name: list(self._pieces(file)) for file in files}
        plugins = {path: Path(path).read_text("utf-8") for path in order.plugins}
        return Goods(states, self._data[order.fingerprint], plugins)

    def _pieces(self, path: Path) -> Iterator[Any]:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield self._ray.put(piece)

    def wait(self, timeout: float | None) -> list[prunebench.Ended]:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            ended, self._ended = self._ended, []
            ended += self._heard(0.0 if ended else LOOK if until is None else min(LOOK, until - time.monotonic()))
            if ended or (until is not None and time.monotonic() >= until):
                return ended

    def _heard(self, seconds: float) -> list[prunebench.Ended]:
        """The ends among what tasks said within so many seconds."""
        keys = {task.answers: key for key, task in self._tasks.items()}
        if not keys:
            time.sleep(max(0.0, seconds))
            return []
        ready, _ = self._ray.wait(list(keys), num_returns=1, timeout=max(0.0, seconds), fetch_local=False)
        ends = (self._answer(keys[answers]) for answers in ready)
        return [end for end in ends if end is not None]

    def _answer(self, key: str) -> prunebench.Ended | None:
        """Take what a task says next: that it begins, that it needs goods, its result, or how Ray lost it."""
        task, errors = self._tasks[key], self._ray.exceptions
        try:
            said = self._ray.get(next(task.answers))
        except errors.RayTaskError as error:
            del self._tasks[key]
            return prunebench.Ended(key, exits.FAILED, f"its Ray task failed: {_brief(error)}")
        except (errors.RayError, StopIteration) as error:
            del self._tasks[key]
            return prunebench.Ended(key, -signal.SIGKILL, _loss(error))
        if said == BEGUN:
            task.begun = True
            return None
        del self._tasks[key]
        if said == FOREIGN:
            if not self._travels:
                _log.info("a node of the Ray cluster does not see %s: states travel", self._store.root)
            self._travels = True
            self.submit(task.order)
            return None
        return self._home(key, said)

    def _home(self, key: str, said: Mapping[str, Any]) -> prunebench.Ended:
        """Put what came from another machine into the store."""
        if (log := said.get("log")) is not None:
            (self._store.logs / f"{key}.log").write_bytes(log)
        if (failure := said.get("failure")) is not None:
            self._store.write_failure(key, failure)
        if (entry := said.get("entry")) is not None:
            try:
                unpack(self._store, key, entry)
            except CorruptEntry:
                return prunebench.Ended(key, -signal.SIGKILL, "damage to its result on the way")
        return prunebench.Ended(key, said["exitcode"], said["cause"])

    def begun(self, key: str) -> bool:
        return key not in self._tasks or self._tasks[key].begun

    def cancel(self, key: str) -> None:
        self._stop(self._tasks.pop(key))

    def _stop(self, task: Task) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.cancel(task.answers, force=True)

    def shutdown(self) -> None:
        with _own_signals():
            for task in self._tasks.values():
                self._stop(task)
            self._tasks.clear()
            if self._travels:
                self._tidy()
            with contextlib.suppress(OSError):
                self._token.unlink(missing_ok=True)
            if self._connected:
                self._ray.shutdown()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove from the nodes what was brought there; one that does not answer is left alone."""
        ray = self._ray
        tidying = [
            ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=_at(ray, node["NodeID"]))(tidied).remote(
                str(_abroad(self._token))
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
        ray.wait(tidying, num_returns=len(tidying), timeout=TIDY)


def _connect(ray: Any, address: str) -> str:
    """Join the cluster at an address, or start one here; gives the folder that this one keeps its files in."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Deaths of workers are told by the walk; Ray's own words on them have no switch.
    vars(ray._private.worker)["print_worker_logs"] = lambda *_: None
    scratch = "" if address else _scratch()
    own: dict[str, Any] = {"address": address}
    if scratch:
        own = {"_temp_dir": scratch, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        with _own_signals():
            ray.init(**own, log_to_driver=False, configure_logging=False)
    except BaseException as error:  # Ray raises many kinds here, and may be interrupted
        if scratch:
            with contextlib.suppress(Exception), _own_signals():
                ray.shutdown()
            shutil.rmtree(scratch, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        where = f"cannot join the Ray cluster at {address}" if address else "cannot start Ray here"
        raise PrunebenchError(f"{where}: {_brief(error)}") from error
    return scratch


def _scratch() -> str:
    """A new folder whose name leaves room for those of Ray's sockets."""
    prefix = "prunebench-ray-"
    long = len(os.fsencode(tempfile.gettempdir())) + 1 + len(prefix) + 8 > LONGEST
    scratch = tempfile.mkdtemp(prefix=prefix, dir="/tmp" if long else None)
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # after what Ray does there at the exit
    return scratch


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Being asked to stop stays ours to handle: Ray would end the process without a word."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _at(ray: Any, node: str) -> Any:
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)


def _brief(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _loss(error: BaseException) -> str:
    """What a walk says of a worker that Ray lost."""
    known = {
        "WorkerCrashedError": "the crash of its Ray worker",
        "NodeDiedError": "the loss of its node",
        "OutOfMemoryError": "Ray, as its node ran out of memory",
    }
    return known.get(type(error).__name__, f"Ray: {type(error).__name__}")


# --- on the nodes


def carried_out(text: str, token: str, goods: Goods | None) -> Iterator[Any]:
    """A task: carry out an order in a process of its own, and tell how that ended."""
    order = prunebench.Order.from_json(text)
    order = replace(order, environment=tuple(_environment(order.threads).items()))
    shared = Path(token).is_file()
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
            yield _brought_and_run(order, _abroad(Path(token)), goods)
    except StoreError as error:
        yield {"exitcode": exits.FULL, "cause": "", "log": f"{os.uname().nodename}: {error}".encode()}


_environment = functools.cache(environment)


def _check_files(data: Path) -> None:
    """Raise StoreError when prepared data names files that this node does not see; arrays name none."""
    if not (data / streaming.FOLDER).is_file():
        return
    files = json.loads((data / streaming.FOLDER).read_text("utf-8"))
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


def _run(order: prunebench.Order) -> prunebench.Ended:
    """Carry out an order in a fresh process, as the local executor does; a Ray worker keeps the forkserver."""
    gpus = (os.environ.get("CUDA_VISIBLE_DEVICES", ""),) if order.device == "cuda" else ()
    site = prunebench.Site(store=Path(order.store), plugins=order.plugins, blocked=order.blocked)
    with Processes(site, 1, gpus) as crew:
        with _without_main():
            crew.submit(order)
        while not (ended := crew.wait(None)):
            pass
    return ended[0]


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide Ray's own script, which new processes would import as their main module."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _abroad(token: Path) -> Path:
    """The folder of a run on a node that does not see its store."""
    return Path(tempfile.gettempdir()) / f"prunebench-{os.getuid()}" / token.name


def tidied(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _brought_and_run(order: prunebench.Order, home: Path, goods: Goods) -> dict[str, Any]:
    """Carry out an order with what was sent along; the result has all that the run's store is to have of it."""
    folder = home / "orders" / order.key
    store = Store.open(folder)
    try:
        moved = _brought(order, home, store, goods)
    except OSError as error:
        raise StoreError(str(error)) from error
    _check_files(Path(moved.data))
    ended = _run(moved)
    entry = pack(store, order.key) if ended.exitcode == exits.DONE else None
    log = moved.log.read_bytes() if moved.log.is_file() else None
    failure = store.failure(order.key)
    if ended.exitcode >= 0:  # a killed one leaves what it had got to for the next
        shutil.rmtree(folder, ignore_errors=True)
    return {"exitcode": ended.exitcode, "cause": ended.cause, "log": log, "failure": failure, "entry": entry}


def _brought(order: prunebench.Order, home: Path, store: Store, goods: Goods) -> prunebench.Order:
    """The order as it is to be carried out here."""
    import ray

    for key, state in goods.states.items():
        if not store.has(key):
            unpack(store, key, ray.get(state))
    plugins = tuple(str(_put(home / "plugins", path, goods.plugins[path])) for path in order.plugins)
    data = _data(home / "data" / order.fingerprint, goods.data)
    return replace(order, store=str(store.root), data=str(data), plugins=plugins)


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


@prunebench.hookimpl
def register_executors() -> list[type[prunebench.Executor]]:
    return [Ray]
