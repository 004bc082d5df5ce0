"""One deferred wait that subscribes to a batch: it plans a check, gets the result, and plans the next. No I/O."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanError
from airflow_respan.waiting.policy import BatchWait, TimedOut

EARLY_RATIO = 0.25
"""How early a check may be, as a part of its pause (ratio 0-1), if a request is sent anyway that can serve it."""

NEVER = float("inf")
"""The due time if no check is planned."""


class Subscriber:
    """One wait at the poller.

    The states:

    * New: no check is planned.
    * Planned: :meth:`plan_check` has set the next check. :meth:`on_result` plans another one, or ends the wait.
    * Ended: ``end`` has the batch, the timeout or an error. No check is planned; further results are ignored.

    The poller calls :meth:`on_result` instead of waking a coroutine for each check. That would take several times as
    much CPU, and most checks bring nothing new.

    Times are seconds of ``time.monotonic``:

    * ``due``: when the next check is due; :data:`NEVER` if none is planned
    * ``pause``: seconds from the last check to the next; at least the interval of the wait, also if the last check was
      made by the process that waited before
    * ``is_last``: whether the next check is the one at the deadline; it is never early. ``due`` is then the deadline,
      which may have passed already
    * ``earliest``: from when on the next check may be served by a request that is sent for another reason
    * ``end``: a future with the end of the wait

    :param wait: the rules of the wait
    :param schedule_check: called with this subscriber each time a check is planned
    """

    __slots__ = ("_context", "_schedule_check", "_wait", "due", "earliest", "end", "is_last", "pause")

    def __init__(self, wait: BatchWait, schedule_check: Callable[[Subscriber], None]) -> None:
        self.end: asyncio.Future[Batch | TimedOut] = asyncio.get_running_loop().create_future()
        self.due = self.earliest = NEVER
        self.pause = 0.0
        self.is_last = False
        self._wait = wait
        self._schedule_check = schedule_check
        # on_result is called in the poller's context; the wait has to log in its own.
        self._context = contextvars.copy_context()

    def plan_check(self) -> None:
        """Plan the next check by the rules of the wait."""
        seconds = self._wait.pause_seconds()
        self.pause = max(seconds, self._wait.poke_interval)
        seconds_left = self._wait.seconds_left()
        self.is_last = seconds_left <= seconds
        self.due = time.monotonic() + (seconds_left if self.is_last else seconds)
        self.earliest = self.due if self.is_last else self.due - EARLY_RATIO * self.pause
        self._schedule_check(self)

    def on_result(self, result: Batch | Exception) -> None:
        """Apply the rules of the wait to the result of a check: end the wait, or plan the next check.

        :param result: the batch, or the error of the request
        """
        self.due = self.earliest = NEVER
        if self.end.done():  # the wait has been cancelled
            return
        try:
            if end := self._context.run(self._evaluate, result):
                self.end.set_result(end)
            else:
                self.plan_check()
        except Exception as error:  # noqa: BLE001 (an error of one wait must not end other waits, or the poller)
            self.end.set_exception(error)

    def _evaluate(self, result: Batch | Exception) -> Batch | TimedOut | None:
        """Return the end of the wait, or None if it continues."""
        if isinstance(result, RespanError):
            self._wait.on_error(result)
        elif isinstance(result, Exception):
            raise result
        elif self._wait.on_batch(result):
            return result
        if self.is_last and self._wait.seconds_left() <= 0:
            return self._wait.timed_out()
        return None
