"""Which request is sent next, for all waits of a poller.

The order:

1. The last check of a wait, at its deadline; if there are too many of them, pages of the list that can serve them.
2. A retrieve that confirms an end, because a batch that the list shows as ended counts only when it is retrieved.
3. All other due checks: by pages of the list if these take fewer requests, otherwise by single retrieves. Pages and
   retrieves alternate.

No I/O, and no clock: the caller passes the time, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.polling.due_queue import DueQueue
from airflow_respan.polling.last_checks import LATE_SECONDS, LastChecks
from airflow_respan.polling.list_health import MAX_LAG_SECONDS, BatchKey, ListHealth
from airflow_respan.polling.list_scan import NOT_LISTED, ListScan, pages_worth_reading
from airflow_respan.polling.subscriber import Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch

MAX_CONFIRMATIONS_IN_A_ROW = 3
"""After so many retrieves that confirm an end, another request is sent first, if one is due."""

RETRIEVES_PER_ROUND = 10
"""How many batches that need a retrieve are retrieved in a round that reads the list ..."""

PAGES_PER_RETRIEVE = 4
"""... or one for so many pages that the round reads, if that is more."""

RETRIEVES_PER_EMPTY_PAGE = 10
"""Batches that were not found in the list are looked for there again after so many retrieves of such batches for each
page that was read for them without a find. So the search takes a tenth of their requests."""


class Schedule:
    """All planned checks of a poller, and the requests that are chosen for those that are due.

    A check goes through these steps:

    1. :meth:`add_check` puts it into a queue of planned checks, by its due time.
    2. When it is due, its batch is added to the next round, unless the batch is ``in_flight``: then the request that
       is planned or sent already serves this check, too. The last check of a wait does not wait for a round: its
       batch is added to a queue that comes first.
    3. A round starts when batches are due and no list scan is running. It divides the batches between one list scan
       and a queue of retrieves. From then on each is ``in_flight``.
    4. :meth:`choose` returns the next request. Its result comes back by one of four methods: :meth:`record_page`,
       :meth:`record_list_failure`, :meth:`record_retrieve` or :meth:`record_retrieve_failure`. They serve the checks
       of the batches. The subscribers then plan their next checks, or have ended.

    :class:`~airflow_respan.polling.watched_batch.WatchedBatch` has the states of one batch, and
    :class:`~airflow_respan.polling.list_scan.ListScan` those of a scan.
    """

    def __init__(self) -> None:
        self.watched_batches: dict[BatchKey, WatchedBatch] = {}
        self.list_health = ListHealth()
        self.is_overdue = False
        """Whether the check that was chosen last had been due for longer than its pause."""
        # Step 1: planned.
        self._planned_checks = DueQueue()
        self._planned_last_checks = DueQueue()
        # Step 2: due.
        self._next_round: dict[WatchedBatch, None] = {}
        self._last_checks = LastChecks()
        # Step 3: a request is planned.
        self._scan: ListScan | None = None
        self._retrieves: deque[WatchedBatch] = deque()
        self._confirmations: deque[WatchedBatch] = deque()
        # For the choice of step 4, and for planning.
        self._seconds_per_page = 0.0
        self._confirmations_in_a_row = 0
        self._previous_was_page = False
        self._retrieves_before_search: dict[str | None, int] = {}
        """How many retrieves of batches that are not listed come before the list is searched again, by provider."""

    def watch(self, batch_id: str, provider_id: str | None, respan_params: Mapping[str, Any] | None) -> WatchedBatch:
        """Return the watched batch that all subscribers of a batch share; add it for the first."""
        return self.watched_batches.setdefault(
            (batch_id, provider_id), WatchedBatch(batch_id, provider_id, respan_params)
        )

    def unwatch(self, watched: WatchedBatch) -> None:
        """Remove a batch that has no subscriber any more."""
        del self.watched_batches[watched.batch_id, watched.provider_id]

    def add_check(self, watched: WatchedBatch, subscriber: Subscriber) -> bool:
        """Add the check that a subscriber has planned.

        :return: whether it is now the first in its queue, so that :meth:`next_due` may have changed
        """
        queue = self._planned_last_checks if subscriber.is_last else self._planned_checks
        return queue.add(watched, subscriber)

    def next_due(self) -> float:
        """Return when :meth:`choose` may next have another result, or infinity if no check is planned.

        During a list scan only a last check counts: all other checks that become due are for the next round.
        """
        last_check_due = self._planned_last_checks.next_due()
        return last_check_due if self._scan else min(last_check_due, self._planned_checks.next_due())

    def choose(self, now: float, *, is_paused: bool) -> WatchedBatch | ListScan | None:
        """Return the next request: a batch to retrieve, a scan to read the next page of, or None for no request.

        :param now: seconds of ``time.monotonic``
        :param is_paused: whether the service has asked for a pause; then only last checks are sent
        """
        self._collect_due(now)
        if not is_paused and (late_scan := self._late_scan(now)):
            return self._next_page_of(late_scan, now)
        if watched := self._last_checks.pop(now):  # even in a pause, because the wait ends now
            return watched
        if is_paused:
            return None
        if self._next_round and not self._scan:
            self._start_round(now)
        scan = self._scan if self._scan and not self._scan.request_in_flight else None
        may_confirm = self._confirmations_in_a_row < MAX_CONFIRMATIONS_IN_A_ROW or not (scan or self._retrieves)
        if may_confirm and (watched := self._pop(self._confirmations, now)):
            self._confirmations_in_a_row += 1
            return watched
        self._confirmations_in_a_row = 0
        # Alternate, so that a long list does not delay the retrieves, and many retrieves do not delay the list.
        if scan and not (self._previous_was_page and self._retrieves):
            self._previous_was_page = True
            return self._next_page_of(scan, now)
        self._previous_was_page = False
        watched = self._pop(self._retrieves, now)
        self.is_overdue = watched is not None and watched.is_overdue(now)
        return watched

    def record_page(self, scan: ListScan, page: BatchPage, now: float) -> None:
        """Serve checks from a page of the list, and queue the batches that it shows as ended for confirmation."""
        if scan is not self._scan:
            return
        listed = []
        for item in page.items:
            key = item.id, scan.provider_id
            watched = self.watched_batches.get(key)
            if watched is None:
                scan.is_outdated |= self.list_health.record_item(key, item, now)
            elif batch := watched.merge_item(item):
                listed.append((watched, batch))
        continues = scan.record_page([watched.batch_id for watched, _batch in listed], page.next_after)
        for watched, batch in listed:
            if batch.is_terminal:
                self._confirm(watched)
            else:
                watched.on_listed(batch, now)
                due_by = scan.requested_at - LATE_SECONDS
                if scan.serves_last_checks and watched.has_last_check(due_by=due_by):
                    scan.shown_with_last_check[watched] = due_by
        if not continues or not self.list_health.usable(now):
            self._serve_last_checks(scan, now)
            self._finish_scan(scan, now)

    def record_list_failure(self, scan: ListScan, error: Exception, now: float) -> None:
        """End a scan whose page could not be read."""
        if scan is not self._scan:
            return
        self.list_health.record_failure(error, now)
        scan.is_outdated = True
        self._serve_last_checks(scan, now)
        self._finish_scan(scan, now)

    def record_retrieve(self, watched: WatchedBatch, batch: Batch, now: float) -> None:
        """Serve checks from a retrieved batch."""
        self.list_health.record_retrieve_success()
        if batch.is_terminal and not watched.confirming_end:
            self.list_health.record_missed_end((watched.batch_id, watched.provider_id), now)
        self._record_response(watched, now, is_batch=True)
        watched.on_retrieved(batch, now)

    def record_retrieve_failure(self, watched: WatchedBatch, error: Exception, now: float) -> None:
        """Pass the error of a retrieve to the subscribers whose checks it was for."""
        if isinstance(error, RespanTransientError):
            self.list_health.record_retrieve_failure()
        self._record_response(watched, now, is_batch=False)
        watched.notify(error, until=now)

    def _record_response(self, watched: WatchedBatch, now: float, *, is_batch: bool) -> None:
        watched.in_flight = watched.confirming_end = False
        self._last_checks.record_response(watched, now, is_batch=is_batch)
        if watched.expected_page >= NOT_LISTED and watched.provider_id in self._retrieves_before_search:
            self._retrieves_before_search[watched.provider_id] -= 1

    def release(self, watched: WatchedBatch, now: float) -> None:
        """Make a batch idle whose response could not be recorded, or whose retrieve is not needed any more."""
        self._record_response(watched, now, is_batch=False)

    def forget_list(self, now: float) -> None:
        """Forget what is known of the list, because another service, or another organisation, now has it.

        A page that is still under way is ignored when it arrives.
        """
        if self._scan:
            self._finish_scan(self._scan, now)
        self._last_checks.end_sample(now)
        self.list_health = ListHealth()
        self._retrieves_before_search.clear()
        for watched in self.watched_batches.values():
            watched.expected_page = 0

    def _collect_due(self, now: float) -> None:
        self._last_checks.extend(self._planned_last_checks.pop_due(now))
        due = self._planned_checks.pop_due(now)
        self._next_round.update((watched, None) for watched in due if not watched.in_flight)

    def _start_round(self, now: float) -> None:
        """Divide the batches that are due between a list scan and single retrieves."""
        due = [watched for watched in self._next_round if watched.is_due(now) and not watched.in_flight]
        if not due:
            return
        self.is_overdue = due[0].is_overdue(now)
        # A list has the batches of one provider; batches of other providers are for the next round.
        provider_id = due[0].provider_id
        self._next_round = {watched: None for watched in due if watched.provider_id != provider_id}
        due = [watched for watched in due if watched.provider_id == provider_id]
        if self._retrieves_before_search.get(provider_id, 1) <= 0:
            del self._retrieves_before_search[provider_id]
            for watched in self.watched_batches.values():
                if watched.provider_id == provider_id and watched.expected_page >= NOT_LISTED:
                    watched.expected_page = 0
        if self.list_health.usable(now) and any(watched.expected_page < NOT_LISTED for watched in due):
            self._scan = self._plan_scan(provider_id, now)
        self._queue_retrieves(watched for watched in due if not watched.in_flight)

    def _plan_scan(self, provider_id: str | None, now: float) -> ListScan | None:
        """Return a scan for the batches of a provider, or None if single retrieves take fewer requests.

        Batches that need a retrieve are queued for it instead: those that were retrieved longest ago, and only as
        many as take few requests beside the pages of the scan.
        """
        candidates = [
            watched
            for watched in self.watched_batches.values()
            if watched.provider_id == provider_id and not watched.in_flight and self._accepts_scan(watched, now)
        ]
        page_count = pages_worth_reading(Counter(watched.expected_page for watched in candidates))
        need_retrieve = [
            watched for watched in candidates if watched.accepts_check(now) and watched.needs_retrieve(now)
        ]
        need_retrieve.sort(key=lambda watched: watched.retrieved_at)
        self._queue_retrieves(need_retrieve[: max(page_count // PAGES_PER_RETRIEVE, RETRIEVES_PER_ROUND)])
        missing = {watched.batch_id: watched for watched in candidates if not watched.in_flight}
        if not pages_worth_reading(Counter(watched.expected_page for watched in missing.values())):
            return None
        for watched in missing.values():
            watched.in_flight = True
        return ListScan(provider_id=provider_id, missing=missing, started_at=now)

    def _accepts_scan(self, watched: WatchedBatch, now: float) -> bool:
        """Return whether a check of a batch can be served when a scan that starts now reaches its page.

        If only the checks that can be served now counted, the scan would end before this page. The next scan would
        then read all pages before it once more.
        """
        is_listed = watched.expected_page < NOT_LISTED
        return watched.accepts_check(now + watched.expected_page * self._seconds_per_page if is_listed else now)

    def _queue_retrieves(self, batches: Iterable[WatchedBatch]) -> None:
        for watched in batches:
            watched.in_flight = True
            self._retrieves.append(watched)

    def _confirm(self, watched: WatchedBatch) -> None:
        """Queue a batch that the list shows as ended for confirmation, unless its retrieve was already sent."""
        if watched in self._retrieves:
            self._retrieves.remove(watched)
        elif watched.in_flight:
            return
        watched.in_flight = watched.confirming_end = True
        self._confirmations.append(watched)

    def _late_scan(self, now: float) -> ListScan | None:
        """Return the scan whose next page comes before all last checks, because it can serve many of them."""
        if not self.list_health.usable(now):
            self._last_checks.end_sample(now)
            return None
        self._last_checks.start_sample(now)
        if not self._last_checks.is_sample_complete:
            return None
        provider_id = self._last_checks.sampled_provider_id
        # A scan that is under way for other checks continues, and serves last checks from here.
        self._scan = self._scan or self._plan_scan(provider_id, now)
        if self._scan is None:
            self._last_checks.end_sample(now + MAX_LAG_SECONDS)
            return None
        self._scan.serves_last_checks |= self._scan.provider_id == provider_id
        return None if self._scan.request_in_flight else self._scan

    def _next_page_of(self, scan: ListScan, now: float) -> ListScan:
        scan.request_in_flight, scan.requested_at = True, now
        return scan

    def _serve_last_checks(self, scan: ListScan, now: float) -> None:
        """End the waits whose batches a scan has shown as running after their deadline, if it can be relied on."""
        if not scan.serves_last_checks:
            return
        is_reliable = self.list_health.usable(now) and not scan.is_outdated
        if is_reliable:
            for watched, due_by in scan.shown_with_last_check.items():
                watched.on_last_check_listed(due_by=due_by)
        self._last_checks.end_sample(now if is_reliable else now + MAX_LAG_SECONDS)

    def _finish_scan(self, scan: ListScan, now: float) -> None:
        """End a scan, and queue the batches that it has not found and that are due for a retrieve."""
        self._scan = None
        self._seconds_per_page = (now - scan.started_at) / max(scan.next_page, 1)
        for watched in scan.missing.values():
            watched.in_flight = False
        if any(watched.expected_page >= NOT_LISTED for watched in scan.missing.values()):
            retrieves = RETRIEVES_PER_EMPTY_PAGE * max(scan.empty_pages, 1)
            self._retrieves_before_search.setdefault(scan.provider_id, retrieves)
        self._queue_retrieves(watched for watched in scan.missing.values() if watched.is_due(now))

    @staticmethod
    def _pop(queue: deque[WatchedBatch], now: float) -> WatchedBatch | None:
        """Remove and return the next batch that still needs a retrieve; the others become idle."""
        while queue:
            watched = queue.popleft()
            if watched.has_planned_check() and (
                # The list may have served its checks since.
                watched.confirming_end or watched.accepts_check(now) or watched.needs_retrieve(now)
            ):
                return watched
            watched.in_flight = watched.confirming_end = False
        return None
