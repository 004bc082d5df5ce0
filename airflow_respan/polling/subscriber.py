"""One wait at a poller: plans a look, takes in what it has brought, plans the next. No I/O."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanError
from airflow_respan.waiting.policy import BatchWait, TimedOut

EARLY_RATIO = 0.25
"""The share of its pause (ratio 0-1) that a look may be early, where a request that serves it is made anyway."""

NEVER = float("inf")
"""The moment of a look that is not to come."""


class Subscriber:
    """Looks for a wait, again and again, until it is over.

    The wait takes in what was seen at once: to wake a coroutine for each look would cost several times as much, and
    most looks bring no news. What is planned is in seconds of ``time.monotonic``:

    * ``due``: when it wants to look next; :data:`NEVER` before :meth:`plan_check`, and when the wait is over
    * ``pause``: for how long it has not looked then (seconds)
    * ``is_last``: whether the wait's time is over then: nothing but a retrieve will do, and no sooner
    * ``earliest``: the moment from which on a request that others have caused serves it, too

    :param wait: says when to look, and what a look means
    :param schedule: is told of each look that is to come
    """

    __slots__ = ("_context", "_schedule_check", "_wait", "due", "earliest", "is_last", "over", "pause")

    def __init__(self, wait: BatchWait, schedule: Callable[[Subscriber], None]) -> None:
        self.over: asyncio.Future[Batch | TimedOut] = asyncio.get_running_loop().create_future()
        self.due = self.earliest = NEVER
        self.pause = 0.0
        self.is_last = False
        self._wait = wait
        self._schedule_check = schedule
        # Whoever brings what was seen has another log.
        self._context = contextvars.copy_context()

    def plan_check(self) -> None:
        """Plan the next look."""
        self.pause = self._wait.pause_seconds()
        self.is_last = self._wait.seconds_left() <= self.pause
        self.due = time.monotonic() + self.pause
        self.earliest = self.due if self.is_last else self.due - EARLY_RATIO * self.pause
        self._schedule_check(self)

    def on_result(self, seen: Batch | Exception) -> None:
        """Take in what a look has brought: the batch, or the error that stood in the way."""
        self.due = self.earliest = NEVER
        if self.over.done():  # the wait has been cancelled
            return
        try:
            if end := self._context.run(self._end, seen):
                self.over.set_result(end)
            else:
                self.plan_check()
        except Exception as error:  # noqa: BLE001 (one wait's error is not the others', nor the poller's)
            self.over.set_exception(error)

    def _end(self, seen: Batch | Exception) -> Batch | TimedOut | None:
        if isinstance(seen, RespanError):
            self._wait.on_error(seen)
        elif isinstance(seen, Exception):
            raise seen
        elif self._wait.on_batch(seen):
            return seen
        if self.is_last and self._wait.seconds_left() <= 0:
            return self._wait.timed_out()
        return None
