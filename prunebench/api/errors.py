"""The errors that prunebench raises on purpose.

    PrunebenchError
    ├── SuiteError        a suite that cannot be run: all its errors, each with its location
    ├── PluginError       a plugin that cannot be used: names the plugin, the hook and the remedy
    ├── DataError         a data set that is missing or damaged: what was looked for, and where
    │   ├── BrokenDataset a data set whose code exits, raises, or contradicts its facts
    │   └── DamagedData   prepared data whose bytes are not those that were written
    ├── CutError          what is said to be left of a network does not fit it
    ├── TicketError       a file that is not a ticket, or that does not fit
    ├── StoreError        a store that cannot be read or written
    │   ├── MissingEntry  an entry that is not there
    │   └── CorruptEntry  an entry whose bytes are not those that were written
    ├── TrackingError     an MLflow server that cannot be reached, or refuses: names the address without its password
    │   └── Unavailable   a server that does not answer, or is busy: a later attempt may work
    ├── BoardError        a published board, or a page with places for its tables, that cannot be read or compared
    ├── Unsupported       a network that a runtime cannot run, or has no kernels for: a remark, not a failure
    ├── Unreachable       a target that a method cannot reach: a skipped trial with its reason
    └── Diverged          a loss that is not finite: a failed trial with its reason

The command line prints their message, without a traceback, and exits with 2.
"""

from __future__ import annotations


class PrunebenchError(Exception):
    """Base class; the message says what went wrong, where, and what to do."""


class SuiteError(PrunebenchError):
    """A suite that cannot be run; the message lists all errors, one on each line."""


class PluginError(PrunebenchError):
    """A plugin that cannot be used."""


class DataError(PrunebenchError):
    """A data set that is missing or damaged."""


class BrokenDataset(DataError):
    """A data set whose code exits, raises, or contradicts its facts."""


class DamagedData(DataError):
    """Prepared data whose bytes are not those that were written; `prunebench run` prepares it again."""


class WeightsError(PrunebenchError):
    """A file of weights that cannot be read, or that does not fit the network."""


class CutError(PrunebenchError):
    """What is said to be left of a network, after channels were removed from it, does not fit it."""


class TicketError(PrunebenchError):
    """A file that is not a ticket, or that does not fit its use."""


class StoreError(PrunebenchError):
    """A store that cannot be read or written."""


class MissingEntry(StoreError):
    """An entry that is not there."""


class CorruptEntry(StoreError):
    """An entry whose bytes are not those that were written."""


class TrackingError(PrunebenchError):
    """An MLflow server that cannot be reached, or that refuses a request."""


class Unavailable(TrackingError):
    """An MLflow server that does not answer, or is busy; a later attempt may work."""


class BoardError(PrunebenchError):
    """A published board, or a page with places for its tables, that cannot be read or compared."""


class Unsupported(PrunebenchError):
    """A network that a runtime cannot run, or has no kernels for; the message is one sentence that says why."""


class Unreachable(PrunebenchError):
    """A density or structure that a method cannot reach on this network; the message names those that it can reach."""


class Diverged(PrunebenchError):
    """A training loss that is no longer finite."""
