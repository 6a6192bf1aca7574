"""prunebench: the benchmark suite for neural-network pruning methods.

What a plugin needs is here: subclass `Method`, `Model`, `Dataset` or `Executor`, and register it with `hookimpl`.
"""

from typing import TYPE_CHECKING, Any

from prunebench.components import Arrays, DataFacts, Dataset, Files, Method, Model, Preset
from prunebench.executors import Crew, Ended, Executor, Order, Resources, Site
from prunebench.files import File
from prunebench.hooks import hookimpl
from prunebench.stages import (
    Allocation,
    Deploy,
    Initialize,
    Prune,
    Reinitialize,
    Rewind,
    Shuffle,
    Stage,
    Structure,
    Train,
)
from prunebench.suite.values import Trial
from prunebench.times import Time
from prunebench.updating import Updater
from prunebench.versions import added_later

if TYPE_CHECKING:
    from prunebench.cost import Flops
    from prunebench.deployment import Deployed
    from prunebench.execution.orders import carry_out
    from prunebench.leaderboard import leaderboard
    from prunebench.network import Network
    from prunebench.scoring import Scoring
    from prunebench.session import load_suite, run_suite
    from prunebench.tickets import Ticket, load_ticket
    from prunebench.training import Training

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "Arrays",
    "Crew",
    "DataFacts",
    "Dataset",
    "Deploy",
    "Deployed",
    "Ended",
    "Executor",
    "File",
    "Files",
    "Flops",
    "Initialize",
    "Method",
    "Model",
    "Network",
    "Order",
    "Preset",
    "Prune",
    "Reinitialize",
    "Resources",
    "Rewind",
    "Scoring",
    "Shuffle",
    "Site",
    "Stage",
    "Structure",
    "Ticket",
    "Time",
    "Train",
    "Training",
    "Trial",
    "Updater",
    "__version__",
    "added_later",
    "carry_out",
    "hookimpl",
    "leaderboard",
    "load_suite",
    "load_ticket",
    "run_suite",
]

_LATER = {
    "Deployed": "prunebench.deployment",
    "Flops": "prunebench.cost",
    "Network": "prunebench.network",
    "Scoring": "prunebench.scoring",
    "Ticket": "prunebench.tickets",
    "Training": "prunebench.training",
    "carry_out": "prunebench.execution.orders",
    "leaderboard": "prunebench.leaderboard",
    "load_suite": "prunebench.session",
    "load_ticket": "prunebench.tickets",
    "run_suite": "prunebench.session",
}


def __getattr__(name: str) -> Any:
    """Names whose modules need torch or pandas are imported when they are first used."""
    if name in _LATER:
        from importlib import import_module

        module = import_module(_LATER[name])
        return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    raise AttributeError(f"module 'prunebench' has no attribute {name!r}")
