"""How many requests may be under way at the same time, so that requests without a response delay no others.

No I/O, and no clock: the caller passes the time, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from airflow_respan.polling.watched_batch import WatchedBatch

MAX_CONCURRENT_REQUESTS = 8
"""How many requests may be under way at the same time, and so how many connections to the service are open ..."""

SLOW_SECONDS = 0.5
"""... but a request that has been under way for so long leaves its place to another one ..."""

MAX_OPEN_REQUESTS = 100
"""... as long as no more than these are under way: the maximum of an aiohttp session."""


class RequestSlots:
    """The requests that are under way, and the batches that must wait because their last retrieve got no response.

    Without this, eight batches whose retrieves get no response would delay the checks of all others by the timeout:

    * A request that was sent :data:`SLOW_SECONDS` ago does not count among the :data:`MAX_CONCURRENT_REQUESTS`.
    * A batch whose last retrieve was slow and got no response is put into a queue by :meth:`postpone`. As many as
      :data:`MAX_CONCURRENT_REQUESTS` from this queue are retrieved at the same time, beside the other requests. If
      both are due, they alternate.
    """

    def __init__(self) -> None:
        self._sent_at: dict[Hashable, float] = {}
        self._slow_requests: set[Hashable] = set()
        self._postponed: deque[WatchedBatch] = deque()
        self._previous_was_postponed = False

    def record_start(self, request: Hashable, now: float, *, is_slow: bool = False) -> None:
        """Record that a request is sent, or sent again.

        :param request: any value that identifies it
        :param is_slow: whether it is for a batch from :meth:`pop_postponed`
        """
        self._sent_at[request] = now
        if is_slow:
            self._slow_requests.add(request)

    def record_end(self, request: Hashable) -> None:
        """Record that a request has ended; one that is not known is ignored."""
        self._sent_at.pop(request, None)
        self._slow_requests.discard(request)

    def is_slow(self, request: Hashable, now: float) -> bool:
        """Return whether a request is under way that was sent :data:`SLOW_SECONDS` ago, or before."""
        return now - self._sent_at.get(request, now) >= SLOW_SECONDS

    def seconds_until_free(self, now: float, *, at_most: int = MAX_CONCURRENT_REQUESTS) -> float:
        """Return how many seconds the next request has to wait; 0 if it can be sent, infinity if one must end first.

        :param at_most: how many requests may be under way, without those that are slow
        """
        if len(self._sent_at) >= MAX_OPEN_REQUESTS:
            return float("inf")
        counted = [
            sent_at
            for request, sent_at in self._sent_at.items()
            if now - sent_at < SLOW_SECONDS and request not in self._slow_requests
        ]
        return 0.0 if len(counted) < at_most else min(counted) + SLOW_SECONDS - now

    def postpone(self, watched: WatchedBatch) -> None:
        """Queue a batch whose last retrieve got no response."""
        self._postponed.append(watched)

    def pop_postponed(self, *, is_idle: bool) -> WatchedBatch | None:
        """Return the next postponed batch to retrieve, or None if there is none, or another request comes first.

        :param is_idle: whether no other request is due
        """
        self._previous_was_postponed = (
            bool(self._postponed)
            and len(self._slow_requests) < MAX_CONCURRENT_REQUESTS
            and (is_idle or not self._previous_was_postponed)
        )
        return self._postponed.popleft() if self._previous_was_postponed else None
