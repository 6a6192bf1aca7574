"""One trial that has ended: what it can be taken away as, and what there is to see of it.

open_trial(loaded, name)    the trial, if the store has it
export(finished, path)      its ticket, or its pruned network, as a file
deliver(finished, ...)      its network in a runtime, as a folder with a card
inspect(finished, other)    curves, densities, overlap, movement, stability
"""

from prunebench.inspection.cards import latency_lines
from prunebench.inspection.exports import FORMATS, export, ticket_of
from prunebench.inspection.findings import Findings, inspect
from prunebench.inspection.programs import deliver
from prunebench.inspection.report import markdown, text, write
from prunebench.inspection.trials import Finished, narrowed, open_trial

__all__ = [
    "FORMATS",
    "Findings",
    "Finished",
    "deliver",
    "export",
    "inspect",
    "latency_lines",
    "markdown",
    "narrowed",
    "open_trial",
    "text",
    "ticket_of",
    "write",
]
