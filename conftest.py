"""How the tests run: in several processes, and with bytecode even where the environment forbids to write it."""

import os
import sys
from pathlib import Path

MOST = 8
"""Processes that the tests run in, at most."""

if sys.dont_write_bytecode:
    # In containers, mostly. Each process that a test starts would compile torch, which takes longer than to import it.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(cache / "prunebench-tests" / "bytecode")
    sys.dont_write_bytecode = False
    del os.environ["PYTHONDONTWRITEBYTECODE"]


def pytest_xdist_auto_num_workers(config):
    """One process a core for all tests; for those of a file or folder that was named, this process alone."""
    named = config.args != config.getini("testpaths")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if named or config.option.collectonly else min(cores, MOST)
