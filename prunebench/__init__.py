"""prunebench: the benchmark suite for neural-network pruning methods.

What a plugin needs is here: subclass `Method`, `Model`, `Dataset` or `Executor`, and register it with `hookimpl`.
"""

from typing import TYPE_CHECKING, Any

from prunebench.api.components import Arrays, DataFacts, Dataset, Files, Method, Model, Preset
from prunebench.api.executors import Crew, Ended, Executor, Order, Resources, Site
from prunebench.api.files import File
from prunebench.api.hooks import hookimpl
from prunebench.api.stages import (
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
from prunebench.api.tasks import Trial
from prunebench.api.times import Time
from prunebench.api.updating import Updater
from prunebench.api.versions import added_later

if TYPE_CHECKING:
    from prunebench.execution.carry_out import carry_out
    from prunebench.inspection.tickets import Ticket, load_ticket
    from prunebench.leaderboard import leaderboard
    from prunebench.network.deployment import Deployed
    from prunebench.network.description import Network
    from prunebench.pruning.scoring import Scoring
    from prunebench.session import load_suite, run_suite
    from prunebench.training.cost import Flops
    from prunebench.training.loop import Training

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
    "Deployed": "prunebench.network.deployment",
    "Flops": "prunebench.training.cost",
    "Network": "prunebench.network.description",
    "Scoring": "prunebench.pruning.scoring",
    "Ticket": "prunebench.inspection.tickets",
    "Training": "prunebench.training.loop",
    "carry_out": "prunebench.execution.carry_out",
    "leaderboard": "prunebench.leaderboard",
    "load_suite": "prunebench.session",
    "load_ticket": "prunebench.inspection.tickets",
    "run_suite": "prunebench.session",
}


def __getattr__(name: str) -> Any:
    """Names whose modules need torch or pandas are imported when they are first used."""
    if name in _LATER:
        from importlib import import_module

        module = import_module(_LATER[name])
        return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    raise AttributeError(f"module 'prunebench' has no attribute {name!r}")
