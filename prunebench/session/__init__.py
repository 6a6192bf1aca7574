"""From a suite to its leaderboard: what `prunebench run` does, as functions to be called from Python.

suite = prunebench.load_suite("suites/digits.yaml")
outcome = prunebench.run_suite(suite)
outcome.frame            # the leaderboard, a pandas DataFrame
"""

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
