"""Text for people: suggestions, lengths of time, what is hidden, and plain text for each format."""

from prunebench.messages.durations import rounded
from prunebench.messages.suggestions import nearest

__all__ = ["nearest", "rounded"]
