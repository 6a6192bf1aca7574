"""The Ray executor: stages as tasks of a Ray cluster, each in a fresh process of the node that it runs on.

The walk keeps order, priorities and retries; Ray is given what is ready and has room. Nodes that see the store's folder
work in it. To others an order goes with the states, the data and the plugin files that it needs, and what it makes
comes back to the store of the run.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

import prunebench
from prunebench.api.errors import CorruptEntry, PrunebenchError, StoreError
from prunebench.api.executors import ExitCode
from prunebench.messages import rounded
from prunebench.records import write_store_file
from prunebench.store import Store, pack, unpack

from .ray_nodes import BEGUN, NO_STORE, PackedInputs, remove_node_folder, run_task

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # 15 by default: stages would wait for whatever else runs, as local ones do not
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # a driver under `uv run` would have its environment made anew on workers
}
CHUNK = 64 * 2**20
"""Bytes of a data set that are one object: any object store can hold some of them."""
OBJECT_STORE = 200 * 2**20
"""Bytes of the object store of a Ray that is started here, where the store is shared and nothing travels."""
LONGEST = 43
"""Bytes of the name of that Ray's folder: a socket's name may have 107, of which Ray adds up to 64."""
START_TIMEOUT = 180.0
"""Seconds in which a Ray that is started here is ready, or is said not to be; it mostly takes ten."""
POLL_INTERVAL = 1.0
"""Seconds between two looks at the nodes of the cluster, and at Ctrl-C."""
CLEANUP_SECONDS = 5.0
"""Seconds that the nodes have to clean up."""
NO_SLOTS_WARNING = 60.0
"""Seconds without any room, after which that is said."""

_log = logging.getLogger("prunebench.ray")


class Ray(prunebench.Executor):
    """A Ray cluster: each stage is a task. Without an address, Ray is started on this machine for the run."""

    name = "ray"
    reference = "Moritz et al. 2018, arXiv:1712.05889"

    address: Annotated[str, Doc("of a cluster that is running: auto, or such as 10.0.0.1:6379")] = ""

    def open(self, context: prunebench.RunContext) -> prunebench.WorkerPool:
        return Tasks(_imported(), self.address or os.environ.get("RAY_ADDRESS", ""), context)


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
    """A job that was submitted, and the generator of its answers."""

    job: prunebench.JobSpec
    answers: Any
    begun: bool = False


class Tasks(prunebench.WorkerPool):
    """Jobs as Ray tasks, as many as the nodes have room for."""

    def __init__(self, ray: Any, address: str, context: prunebench.RunContext) -> None:
        self._ray, self._site = ray, context
        self._store = Store(context.store)
        self._num_cpus = context.resources.num_cpus or float(context.threads)
        gpus = 1.0 if context.resources.num_gpus is None else context.resources.num_gpus
        self._num_gpus = gpus if context.device == "cuda" else 0.0
        self._tasks: dict[str, Task] = {}
        self._results: list[prunebench.JobResult] = []
        self._token = self._store.root / f".seen.{uuid.uuid4().hex}"
        self._states_travel = False
        self._data: dict[str, dict[str, Any]] = {}
        self._slots_now, self._checked_at, self._slots_since = 0, -POLL_INTERVAL, time.monotonic()
        self._connected = not ray.is_initialized()
        self._scratch = _connect(ray, address) if self._connected else ""
        try:
            self._check_slots()
            self._token.touch()
        except BaseException:
            self.shutdown()
            raise
        self._function = ray.remote(
            num_cpus=self._num_cpus, num_gpus=self._num_gpus, max_retries=0, max_calls=0, num_returns="streaming"
        )(run_task)
        self.place = f"Ray: {self._slots()} places on {len(self._nodes())} node{'s' * (len(self._nodes()) > 1)}"

    def _nodes(self) -> list[dict[str, float]]:
        """What each living node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _slots(self) -> int:
        """How many stages all nodes together have room for, tasks of other drivers not counted."""
        wanted = {"CPU": self._num_cpus, "GPU": self._num_gpus}
        return sum(
            min(int(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in wanted.items() if amount)
            for node in self._nodes()
        )

    def _check_slots(self) -> None:
        if not self._slots():
            wanted = f"{self._num_cpus:g} CPUs" + f" and {self._num_gpus:g} GPUs" * bool(self._num_gpus)
            nodes = ", ".join(sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in self._nodes()}))
            raise PrunebenchError(
                f"no node of the Ray cluster has {wanted}, there are {nodes or 'none'}: "
                "ask for less with --num-cpus and --num-gpus"
            )

    @property
    def free(self) -> int:
        now = time.monotonic()
        if now - self._checked_at >= POLL_INTERVAL:
            self._checked_at, self._slots_now = now, self._slots()
            if self._slots_now:
                self._slots_since = now
            elif now - self._slots_since > NO_SLOTS_WARNING:
                _log.warning("the Ray cluster has no room for a stage any more; waiting for a node")
                self._slots_since = now
        limit = self._slots_now if self._site.workers is None else min(self._site.workers, self._slots_now)
        return max(0, limit - len(self._tasks))

    def submit(self, job: prunebench.JobSpec) -> None:
        try:
            inputs = self._packed_inputs(job) if self._states_travel else None
        except StoreError as error:  # it was damaged, or is gone
            _log.warning("%s", error)
            for key in job.needs:
                self._check(key)
            self._results.append(prunebench.JobResult(job.key, ExitCode.INPUT_MISSING))
            return
        answers = self._function.options(name=f"prunebench {job.key[:8]}").remote(
            job.to_json(), str(self._token), inputs
        )
        self._tasks[job.key] = Task(job, answers)

    def _check(self, key: str) -> None:
        """Discard an entry that is damaged."""
        try:
            self._store.verified(key)
        except CorruptEntry:
            self._store.discard(key)
        except StoreError:
            pass  # there is none

    def _packed_inputs(self, job: prunebench.JobSpec) -> PackedInputs:
        states = {key: self._ray.put(pack(self._store, key)) for key in job.needs}
        if job.fingerprint not in self._data:
            files = sorted(Path(job.data).iterdir())
            self._data[job.fingerprint] = {file.name: list(self._chunks(file)) for file in files}
        plugins = {path: Path(path).read_text("utf-8") for path in job.plugins}
        return PackedInputs(states, self._data[job.fingerprint], plugins)

    def _chunks(self, path: Path) -> Iterator[Any]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield self._ray.put(chunk)

    def wait(self, timeout: float | None) -> list[prunebench.JobResult]:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            results, self._results = self._results, []
            results += self._poll(
                0.0 if results else POLL_INTERVAL if until is None else min(POLL_INTERVAL, until - time.monotonic())
            )
            if results or (until is not None and time.monotonic() >= until):
                return results

    def _poll(self, seconds: float) -> list[prunebench.JobResult]:
        """The ends among what tasks said within so many seconds."""
        keys = {task.answers: key for key, task in self._tasks.items()}
        if not keys:
            time.sleep(max(0.0, seconds))
            return []
        ready, _ = self._ray.wait(list(keys), num_returns=1, timeout=max(0.0, seconds), fetch_local=False)
        results = (self._answer(keys[answers]) for answers in ready)
        return [end for end in results if end is not None]

    def _answer(self, key: str) -> prunebench.JobResult | None:
        """Take the next answer of a task: it has begun, it needs its inputs, its result, or how Ray lost it."""
        task, errors = self._tasks[key], self._ray.exceptions
        try:
            answer = self._ray.get(next(task.answers))
        except errors.RayTaskError as error:
            del self._tasks[key]
            return prunebench.JobResult(key, ExitCode.FAILED, f"its Ray task failed: {_last_line(error)}")
        except (errors.RayError, StopIteration) as error:
            del self._tasks[key]
            return prunebench.JobResult(key, -signal.SIGKILL, _cause_of_loss(error))
        if answer == BEGUN:
            task.begun = True
            return None
        del self._tasks[key]
        if answer == NO_STORE:
            if not self._states_travel:
                _log.info("a node of the Ray cluster does not see %s: states travel", self._store.root)
            self._states_travel = True
            self.submit(task.job)
            return None
        return self._receive(key, answer)

    def _receive(self, key: str, answer: Mapping[str, Any]) -> prunebench.JobResult:
        """Write to the store what came from another machine."""
        if (log := answer.get("log")) is not None:
            with contextlib.suppress(OSError):
                write_store_file(self._store.logs / f"{key}.log", log)
        if (failure := answer.get("failure")) is not None:
            self._store.write_failure(key, failure)
        if (entry := answer.get("entry")) is not None:
            try:
                unpack(self._store, key, entry)
            except CorruptEntry:
                return prunebench.JobResult(key, -signal.SIGKILL, "damage to its result in transit")
        if answer["exitcode"] == ExitCode.INPUT_MISSING:
            self._data.clear()  # what was sent may have been damaged before
        return prunebench.JobResult(key, answer["exitcode"], answer["cause"])

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
            if self._states_travel:
                self._clean_nodes()
            with contextlib.suppress(OSError):
                self._token.unlink(missing_ok=True)
            if self._connected:
                self._ray.shutdown()
        if self._scratch:
            _remove(self._scratch)

    def _clean_nodes(self) -> None:
        """Remove from the nodes what was copied there; a node that does not answer is skipped."""
        ray = self._ray
        tidying = [
            ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=_at(ray, node["NodeID"]))(
                remove_node_folder
            ).remote(str(self._token))
            for node in ray.nodes()
            if node["Alive"]
        ]
        ray.wait(tidying, num_returns=len(tidying), timeout=CLEANUP_SECONDS)


def _connect(ray: Any, address: str) -> str:
    """Join the cluster at an address, or start one here; gives the folder that this one keeps its files in."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # The scheduler reports deaths of workers; Ray's own messages about them cannot be switched off.
    vars(ray._private.worker)["print_worker_logs"] = lambda *_: None
    scratch = "" if address else _scratch()
    own: dict[str, Any] = {"address": address}
    if scratch:
        own = {"_temp_dir": scratch, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    timed_out = threading.Event()
    try:
        with _own_signals(), _time_limit(scratch, timed_out):
            ray.init(**own, log_to_driver=False, configure_logging=False)
    except BaseException as error:  # Ray raises many kinds here, and may be interrupted
        if scratch:
            with contextlib.suppress(Exception), _own_signals():
                ray.shutdown()
            _remove(scratch)
        if not isinstance(error, Exception):
            raise
        where = f"cannot join the Ray cluster at {address}" if address else "cannot start Ray here"
        reason = f"it was not ready after {rounded(START_TIMEOUT)}" if timed_out.is_set() else _last_line(error)
        raise PrunebenchError(f"{where}: {reason}") from error
    return scratch


@contextlib.contextmanager
def _time_limit(scratch: str, timed_out: threading.Event) -> Iterator[None]:
    """A Ray that is not ready in time loses its processes, upon which its start fails."""

    def stop() -> None:
        timed_out.set()
        _kill_processes(scratch)

    timer = threading.Timer(START_TIMEOUT, stop)
    timer.daemon = True
    if scratch:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill_processes(scratch: str) -> None:
    """Kill the processes of the Ray that keeps its files in this folder: its name is in the command of each."""
    psutil = importlib.import_module("psutil")  # Ray brings it along
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(scratch in part for part in process.cmdline()):
                process.kill()


def _remove(scratch: str) -> None:
    """Take away what is left of a Ray that was started here: it leaves processes behind when its start fails."""
    _kill_processes(scratch)
    shutil.rmtree(scratch, ignore_errors=True)


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


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _cause_of_loss(error: BaseException) -> str:
    """How the scheduler describes a worker that Ray lost."""
    known = {
        "WorkerCrashedError": "the crash of its Ray worker",
        "NodeDiedError": "the loss of its node",
        "OutOfMemoryError": "Ray, as its node ran out of memory",
    }
    return known.get(type(error).__name__, f"Ray: {type(error).__name__}")


@prunebench.hookimpl
def register_executors() -> list[type[prunebench.Executor]]:
    return [Ray]
