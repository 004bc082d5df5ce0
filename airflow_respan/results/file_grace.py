"""The time after the end of a batch in which its files may still be missing at the service."""

from __future__ import annotations

import logging
import time

from airflow_respan.waiting.grace import GracePeriod

log = logging.getLogger(__name__)

_LEAST_RATIO = 1 / 6
"""The part of the grace that always follows the first try, because the clocks of worker and service may differ."""

_FIRST_PAUSE_RATIO = 1 / 120
_MAX_PAUSE_RATIO = 1 / 4
"""Pauses as parts of the grace. If this is a minute: half a second at first, and 15 seconds at most."""


class FileGrace:
    """Pauses between tries, until the grace is over.

    :param seconds: the length of the grace, from the end of the batch
    :param ended_at: when the batch ended (Unix seconds); None if it is not known, then the first try counts
    """

    def __init__(self, seconds: float, *, ended_at: float | None) -> None:
        self._periods = (GracePeriod(seconds, missing_since=ended_at), GracePeriod(seconds * _LEAST_RATIO))
        self._pause_seconds = seconds * _FIRST_PAUSE_RATIO
        self._max_pause_seconds = seconds * _MAX_PAUSE_RATIO

    def pause(self, reason: object) -> bool:
        """Pause before the next try, and return True; return False at once if the grace is over.

        :param reason: what is missing, for the log
        """
        for period in self._periods:
            period.start()
        seconds_left = max(period.seconds_left() for period in self._periods)
        if not seconds_left:
            return False
        log.info(
            "%s. The files of a batch may come a little after its end, so this is tried again for %.0f seconds.",
            str(reason).rstrip("."),
            seconds_left,
        )
        time.sleep(min(self._pause_seconds, seconds_left))
        self._pause_seconds = min(2 * self._pause_seconds, self._max_pause_seconds)
        return True
