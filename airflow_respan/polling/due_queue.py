"""Looks in the order in which they are due. No I/O, no clock: the moment is told."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from airflow_respan.polling.subscriber import NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch


class DueQueue:
    """The looks that are to come; those that were served early, or that nobody wants any more, are passed over."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Subscriber, WatchedBatch]] = []
        self._numbers = itertools.count()

    def add(self, target: WatchedBatch, watch: Subscriber) -> bool:
        """Put the look that a watch has planned down.

        :return: whether it comes before all others
        """
        heapq.heappush(self._entries, (watch.due, next(self._numbers), watch, target))
        return self._entries[0][2] is watch

    def next_due(self) -> float:
        """Give the moment at which the next look is due."""
        while self._entries:
            due, _number, watch, target = self._entries[0]
            if watch.due == due and watch in target.subscribers:
                return due
            heapq.heappop(self._entries)
        return NEVER

    def pop_due(self, now: float) -> Iterator[WatchedBatch]:
        """Take out the looks that are due, and give their targets."""
        while self.next_due() <= now:
            yield heapq.heappop(self._entries)[3]
