"""One trial that has ended: what it can be taken away as, and what there is to see of it."""

from prunebench.inspection.exports import FORMATS, export, ticket_of
from prunebench.inspection.trials import Finished, open_trial

__all__ = ["FORMATS", "Finished", "export", "open_trial", "ticket_of"]
