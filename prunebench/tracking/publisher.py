"""Results are sent from a separate thread, so that no worker waits for a database or a server."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from uuid import uuid4

from prunebench.api.errors import TrackingError
from prunebench.messages.redaction import redacted
from prunebench.records.results import Result
from prunebench.tracking.tracker import Tracker

PAUSE = 30.0
"""Seconds between two attempts to reach a server that was away."""
_PATIENCE = 3.0
"""Seconds for which a call of a server that fails is made again at once."""
_GRACE = 5.0
"""Seconds that `abandon` waits for the result that is being written."""


class Publisher:
    """Sends the results of a suite to MLflow while the run goes on.

    A server that is away holds nothing up, and nothing is lost: every result is in the store. It is tried again
    after a pause, with all that waits, and once more at the end.
    """

    def __init__(self, suite: str, pause: float = PAUSE, begun: bool = True) -> None:
        self._suite, self._pause = suite, pause
        self._queue: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._waiting: deque[Result] = deque()
        self._tracker: Tracker | None = None
        self._writer = uuid4().hex
        self._trouble = ""
        self._tried = 0.0
        """When the last attempt ended."""
        self._closing = float("inf")
        self._abandoned = False
        self._thread = threading.Thread(target=self._send, name="publisher", daemon=True)
        self._begun = False
        if begun:
            self.begin()

    def begin(self) -> None:
        """Send from now on; a publisher that is not begun keeps what it is given."""
        if not self._begun:
            self._begun = True
            self._thread.start()

    def put(self, result: Result) -> None:
        self._queue.put(result)

    def close(self) -> str:
        """Wait until all is sent, or the server was tried once more in vain; returns what went wrong, or nothing."""
        self._closing = time.monotonic()
        self._queue.put(None)
        self.begin()
        self._thread.join()
        return f"{self._trouble} ({len(self._waiting)} results wait in the store)" if self._trouble else ""

    def abandon(self) -> None:
        """Send no more than the result that is being written: what is left goes with the next run."""
        self._abandoned = True
        self._queue.put(None)
        if self._begun:
            self._thread.join(_GRACE)

    def _send(self) -> None:
        self._attempt()
        more = True
        while more:
            more = self._collect()
            if self._is_time(more) and not self._abandoned:
                self._attempt()

    def _collect(self) -> bool:
        """Take what has come, or wait until something does or the next attempt is due; False when no more will come."""
        due = max(0.0, self._tried + self._pause - time.monotonic()) if self._waiting else None
        try:
            result = self._queue.get(timeout=due)
            while result is not None:
                self._waiting.append(result)
                result = self._queue.get_nowait()
        except queue.Empty:
            return True
        return False

    def _is_time(self, more: bool) -> bool:
        """Whether to send now: always while all is well, after a pause while it is not, and once when all have come."""
        if not self._trouble:
            return True
        pause = self._pause if more else 0.0
        return time.monotonic() >= self._tried + pause and (more or self._tried < self._closing)

    def _attempt(self) -> None:
        """Send what waits until all is sent or the server is away; what it refuses waits on, behind the rest."""
        refused: list[Result] = []
        self._trouble = trouble = ""
        try:
            tracker = self._connected()
            while self._waiting and not self._abandoned:
                try:
                    tracker.publish(self._waiting[0])
                except Exception as error:
                    tracker.check()
                    trouble = trouble or _reason(error)
                    refused.append(self._waiting[0])
                self._waiting.popleft()
        except Exception as error:  # whatever it is, the run goes on and ends with it
            self._tracker, trouble = None, _reason(error)
        self._waiting.extend(refused)
        self._trouble, self._tried = trouble, time.monotonic()

    def _connected(self) -> Tracker:
        if self._tracker is None:
            tracker = Tracker(patience=_PATIENCE, writer=self._writer)
            tracker.published(self._suite)  # one look at all runs instead of one for each
            self._tracker = tracker
        return self._tracker


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, TrackingError) else redacted(f"{type(error).__name__}: {error}")
