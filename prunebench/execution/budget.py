"""The time budget of a run, and which jobs are expected to end before it is used up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property

from prunebench.execution.estimates import seconds_of
from prunebench.plan.jobs import Job
from prunebench.plan.planning import Plan
from prunebench.store.entries import Store


class Budget:
    """The time of a run. Without a deadline everything fits.

    What this run has measured of a task takes precedence over measurements in the store.

    Args:
        deadline: as `time.monotonic()` counts.
        device: what the run computes on, `cpu` or `cuda`.
        resumable: whether a job that was stopped continues from where it was.
    """

    def __init__(
        self, deadline: float | None, plan: Plan, store: Store, device: str = "cpu", resumable: bool = True
    ) -> None:
        self.deadline = deadline
        self._whole = 0.0 if deadline is None else deadline - time.monotonic()
        self._plan, self._store, self._device, self._resumable = plan, store, device, resumable
        self._steps: defaultdict[str, int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def fits(self, job: Job) -> bool:
        """Whether a job that begins now ends in time, or makes progress where no run with this budget could end it."""
        if self.deadline is None:
            return True
        seconds = self.estimate(job)
        return time.monotonic() + seconds < self.deadline or (self._resumable and seconds >= self._whole)

    def estimate(self, job: Job) -> float:
        """How many seconds a job takes."""
        label, steps = self._task_and_steps(job)
        if label in self._steps:
            return self._seconds[label] / self._steps[label] * steps
        return self._estimated[0](job)

    @property
    def basis(self) -> str:
        """What the estimates are based on."""
        return "measured in this run" if self._steps else self._estimated[1]

    def ended(self, job: Job, seconds: float) -> None:
        """Note how long a job took."""
        label, steps = self._task_and_steps(job)
        if steps:
            self._steps[label] += steps
            self._seconds[label] += seconds

    def _task_and_steps(self, job: Job) -> tuple[str, int]:
        nodes = [self._plan.nodes[key] for key in job.path]
        return nodes[0].trial.task.label, sum(node.steps for node in nodes)

    @cached_property
    def _estimated(self) -> tuple[Callable[[Job], float], str]:
        return seconds_of(self._plan, self._store, self._device)
