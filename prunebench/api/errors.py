"""The errors that prunebench raises on purpose.

    PrunebenchError
    ├── SuiteError        a suite that cannot be run: every mistake in it, each with its place
    ├── PluginError       a plugin that cannot be used: names the plugin, the hook and the mend
    ├── DataError         a data set that is missing or damaged: what was looked for, and where
    │   ├── BrokenDataset one whose own code exits, raises, or returns something else than it says
    │   └── DamagedData   prepared data whose bytes are not those that were written
    ├── TicketError       a file that is no ticket, or one that does not fit
    ├── StoreError        a store that cannot be read or written
    │   ├── MissingEntry  an entry that is not there
    │   └── CorruptEntry  an entry whose bytes are not those that were written
    ├── TrackingError     an MLflow that cannot be reached or refuses: names the address, never its password
    │   └── Unavailable   one that does not answer now, or is busy: the same may work later
    ├── BoardError        a published board, or a page with places for its tables, that cannot be read or compared
    ├── Unreachable       a target that a method cannot reach: a skipped trial with its reason
    └── Diverged          a loss that is no longer a number: a failed trial with its reason

The command line prints their message, without a traceback, and exits with 2.
"""

from __future__ import annotations


class PrunebenchError(Exception):
    """What went wrong, where, and what to do about it."""


class SuiteError(PrunebenchError):
    """A suite that cannot be run; the message lists every mistake, one a line."""


class PluginError(PrunebenchError):
    """A plugin that cannot be used."""


class DataError(PrunebenchError):
    """A data set that is missing or damaged."""


class BrokenDataset(DataError):
    """A data set whose code exits, raises, or returns something else than its facts say."""


class DamagedData(DataError):
    """Prepared data whose bytes are not those that were written; `prunebench run` prepares it again."""


class TicketError(PrunebenchError):
    """A file that is no ticket, or one that does not fit what it is to be used for."""


class StoreError(PrunebenchError):
    """A store that cannot be read or written."""


class MissingEntry(StoreError):
    """An entry that is not there."""


class CorruptEntry(StoreError):
    """An entry whose bytes are not those that were written."""


class TrackingError(PrunebenchError):
    """An MLflow that cannot be reached, or that refuses what it is asked."""


class Unavailable(TrackingError):
    """An MLflow that does not answer now, or answers that it cannot: the same may work later."""


class BoardError(PrunebenchError):
    """A published board, or a page with places for its tables, that cannot be read or compared."""


class Unreachable(PrunebenchError):
    """A density or structure that a method cannot reach on this network; names what it can reach."""


class Diverged(PrunebenchError):
    """A training loss that is no longer finite."""
