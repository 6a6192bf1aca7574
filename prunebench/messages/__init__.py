"""Text of messages: suggestions, lengths of time, redaction, and escaping for each format."""

from prunebench.messages.durations import rounded
from prunebench.messages.suggestions import nearest

__all__ = ["nearest", "rounded"]
