"""One trial that has ended: what it can be taken away as, and what there is to see of it.

open_trial(loaded, name)    the trial, if the store has it
export(finished, path)      its ticket, or its pruned network, as a file
inspect(finished, other)    curves, densities, overlap, movement, stability
"""

from prunebench.inspection.exports import FORMATS, export, ticket_of
from prunebench.inspection.findings import Findings, inspect
from prunebench.inspection.report import markdown, text, write
from prunebench.inspection.trials import Finished, open_trial

__all__ = [
    "FORMATS",
    "Findings",
    "Finished",
    "export",
    "inspect",
    "markdown",
    "open_trial",
    "text",
    "ticket_of",
    "write",
]
