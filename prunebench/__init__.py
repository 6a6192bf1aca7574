"""prunebench: the benchmark suite for neural-network pruning methods.

What a plugin needs is here: subclass `Method`, `Model`, `Dataset`, `Objective`, `Executor` or `Runtime`, and
register it with
`hookimpl`.
"""

from typing import TYPE_CHECKING, Any

from prunebench.api import __version__
from prunebench.api.components import Arrays, DataFacts, Dataset, Files, Input, Interface, Model, Preset
from prunebench.api.contexts import CalibratedLayer, Scoring, Training, Trial
from prunebench.api.errors import Unsupported
from prunebench.api.executors import Executor, ExitCode, JobResult, JobSpec, Resources, RunContext, WorkerPool
from prunebench.api.files import File, Weights
from prunebench.api.hooks import hookimpl
from prunebench.api.layers import Flops, Group, Network, Part
from prunebench.api.methods import Deployed, LayerwiseMethod, Method, StructuredMethod, Updater
from prunebench.api.objectives import Classification, Metric, Objective
from prunebench.api.runtimes import Delivery, Program, Runtime
from prunebench.api.stages import (
    Allocation,
    Cut,
    CutAllocation,
    Deploy,
    Distillation,
    GroupKind,
    Initialize,
    Outliers,
    Prune,
    PruneLayerwise,
    Reconstruct,
    Reinitialize,
    Rewind,
    Shuffle,
    Stage,
    Structure,
    TimedPass,
    Train,
    Unit,
)
from prunebench.api.times import Time
from prunebench.api.versions import added_later

if TYPE_CHECKING:
    from prunebench.execution.worker import run_job
    from prunebench.inspection.exports import load_network
    from prunebench.inspection.programs import load_program
    from prunebench.inspection.tickets import Ticket, load_ticket
    from prunebench.leaderboard import load_leaderboard
    from prunebench.network.starting import read_weights
    from prunebench.session import RunOptions, load_suite, run_suite

__all__ = [
    "Allocation",
    "Arrays",
    "CalibratedLayer",
    "Classification",
    "Cut",
    "CutAllocation",
    "DataFacts",
    "Dataset",
    "Delivery",
    "Deploy",
    "Deployed",
    "Distillation",
    "Executor",
    "ExitCode",
    "File",
    "Files",
    "Flops",
    "Group",
    "GroupKind",
    "Initialize",
    "Input",
    "Interface",
    "JobResult",
    "JobSpec",
    "LayerwiseMethod",
    "Method",
    "Metric",
    "Model",
    "Network",
    "Objective",
    "Outliers",
    "Part",
    "Preset",
    "Program",
    "Prune",
    "PruneLayerwise",
    "Reconstruct",
    "Reinitialize",
    "Resources",
    "Rewind",
    "RunContext",
    "RunOptions",
    "Runtime",
    "Scoring",
    "Shuffle",
    "Stage",
    "Structure",
    "StructuredMethod",
    "Ticket",
    "Time",
    "TimedPass",
    "Train",
    "Training",
    "Trial",
    "Unit",
    "Unsupported",
    "Updater",
    "Weights",
    "WorkerPool",
    "__version__",
    "added_later",
    "hookimpl",
    "load_leaderboard",
    "load_network",
    "load_program",
    "load_suite",
    "load_ticket",
    "read_weights",
    "run_job",
    "run_suite",
]

_LATER = {
    "RunOptions": "prunebench.session",
    "Ticket": "prunebench.inspection.tickets",
    "run_job": "prunebench.execution.worker",
    "load_leaderboard": "prunebench.leaderboard",
    "load_network": "prunebench.inspection.exports",
    "load_program": "prunebench.inspection.programs",
    "load_suite": "prunebench.session",
    "load_ticket": "prunebench.inspection.tickets",
    "read_weights": "prunebench.network.starting",
    "run_suite": "prunebench.session",
}


def __getattr__(name: str) -> Any:
    """Names whose modules need torch or pandas are imported when they are first used."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'prunebench' has no attribute {name!r}")
