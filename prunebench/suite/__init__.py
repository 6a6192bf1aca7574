"""A suite: from YAML to validated values."""

from prunebench.api.tasks import Entry, Optimizer, Prunable, Recipe, Schedule, Suite, Task, Trial
from prunebench.suite.overrides import narrow
from prunebench.suite.reading import from_plain, read_suite, to_plain, trial_from_plain, trial_to_plain
from prunebench.suite.schema import suite_schema
from prunebench.suite.sections.runtimes import named_runtime

__all__ = [
    "Entry",
    "Optimizer",
    "Prunable",
    "Recipe",
    "Schedule",
    "Suite",
    "Task",
    "Trial",
    "from_plain",
    "named_runtime",
    "narrow",
    "read_suite",
    "suite_schema",
    "to_plain",
    "trial_from_plain",
    "trial_to_plain",
]
