"""How long something that is missing does not end a wait. No I/O."""

from __future__ import annotations

import time


class GracePeriod:
    """The time in which the batch, or the Airflow connection, may be missing.

    :param seconds: how long the period is
    :param missing_since: when it started in the process that waited before (Unix seconds), or None
    """

    def __init__(self, seconds: float, *, missing_since: float | None = None) -> None:
        self._seconds = seconds
        self._started_at = missing_since

    @property
    def is_running(self) -> bool:
        """Whether a check has found something missing, and no later check has found it."""
        return self._started_at is not None

    def start(self) -> None:
        """Start the period, if it is not running."""
        now = time.time()
        # Not later than now: the clock of the machine may have been set back since.
        self._started_at = now if self._started_at is None else min(self._started_at, now)

    def end(self) -> None:
        """End the period, because what was missing was found."""
        self._started_at = None

    def seconds_left(self) -> float:
        """Return the seconds that are left; 0 if the period is over, and all of them if it is not running."""
        elapsed = 0.0 if self._started_at is None else time.time() - self._started_at
        # Rounded, because a timer may end a microsecond early, and that would take one more check.
        return max(0.0, round(self._seconds - elapsed, 3))
