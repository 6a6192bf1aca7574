"""The exceptions and warnings of checks."""

from __future__ import annotations

import unittest
import warnings


class Nonconformity(AssertionError):
    """A method breaks a rule that all methods must follow."""


class NotApplicable(unittest.SkipTest):
    """A check does not apply, and why; pytest shows it as a skipped test."""


class ConformanceWarning(UserWarning):
    """Something that is allowed but seldom intended."""


def warn(text: str) -> None:
    """Warn of something that is allowed but seldom intended."""
    warnings.warn(text, ConformanceWarning, stacklevel=3)
