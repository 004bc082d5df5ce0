"""One wait at a poller: plans a look, takes in what it has brought, plans the next. No I/O."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_respan.batch import Batch
from airflow_respan.exceptions import RespanBatchTimeout, RespanError
from airflow_respan.wait import BatchWait

EARLY = 0.25
"""The share of its pause (ratio 0-1) that a look may be early, where a request that serves it is made anyway."""


@dataclass(slots=True, eq=False)
class Look:
    """One wait's wish to look at a batch.

    :param due: when (seconds of ``time.monotonic``)
    :param pause: for how long the wait has not looked then (seconds)
    :param is_last: whether the wait's time is over then: nothing but a retrieve will do, and no sooner
    :param take: is given the batch, or the error that stood in the way
    """

    due: float
    pause: float
    is_last: bool
    take: Callable[[Batch | Exception], None]
    may_be_served_from: float = field(init=False)
    """The moment from which on a request that others have caused serves it, too."""

    def __post_init__(self) -> None:
        self.may_be_served_from = self.due if self.is_last else self.due - EARLY * self.pause


class Watch:
    """Looks for a wait, again and again, until it is over.

    The wait takes in what was seen at once: to wake a coroutine for each look would cost several times as much, and
    most looks bring no news.

    :param wait: says when to look, and what a look means
    :param put_down: is given each look that is to come
    """

    def __init__(self, wait: BatchWait, put_down: Callable[[Look], None]) -> None:
        self.over: asyncio.Future[Batch | RespanBatchTimeout] = asyncio.get_running_loop().create_future()
        self.look: Look | None = None
        self._wait = wait
        self._put_down = put_down
        # Whoever brings what was seen has another log.
        self._context = contextvars.copy_context()

    def look_again(self) -> None:
        """Plan the next look."""
        pause = self._wait.pause()
        is_last = self._wait.seconds_left() <= pause
        self.look = Look(time.monotonic() + pause, pause, is_last, self._take)
        self._put_down(self.look)

    def _take(self, seen: Batch | Exception) -> None:
        if self.over.done():  # the wait has been cancelled
            return
        try:
            if end := self._context.run(self._end, seen):
                self.over.set_result(end)
            else:
                self.look_again()
        except Exception as error:  # noqa: BLE001 (one wait's error is not the others', nor the poller's)
            self.over.set_exception(error)

    def _end(self, seen: Batch | Exception) -> Batch | RespanBatchTimeout | None:
        if isinstance(seen, RespanError):
            self._wait.missed(seen)
        elif isinstance(seen, Exception):
            raise seen
        elif self._wait.saw(seen):
            return seen
        return RespanBatchTimeout(self._wait.timeout_message()) if self._wait.seconds_left() <= 0 else None
