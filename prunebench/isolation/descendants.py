"""Processes below this one: found, adopted when their parent dies, and ended with all that they started.

On Linux a process can adopt its orphaned descendants (PR_SET_CHILD_SUBREAPER), so that a daemon which left its parent's
process group and session is found all the same. Elsewhere a process group is all that there is to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

SUBREAPER, PARENT_DEATH_SIGNAL = 36, 1
"""PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG of linux/prctl.h."""
PATIENCE = 5.0
"""Seconds in which killed processes are gone."""
PAUSE = 0.01


def adopt_orphans() -> bool:
    """Become the parent of each descendant whose own parent dies; returns whether the system can do that."""
    return _set(SUBREAPER, 1)


def end_with_parent() -> bool:
    """Be killed when the parent dies; returns whether the system can do that."""
    return _set(PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _set(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def children() -> set[int]:
    """The children of this process, adopted ones and zombies among them; empty where the system does not list them."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found.update(map(int, listing.read_text("ascii").split()))
    return found


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to all of a process group; one that is gone needs none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill(pids: Collection[int]) -> None:
    """Kill these processes."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def ended() -> Iterator[tuple[int, int]]:
    """The children that have ended, each with its exit code. What is left of the process group of each is killed."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = _waited_for()
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def _waited_for() -> tuple[int, int]:
    """A child that has ended, with its status; 0 if there is none. Raises ChildProcessError without children."""
    if hasattr(os, "waitid"):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if not found:
            return 0, 0
        signal_group(found.si_pid, signal.SIGKILL)  # as long as the zombie is there, its number belongs to it
        return os.waitpid(found.si_pid, 0)
    pid, status = os.waitpid(-1, os.WNOHANG)  # macOS before Python 3.13
    if pid:
        signal_group(pid, signal.SIGKILL)
    return pid, status


def kill_children(patience: float = PATIENCE) -> None:
    """Kill all children, and what is adopted of theirs, until there are none."""
    deadline = time.monotonic() + patience
    while (left := children()) and time.monotonic() < deadline:
        kill(left)
        for _ in ended():
            pass
        time.sleep(PAUSE)
