"""How many requests may be sent, and when. Respan's documented limit is one for a whole organisation.

No I/O, and no clock: the caller passes the time, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

WINDOW_SECONDS = 61.0
"""A minute, and one second because requests may arrive closer together than they were sent."""

USED_RATIO = 0.9
"""How much of the limit the poller uses (ratio 0-1); the rest is for the calls of workers."""

BURST_RATIO = 0.3
"""How much of that may be sent at once (ratio 0-1). The rest is spread evenly.

Otherwise all requests of a minute could be sent at once, and a check that is due then would wait for a minute.
"""

MAX_SHARED_PAUSE_SECONDS = 60.0
"""How long one refused request may pause all others: Respan's limit counts the requests of a minute."""


class RateLimit:
    """The requests of the last minute, and the pause that the service has asked for.

    A pause is for all requests of the connection, because Respan's limit is one for a whole organisation. But the
    refusal may also concern one batch only, such as a limit of its provider. Two rules keep such a batch from stopping
    all other waits:

    * A pause ends after :data:`MAX_SHARED_PAUSE_SECONDS`, and then one request is sent as a test.
    * A batch that is refused again, although others were answered meanwhile, pauses nobody.

    The wait for the refused batch itself always pauses as long as the service has asked for.
    """

    def __init__(self) -> None:
        self.is_tested = True
        """Whether a request was answered since the last pause; until then, only one is sent at a time."""
        self._sent_at: deque[float] = deque()
        self._paused_until = float("-inf")
        self._refused: set[Hashable] = set()

    def seconds_until_free(self, per_minute: int, now: float) -> float:
        """Return how many seconds the next request has to wait for the limit; 0 if it can be sent.

        :param per_minute: the limit in requests a minute; 0 if there is none
        """
        if not per_minute:
            self._sent_at.clear()  # nothing needs them
            return 0.0
        usable = _usable(per_minute)
        self._forget_before(now - WINDOW_SECONDS)
        if len(self._sent_at) >= usable:
            return self._sent_at[-usable] + WINDOW_SECONDS - now
        if len(self._sent_at) >= usable * BURST_RATIO:
            return max(0.0, self._sent_at[-1] + WINDOW_SECONDS / usable - now)
        return 0.0

    def is_limiting(self, per_minute: int, now: float) -> bool:
        """Return whether the limit alone delays requests, and no pause that the service asked for.

        :param per_minute: the limit in requests a minute; 0 if there is none
        """
        was_paused = now < self._paused_until + 5 * WINDOW_SECONDS
        return bool(per_minute) and not was_paused and len(self._sent_at) >= _usable(per_minute) * BURST_RATIO

    def record_request(self, now: float) -> None:
        """Record that a request is sent."""
        self._forget_before(now - WINDOW_SECONDS)
        self._sent_at.append(now)

    def record_refusal(self, key: Hashable, retry_after: float, now: float) -> None:
        """Record that the service refused a request and asked for a pause.

        :param key: what the request was for, such as a batch
        :param retry_after: seconds that the service asked for
        """
        concerns_all = key not in self._refused or not self.is_tested
        self._refused.add(key)
        if concerns_all:
            self.pause_until(now + min(retry_after, MAX_SHARED_PAUSE_SECONDS))

    def record_answer(self, key: Hashable, now: float) -> None:
        """Record that the service answered a request, and did not ask for a pause."""
        self._refused.discard(key)
        self.is_tested = self.is_tested or not self.seconds_paused(now)

    def forget(self, key: Hashable) -> None:
        """Remove what is known of a batch that nobody waits for any more."""
        self._refused.discard(key)

    def pause_until(self, until: float) -> None:
        """Pause all requests.

        :param until: the end of the pause; a longer pause from before stays
        """
        self._paused_until = max(self._paused_until, until)
        self.is_tested = False

    def end_pause(self) -> None:
        """End the pause, because the connection now has another host or key."""
        self._paused_until = float("-inf")
        self.is_tested = True

    def seconds_paused(self, now: float) -> float:
        """Return how many seconds of the pause are left; 0 if there is no pause."""
        return max(0.0, self._paused_until - now)

    def _forget_before(self, earliest: float) -> None:
        while self._sent_at and self._sent_at[0] <= earliest:
            self._sent_at.popleft()


def _usable(per_minute: int) -> int:
    return max(1, int(per_minute * USED_RATIO))
