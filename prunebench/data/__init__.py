"""Data sets in memory and streamed, their splits, augmentation, and the seeds that everything is drawn from."""

from prunebench.data.prepared import Prepared, verified
from prunebench.data.streaming import files_of, is_streamed

__all__ = ["Prepared", "files_of", "is_streamed", "verified"]
