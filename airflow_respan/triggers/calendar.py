"""Looks in the order in which they are due. No I/O, no clock: the moment is told."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from airflow_respan.triggers.target import Target
from airflow_respan.triggers.watch import Look

NEVER = float("inf")


class Calendar:
    """The looks that are to come; those that were served early, or that nobody wants any more, are passed over."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Look, Target]] = []
        self._numbers = itertools.count()

    def add(self, target: Target, look: Look) -> bool:
        """Put a look down.

        :return: whether it comes before all others
        """
        heapq.heappush(self._entries, (look.due, next(self._numbers), look, target))
        return self._entries[0][2] is look

    def next_due(self) -> float:
        """Give the moment at which the next look is due."""
        while self._entries and self._entries[0][2] not in self._entries[0][3].looks:
            heapq.heappop(self._entries)
        return self._entries[0][0] if self._entries else NEVER

    def take_due(self, now: float) -> Iterator[Target]:
        """Take out the looks that are due, and give their targets."""
        while self.next_due() <= now:
            yield heapq.heappop(self._entries)[3]
