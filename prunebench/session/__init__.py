"""From a suite to its leaderboard: what `prunebench run` does, as functions to be called from Python.

suite = prunebench.load_suite("suites/digits.yaml")
outcome = prunebench.run_suite(suite)
outcome.frame            # the leaderboard, a pandas DataFrame
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunebench.session.loading import LoadedSuite, load_suite, plan_suite, prepared_already
    from prunebench.session.outbox import UNSENT, SyncReport, sync_all, sync_suite
    from prunebench.session.preparing import data_failures
    from prunebench.session.run_options import STORE, RunOptions
    from prunebench.session.running import BOARDS, NETWORKS, Outcome, make_leaderboard, run_suite

__all__ = [
    "BOARDS",
    "NETWORKS",
    "STORE",
    "UNSENT",
    "LoadedSuite",
    "Outcome",
    "RunOptions",
    "SyncReport",
    "data_failures",
    "load_suite",
    "make_leaderboard",
    "plan_suite",
    "prepared_already",
    "run_suite",
    "sync_all",
    "sync_suite",
]

_MODULES = {
    "BOARDS": "prunebench.session.running",
    "LoadedSuite": "prunebench.session.loading",
    "NETWORKS": "prunebench.session.running",
    "Outcome": "prunebench.session.running",
    "RunOptions": "prunebench.session.run_options",
    "STORE": "prunebench.session.run_options",
    "SyncReport": "prunebench.session.outbox",
    "UNSENT": "prunebench.session.outbox",
    "data_failures": "prunebench.session.preparing",
    "load_suite": "prunebench.session.loading",
    "make_leaderboard": "prunebench.session.running",
    "plan_suite": "prunebench.session.loading",
    "prepared_already": "prunebench.session.loading",
    "run_suite": "prunebench.session.running",
    "sync_all": "prunebench.session.outbox",
    "sync_suite": "prunebench.session.outbox",
}


def __getattr__(name: str) -> Any:
    """Modules are imported when a name of theirs is first used: they need torch, and to find a receipt needs none."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'prunebench.session' has no attribute {name!r}")
