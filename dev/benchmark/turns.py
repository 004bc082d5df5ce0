"""How long the turns of an event loop take: while one goes on, all others wait.

The loop itself tells, by its selector, which it asks between two turns. That wakes nobody, and costs next to nothing:
a coroutine that sleeps and notes when it wakes would take as much of the processor as what is measured.
"""

from __future__ import annotations

import selectors
import time
from typing import NamedTuple


class Turn(NamedTuple):
    """One turn of a loop.

    :param ended: when (seconds of ``time.monotonic``)
    :param wall: how long it took (seconds); on a busy machine, others' work is part of it
    :param cpu: the processor time that the loop's thread used (seconds)
    """

    ended: float
    wall: float
    cpu: float


class Turns(selectors.DefaultSelector):
    """The selector of the loop that is watched."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: list[Turn] = []
        self._began: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for what the loop waits for: a turn is over, and the next begins afterwards."""
        if self._began:
            at, used = self._began
            now = time.monotonic()
            self._turns.append(Turn(now, now - at, time.thread_time() - used))
            self._began = None
        ready = super().select(timeout)
        self._began = time.monotonic(), time.thread_time()
        return ready

    def between(self, start: float, end: float) -> list[Turn]:
        """Give the turns that ended within a time, and the one that goes on still.

        :param start: seconds of ``time.monotonic``
        :param end: the same; now, or earlier
        """
        running = self._began
        turns = [turn for turn in self._turns if start <= turn.ended <= end]
        if running and running[0] < end:
            turns.append(Turn(end, end - running[0], end - running[0]))
        return turns


def longest_wait(turns: list[float], share: float, *, seconds: float) -> float:
    """Give the seconds within which a loop was free again, at so large a share of all moments.

    :param turns: how long each took
    :param share: ratio 0-1
    :param seconds: the time in which they took place
    """
    beyond, found = 0.0, 0.0
    for number, turn in enumerate(sorted(turns, reverse=True), 1):
        # At a turn's last x seconds it is free within x: what is before those, of this turn and of longer ones, is not.
        beyond += turn
        found = max(found, (beyond - (1 - share) * seconds) / number)
    return found
