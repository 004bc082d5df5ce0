"""One scan of the list of batches: which pages take fewer requests than retrieving batch by batch. No I/O.

A page shows up to 100 batches, newest first. The list has no filter by id: to find batches, the scan reads page after
page from the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_respan.polling.watched_batch import WatchedBatch

NOT_LISTED = 10**9
"""The ``expected_page`` of a batch that was not found in the list; it is retrieved instead."""

MIN_EMPTY_PAGES = 2
"""After so many pages that were expected to show a batch, and showed none, the batches expected so far are given up ...
"""

BATCHES_PER_EMPTY_PAGE = 4
"""... or after one for so many of these batches, if that is more: so the search takes a quarter of the requests that
retrieving them takes."""


def pages_worth_reading(expected: Mapping[int, int], *, first: int = 0) -> int:
    """Return how many pages to read, so that these and one retrieve for each other batch are the fewest requests.

    :param expected: page (from 0) -> how many of the batches are expected there, or later
    :param first: the page that would be read first
    """
    best_pages, most_saved, found = 0, 0, 0
    for page in sorted(page for page in expected if page < NOT_LISTED):
        found += expected[page]
        pages = max(page - first, 0) + 1
        if found - pages > most_saved:
            best_pages, most_saved = pages, found - pages
    return best_pages


@dataclass(kw_only=True)
class ListScan:
    """A scan of the list, page by page, for the batches in ``missing``.

    Each page goes through three steps: the schedule chooses the scan and sets ``request_in_flight``, the poller reads
    the page, and :meth:`record_page` removes the batches that the page shows from ``missing``.

    The scan ends when :meth:`record_page` returns False: all batches are found, the list has no more pages, or
    further pages would take more requests than retrieving what is missing. It also ends if a page cannot be read.
    Then the schedule retrieves what is missing and due.

    :param provider_id: the provider whose batches are listed, or None for the connection's
    :param missing: the batches that are not found yet, by id
    :param started_at: seconds of ``time.monotonic``
    :param after: the id that the next page comes after, or None for the first page
    :param next_page: the number of the next page (from 0), so also how many pages were read
    :param empty_pages: how many pages were expected to show a missing batch, and showed none
    :param request_in_flight: whether a page was requested, and there is no response yet
    :param requested_at: when the last page was requested (seconds of ``time.monotonic``)
    :param serves_last_checks: whether waits may time out by this scan; see ``last_checks.py``
    :param is_outdated: whether a page has shown a batch as running that a retrieve has returned as ended
    :param shown_with_last_check: the batches whose waits time out at the end of this scan, unless it is outdated, each
        with the time by which the deadline must have passed
    """

    provider_id: str | None
    missing: dict[str, WatchedBatch]
    started_at: float
    after: str | None = None
    next_page: int = 0
    empty_pages: int = 0
    request_in_flight: bool = False
    requested_at: float = 0.0
    serves_last_checks: bool = False
    is_outdated: bool = False
    shown_with_last_check: dict[WatchedBatch, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Count how many batches are expected on each page: once, because one page changes few of these counts."""
        self._count_expected()
        self._read_after: set[str] = set()

    def record_page(self, batch_ids: Iterable[str], next_after: str | None) -> bool:
        """Record which batches a page shows, and where each was found.

        :param batch_ids: the ids of the watched batches on the page
        :param next_after: the id that the page after this one comes after, or None if this is the last page
        :return: whether to read the next page
        """
        expected_count = sum(count for page, count in self._expected.items() if page <= self.next_page)
        found = [watched for batch_id in batch_ids if (watched := self.missing.pop(batch_id, None))]
        for watched in found:
            self._expected[watched.expected_page] -= 1
            watched.expected_page, watched.in_flight = self.next_page, False
        self.empty_pages += expected_count > 0 and not found
        self.next_page, self.after = self.next_page + 1, next_after
        if next_after is None or next_after in self._read_after:  # some services repeat their last page for ever
            self._mark_not_listed(NOT_LISTED)
        elif self.empty_pages >= max(MIN_EMPTY_PAGES, expected_count // BATCHES_PER_EMPTY_PAGE):
            self._mark_not_listed(self.next_page)
        else:
            self._read_after.add(next_after)
        if pages_worth_reading(self._expected, first=self.next_page):
            return True
        for watched in self.missing.values():
            watched.expected_page = max(watched.expected_page, self.next_page)
        return False

    def _mark_not_listed(self, last_page: int) -> None:
        """Mark the missing batches that were expected up to a page as not listed."""
        for watched in self.missing.values():
            if watched.expected_page <= last_page:
                watched.expected_page = NOT_LISTED
        self._count_expected()

    def _count_expected(self) -> None:
        self._expected = Counter(watched.expected_page for watched in self.missing.values())
