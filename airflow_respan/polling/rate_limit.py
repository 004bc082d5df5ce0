"""How many requests may go out, and when; Respan's documented limit is one for a whole organisation.

No I/O, no clock: each moment is told, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 61.0
"""Seconds; a minute, and one for a network that delivers faster what was sent later."""

USED_RATIO = 0.9
"""How much of the budget is used (ratio 0-1): workers make calls, too."""

BURST_RATIO = 0.3
"""How much of that may go out at once (ratio 0-1); the rest goes evenly, lest an end wait a minute for its turn."""


class RateLimit:
    """The requests of the last minute, and how long the service wants to be left alone."""

    def __init__(self) -> None:
        self._sent: deque[float] = deque()
        self._held_until = float("-inf")

    def seconds_until_free(self, per_minute: int, now: float) -> float:
        """Say how long the next request has to wait.

        :param per_minute: the budget; 0 for none
        """
        if not per_minute:
            return 0.0
        most = _usable(per_minute)
        while self._sent and self._sent[0] <= now - WINDOW_SECONDS:
            self._sent.popleft()
        if len(self._sent) >= most:
            return self._sent[-most] + WINDOW_SECONDS - now
        if len(self._sent) >= most * BURST_RATIO:
            return max(0.0, self._sent[-1] + WINDOW_SECONDS / most - now)
        return 0.0

    def is_limiting(self, per_minute: int, now: float) -> bool:
        """Say whether it is the budget, and nothing else, that keeps requests waiting."""
        was_held = now < self._held_until + 5 * WINDOW_SECONDS
        return bool(per_minute) and not was_held and len(self._sent) >= _usable(per_minute) * BURST_RATIO

    def record_request(self, now: float) -> None:
        """Count a request that goes out."""
        self._sent.append(now)

    def pause_until(self, until: float) -> None:
        """Let nothing go out until then, as the service has asked, but what cannot wait."""
        self._held_until = max(self._held_until, until)

    def seconds_paused(self, now: float) -> float:
        """Say how long the service still wants to be left alone."""
        return max(0.0, self._held_until - now)


def _usable(per_minute: int) -> int:
    return max(1, int(per_minute * USED_RATIO))
