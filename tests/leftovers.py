"""Processes that a test's code leaves behind, found by a word in their commands."""

import contextlib
import time
from pathlib import Path


def processes():
    """The processes that are not zombies: number, parent, working folder and command."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state not in "ZX":
                yield int(folder.name), int(parent), (folder / "cwd").readlink(), command


def children(pid):
    return [number for number, parent, _, _ in processes() if parent == pid]


def marked(word):
    return [pid for pid, _, _, command in processes() if word in command]


def gone(found, seconds=10.0):
    """Whether a search for processes finds none, now or within these seconds."""
    deadline = time.monotonic() + seconds
    while left := found():
        if time.monotonic() > deadline:
            return left == []
        time.sleep(0.05)
    return True
