"""A priority queue of planned checks, ordered by the time when they are due.

No I/O, and no clock: the caller passes the time, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from airflow_respan.polling.subscriber import NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch


class DueQueue:
    """Planned checks, ordered by due time.

    An entry becomes invalid if its check is made early, or if its subscriber leaves. Invalid entries stay in the heap
    until they come first; then they are dropped.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Subscriber, WatchedBatch]] = []
        self._tie_breakers = itertools.count()

    def add(self, watched: WatchedBatch, subscriber: Subscriber) -> bool:
        """Add the check that a subscriber has planned.

        :param watched: the batch to check
        :param subscriber: its ``due`` is the time of the check
        :return: whether this check is now the first in the queue
        """
        heapq.heappush(self._entries, (subscriber.due, next(self._tie_breakers), subscriber, watched))
        return self._entries[0][2] is subscriber

    def next_due(self) -> float:
        """Return the time when the first check is due, or :data:`NEVER` if no check is planned."""
        while self._entries:
            due, _tie_breaker, subscriber, watched = self._entries[0]
            if subscriber.due == due and subscriber in watched.subscribers:
                return due
            heapq.heappop(self._entries)
        return NEVER

    def pop_due(self, now: float) -> Iterator[WatchedBatch]:
        """Remove the checks that are due, and yield the batches to check.

        :param now: seconds of ``time.monotonic``
        """
        while self.next_due() <= now:
            yield heapq.heappop(self._entries)[3]
