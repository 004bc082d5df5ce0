"""Which pages of the list of batches are worth reading instead of retrieving batch by batch. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_respan.triggers.target import Target

FAR = 10**9
"""The page of a batch that the list is not worth asking for."""

PATIENCE = 2
"""So many pages on which batches were to be expected, and none was found, are read before those are given up."""


def worth_reading(pages: Iterable[int]) -> int:
    """Say how many pages to read so that they and retrieving the rest are the fewest requests.

    :param pages: for each batch that is looked for, the page (from 0) on which it is to be expected at the earliest
    """
    expected = Counter(page for page in pages if page < FAR)
    best, gain, found = 0, 0, 0
    for page in sorted(expected):
        found += expected[page]
        if found - (page + 1) > gain:
            best, gain = page + 1, found - (page + 1)
    return best


@dataclass(kw_only=True)
class Sweep:
    """One walk through the list.

    :param provider_id: whose batches are listed
    :param wanted: what is looked for, by batch id
    :param after: the id that the next page comes after, or None for the first
    :param number: the next page (from 0)
    :param misses: the pages that were read in vain
    :param is_asking: whether a page is on its way
    """

    provider_id: str | None
    wanted: dict[str, Target]
    after: str | None = None
    number: int = 0
    misses: int = 0
    is_asking: bool = False

    def read(self, batch_ids: Iterable[str], next_after: str | None) -> bool:
        """Take in a page, and let go of what was found.

        :return: whether to read on; if not, what is still wanted has to be retrieved
        """
        was_promising = any(target.page <= self.number for target in self.wanted.values())
        found = [target for batch_id in batch_ids if (target := self.wanted.pop(batch_id, None))]
        for target in found:
            target.page, target.is_taken = self.number, False
        self.misses += was_promising and not found
        self.number, self.after = self.number + 1, next_after
        for target in self.wanted.values():
            if next_after is None or (self.misses >= PATIENCE and target.page <= self.number):
                target.page = FAR
            target.page = max(target.page, self.number)
        return worth_reading(target.page - self.number for target in self.wanted.values()) > 0
