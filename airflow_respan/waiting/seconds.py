"""What counts as a duration of a wait. It imports nothing heavy, because DAG files that are parsed need it."""

from __future__ import annotations

from datetime import timedelta

MAX_SECONDS = 100 * 365 * 24 * 3600.0
"""The largest number of seconds that a wait accepts: a century."""


def parse_seconds(name: str, duration: timedelta | float) -> float:
    """Return a duration in seconds.

    :param name: the argument that has the duration, for the error
    :param duration: a timedelta, or a number of seconds
    :raises ValueError: if it is neither, or negative, or more than a century
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"{name} is {duration!r}; it must be a number of seconds from 0 to {MAX_SECONDS:.0f}")
    return seconds
