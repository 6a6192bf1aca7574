"""Progress of a run: one line for each finished trial, and on a terminal a bar with the estimated time left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prunebench.cli.shared import output
from prunebench.cli.shared.output import say
from prunebench.execution.estimates import Duration, duration
from prunebench.execution.open_trials import Event
from prunebench.execution.scheduler import Scheduler
from prunebench.messages.durations import rounded

PACKAGE = "prunebench"
REFRESH = 0.5
"""Seconds between two updates of the bar."""
HEARTBEAT = 60.0
"""Seconds between two lines that say how far the run is, where the output is not a terminal."""


class Watcher:
    """Shows the progress of a scheduler; if the output is not a terminal, as plain lines that start with the time."""

    def __init__(self, console: Console | None = None, confirm: Callable[[Duration], float] | None = None) -> None:
        """`confirm` is called before anything runs; it returns the expected seconds, or raises to stop the run."""
        self._confirm = confirm
        self._expected = 0.0
        self._console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._ended = threading.Event()
        self._seen = self._total = 0
        self._begun = time.monotonic()
        self._notices = _Notices(self._print)

    def __enter__(self) -> Watcher:
        logger = logging.getLogger(PACKAGE)
        logger.addHandler(self._notices)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        logging.getLogger(PACKAGE).removeHandler(self._notices)
        if self._bar is not None:
            self._bar.stop()

    def watch(self, scheduler: Scheduler) -> Watcher:
        """Start; returns the callback for finished trials."""
        self._total = len(scheduler.plan.trials)
        say(f"{self._total} trials in {len(scheduler.plan.nodes)} stages", err=True)
        if self._confirm is not None and scheduler.has_work:
            self._expected = self._confirm(duration(scheduler.plan, scheduler.store, scheduler.device))
        self._begun = time.monotonic()
        if self._console.is_terminal:
            self._show_bar()
        threading.Thread(target=self._follow, args=(scheduler,), daemon=True).start()
        return self

    def _show_bar(self) -> None:
        self._bar = Progress(
            BarColumn(None),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1, left="")
        self._bar.start()

    def __call__(self, event: Event) -> None:
        self._seen += 1
        if event.cached:
            return
        self._print(f"[{self._seen:{len(str(self._total))}}/{self._total}] {event.planned.trial}  {ending(event)}")

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.print(output.text(line))
        else:
            say(f"{time.strftime('%H:%M:%S')} {line}", err=True)

    def _follow(self, scheduler: Scheduler) -> None:
        """Show the progress by optimizer steps, which is smoother than by trials."""
        most = 0
        while not self._ended.wait(REFRESH if self._bar is not None else HEARTBEAT):
            left = scheduler.steps_left
            most = max(most, left)
            if self._bar is not None and self._task is not None and most:
                self._bar.update(self._task, total=most, completed=most - left, left=self._left(most - left, left))
            elif self._bar is None and left:
                share = (most - left) / most
                self._print(
                    f"{self._seen} of {self._total} trials, {share:.0%} of the steps; {self._left(most - left, left)}"
                )

    def _left(self, done: int, left: int) -> str:
        """The time that is left at the rate so far; before any job has ended, by the estimate of the whole run."""
        passed = time.monotonic() - self._begun
        if done:
            return f"about {rounded(passed * left / done)} left"
        if self._expected > passed:
            return f"about {rounded(self._expected - passed)} left, by the estimate"
        return "about ... left"


class _Notices(logging.Handler):
    """Prints the log messages of the package."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname}: " if record.levelno >= logging.WARNING else ""
        self._show(prefix + record.getMessage())


def ending(event: Event) -> str:
    """How a trial ended, in a few words."""
    result = event.result
    if result.status != "done":
        return f"{result.status.upper()}: {result.reason}"
    figures, metric = result.metrics, result.primary
    return f"{metric.label} {metric.shown(figures[metric.name])}  cost {figures['training_cost']:.2f}x"


def bytes_of(size: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
