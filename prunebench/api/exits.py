"""How a worker ends: its exit codes, and what each asks of the run."""

DONE = 0
FAILED = 1
"""An exception of the work itself: final, its reason is in the store."""
FULL = 73
"""The store cannot be written: the run stops at once and books nothing as failed; the log's last line says why."""
LOST = 74
"""An entry that the order needs was missing or damaged, and is discarded: what is missing is worked out anew."""
CRAMPED = 72
"""A GPU's memory did not suffice, which others may have used as well: tried again as if the worker was killed."""
BUSY = 75
"""Another live run holds the lock of this job: it is looked at again in about a second."""
NOT_RUN = 76
"""The process that was to do the work, or the one that starts it, died of something else: tried again, and not held
against the job."""
