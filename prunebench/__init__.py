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

if TYPE_CHECKING:
    from prunebench.deployment import Deployed
    from prunebench.execution.orders import carry_out
    from prunebench.network import Network
    from prunebench.scoring import Scoring
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
    "carry_out",
    "hookimpl",
    "load_ticket",
]

_WITH_TORCH = {
    "Deployed": "prunebench.deployment",
    "Network": "prunebench.network",
    "Scoring": "prunebench.scoring",
    "Ticket": "prunebench.tickets",
    "Training": "prunebench.training",
    "carry_out": "prunebench.execution.orders",
    "load_ticket": "prunebench.tickets",
}


def __getattr__(name: str) -> Any:
    """Names whose modules need torch are imported when they are first used."""
    if name in _WITH_TORCH:
        from importlib import import_module

        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module 'prunebench' has no attribute {name!r}")
