"""How long the pause between two checks is. No I/O."""

from __future__ import annotations

import math
import random

JITTER_RATIO = 0.1
"""How much is added to a pause at random, at most, as a part of the pause (ratio 0-1)."""

BACKOFF_EARLY_RATIO = 0.125
"""A check that is early by up to this part of its age (ratio 0-1) counts as the planned one.

The poller makes a check up to a quarter of its pause early, and with backoff a pause is half the age at its end.
"""

_MIN_BACKOFF_SECONDS = 0.001


def jittered_pause_seconds(
    poke_interval: float, *, age_seconds: float | None, max_wait: float | None, retry_after: float
) -> float:
    """Return the seconds from a check to the next one.

    Up to a tenth is added at random, so that waits which began together do not check together.

    :param poke_interval: the shortest pause (seconds)
    :param age_seconds: the age of the wait if each pause doubles it, or None if all pauses are the same
    :param max_wait: the longest pause that the doubling gives (seconds), with the random part, or None
    :param retry_after: the seconds that the service has asked to wait, or 0; ``max_wait`` does not limit them
    """
    factor = 1 + JITTER_RATIO * random.random()  # noqa: S311 (spreads load, keeps no secret)
    seconds = poke_interval
    if age_seconds is not None:
        seconds = max(seconds, _next_backoff_age(age_seconds, poke_interval) - age_seconds)
        if max_wait is not None:
            seconds = min(seconds, max_wait / (1 + JITTER_RATIO))
    return max(seconds, retry_after) * factor


def _next_backoff_age(age_seconds: float, poke_interval: float) -> float:
    """Return the age at which a wait with backoff has its next check: ``poke_interval`` times a power of two.

    It depends on the age only. So a process that continues a wait makes its checks when the process before would have
    made them, and not at twice the age at which it began.
    """
    interval = max(poke_interval, _MIN_BACKOFF_SECONDS)
    ratio = max(age_seconds, 0.0) / (interval * (1 - BACKOFF_EARLY_RATIO))
    return interval if ratio < 1 else interval * 2.0 ** (math.floor(math.log2(ratio)) + 1)
