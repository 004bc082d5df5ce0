"""Measures how long the iterations of an event loop take: during one iteration, all other work of the loop waits.

The selector of the loop measures this, because the loop calls it between two iterations. It costs almost nothing. A
coroutine that sleeps and records when it resumes would take as much processor time as what is measured.
"""

from __future__ import annotations

import selectors
import time
from typing import NamedTuple


class Iteration(NamedTuple):
    """One iteration of a loop.

    :param ended_at: when it ended (seconds of ``time.monotonic``)
    :param seconds: how long it took; on a busy machine, this includes the work of other programs
    :param cpu_seconds: the processor time that the loop's thread used
    """

    ended_at: float
    seconds: float
    cpu_seconds: float


class MeasuringSelector(selectors.DefaultSelector):
    """The selector of the loop that is measured."""

    def __init__(self) -> None:
        super().__init__()
        self._iterations: list[Iteration] = []
        self._start: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events of the loop: before this an iteration ends, and after it the next one begins."""
        if self._start:
            started_at, cpu_before = self._start
            now = time.monotonic()
            self._iterations.append(Iteration(now, now - started_at, time.thread_time() - cpu_before))
            self._start = None
        ready = super().select(timeout)
        self._start = time.monotonic(), time.thread_time()
        return ready

    def between(self, start: float, end: float) -> list[Iteration]:
        """Return the iterations that ended within a time, and the one that is still running.

        :param start: seconds of ``time.monotonic``
        :param end: the same; not in the future
        """
        running = self._start
        iterations = [iteration for iteration in self._iterations if start <= iteration.ended_at <= end]
        if running and running[0] < end:
            iterations.append(Iteration(end, end - running[0], end - running[0]))
        return iterations


def stall_percentile(iteration_seconds: list[float], ratio: float, *, seconds: float) -> float:
    """Return the seconds within which the loop is free again, for this ratio of all moments.

    :param iteration_seconds: how long each iteration took
    :param ratio: ratio 0-1
    :param seconds: the length of the time in which the iterations took place
    """
    sum_of_longest, found = 0.0, 0.0
    for number, length in enumerate(sorted(iteration_seconds, reverse=True), 1):
        # In the last x seconds of an iteration the loop is free within x. In the part before them it is not. For the
        # longest iterations, these parts may take (1 - ratio) of the time.
        sum_of_longest += length
        found = max(found, (sum_of_longest - (1 - ratio) * seconds) / number)
    return found
