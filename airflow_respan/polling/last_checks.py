"""The last checks of waits whose deadline has passed: which is sent next, and when the list may serve the others.

A last check is a retrieve. If many deadlines pass at the same time, the rate limit delays these retrieves by minutes.
Then one scan of the list serves them: a batch that it shows as ended is retrieved, and the wait for a batch that it
shows as running times out. Two rules make that safe although the list may be late, or out of date for weeks:

* The page is requested at least :data:`LATE_SECONDS` after the deadline. A list that shows an end as late as
  :class:`~airflow_respan.polling.list_health.ListHealth` allows would show an end that came before the deadline.
* Before the scan, some batches are retrieved. If the list shows one of them as running that has ended, no wait ends by
  this scan.

No I/O, and no clock: the caller passes the time, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from airflow_respan.polling.list_health import MAX_LAG_SECONDS
from airflow_respan.polling.list_scan import NOT_LISTED
from airflow_respan.polling.watched_batch import WatchedBatch

LATE_SECONDS = MAX_LAG_SECONDS + 15.0
"""So long after the deadline the list may serve a last check."""

SAMPLE_SIZE = 10
"""How many batches are retrieved before the list may serve the last checks of the others."""


class LastChecks:
    """A queue of batches with a last check that is due.

    The list may serve them in these steps: :meth:`start_sample` chooses some batches, :meth:`pop` returns them first,
    :meth:`record_response` is called for each, then :attr:`is_sample_complete` is true. The schedule scans the list,
    and calls :meth:`end_sample`.
    """

    def __init__(self) -> None:
        self._queue: deque[WatchedBatch] = deque()
        self._sample: deque[WatchedBatch] = deque()
        self._sent_sample: set[WatchedBatch] = set()
        self._has_sample = False
        self._next_sample_at = float("-inf")
        self.sampled_provider_id: str | None = None
        """The provider of the sample, and so of the list that may be scanned."""

    def extend(self, batches: Iterable[WatchedBatch]) -> None:
        """Add batches, in the order in which their last checks are due."""
        self._queue.extend(batches)

    def pop(self, now: float) -> WatchedBatch | None:
        """Remove and return the next batch to retrieve, or None if no last check is due any more."""
        for queue in (self._sample, self._queue):
            while queue:
                watched = queue.popleft()
                if watched.has_last_check(due_by=now):
                    if queue is self._sample:
                        self._sent_sample.add(watched)
                    return watched
        return None

    def start_sample(self, now: float) -> None:
        """Choose a sample, if there are so many late checks that a scan of the list takes fewer requests."""
        is_late = self._queue and self._queue[0].has_last_check(due_by=now - LATE_SECONDS)
        if not is_late or self._has_sample or now < self._next_sample_at:
            return
        self.sampled_provider_id = self._queue[0].provider_id
        late = [
            watched
            for watched in self._queue
            if watched.provider_id == self.sampled_provider_id
            and watched.expected_page < NOT_LISTED
            and watched.has_last_check(due_by=now - LATE_SECONDS)
        ]
        if len(late) > 2 * SAMPLE_SIZE:
            self._has_sample = True
            # From the whole queue, because neighbours in it are often neighbours in the list, too.
            self._sample.extend(late[:: -(-len(late) // SAMPLE_SIZE)])
            chosen = set(self._sample)
            self._queue = deque(watched for watched in self._queue if watched not in chosen)

    def record_response(self, watched: WatchedBatch, now: float, *, is_batch: bool) -> None:
        """Record the response to the retrieve of a batch.

        :param is_batch: whether it is the batch; an error says nothing about the list, so another sample is needed
        """
        if watched in self._sent_sample:
            self._sent_sample.discard(watched)
            if not is_batch:
                self.end_sample(now + MAX_LAG_SECONDS)

    @property
    def is_sample_complete(self) -> bool:
        """Whether each batch of the sample was retrieved, so that the list can be scanned."""
        return self._has_sample and not self._sample and not self._sent_sample

    def end_sample(self, next_sample_at: float) -> None:
        """Forget the sample, because the list was scanned, or cannot be scanned.

        :param next_sample_at: from when on another sample may be chosen
        """
        self._has_sample = False
        self._next_sample_at = next_sample_at
