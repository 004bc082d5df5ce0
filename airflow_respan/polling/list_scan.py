"""Which pages of the list of batches are worth reading instead of retrieving batch by batch. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from airflow_respan.polling.watched_batch import WatchedBatch

NOT_LISTED = 10**9
"""The page of a batch that the list is not worth asking for."""

MAX_EMPTY_PAGES = 2
"""So many pages on which batches were to be expected, and none was found, are read before those are given up."""


def pages_worth_reading(expected: Mapping[int, int], *, first: int = 0) -> int:
    """Say how many pages to read so that they and retrieving the rest are the fewest requests.

    :param expected: how many of the batches that are looked for are on each page (from 0), at the earliest
    :param first: the page that would be read first
    """
    best, gain, found = 0, 0, 0
    for page in sorted(page for page in expected if page < NOT_LISTED):
        found += expected[page]
        pages = max(page - first, 0) + 1
        if found - pages > gain:
            best, gain = pages, found - pages
    return best


@dataclass(kw_only=True)
class ListScan:
    """One walk through the list.

    :param provider_id: whose batches are listed
    :param wanted: what is looked for, by batch id
    :param began: when (seconds of ``time.monotonic``)
    :param after: the id that the next page comes after, or None for the first
    :param number: the next page (from 0)
    :param misses: the pages that were read in vain
    :param is_asking: whether a page is on its way
    """

    provider_id: str | None
    wanted: dict[str, WatchedBatch]
    began: float
    after: str | None = None
    number: int = 0
    misses: int = 0
    is_asking: bool = False

    def __post_init__(self) -> None:
        """Count what is expected where, once: a page changes little of it."""
        self._expected = Counter(target.page for target in self.wanted.values())

    def read(self, batch_ids: Iterable[str], next_after: str | None) -> bool:
        """Take in a page, and let go of what was found.

        :return: whether to read on; if not, what is still wanted has to be retrieved
        """
        was_promising = any(number for page, number in self._expected.items() if page <= self.number)
        found = [target for batch_id in batch_ids if (target := self.wanted.pop(batch_id, None))]
        for target in found:
            self._expected[target.page] -= 1
            target.page, target.in_flight = self.number, False
        self.misses += was_promising and not found
        self.number, self.after = self.number + 1, next_after
        if next_after is None:
            self._give_up(NOT_LISTED)
        elif self.misses >= MAX_EMPTY_PAGES:
            self._give_up(self.number)
        if pages_worth_reading(self._expected, first=self.number):
            return True
        for target in self.wanted.values():
            target.page = max(target.page, self.number)
        return False

    def _give_up(self, last_page: int) -> None:
        """Believe no more that the list has what was to be expected up to a page."""
        for target in self.wanted.values():
            if target.page <= last_page:
                target.page = NOT_LISTED
        self._expected = Counter(target.page for target in self.wanted.values())
