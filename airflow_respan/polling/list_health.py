"""Whether the list of batches can be used: the service may refuse it, fail, or send it out of date.

No I/O, and no clock: the caller passes the time, in seconds of ``time.monotonic``.
"""

from __future__ import annotations

import logging

from airflow_respan.api.page import PageItem
from airflow_respan.exceptions import RespanTransientError

log = logging.getLogger(__name__)

LIST_RETRY_SECONDS = 900.0
"""How long the list is not read after it was refused, or a page could not be read."""

MAX_LAG_SECONDS = 60.0
"""How long the list may show a batch as running after a retrieve returned it as ended; then it is out of date."""

OUTDATED_LIST_SECONDS = 3600.0
"""How long the list is not read after it was found out of date; some lists were out of date for weeks."""

BatchKey = tuple[str | None, str | None]
"""A batch's id, and the provider whose list it is in."""


class ListHealth:
    """Whether the list can be used, from the results of list requests and retrieves.

    The states, and how they end:

    * Usable: the first state.
    * A page request failed, and the error may pass: not usable for :data:`LIST_RETRY_SECONDS`. It becomes usable
      sooner if retrieves failed too, and one works again. Then the whole service failed, and not only the list.
    * The list was refused: not usable for :data:`LIST_RETRY_SECONDS`, even if retrieves work.
    * The list is out of date: not usable for :data:`OUTDATED_LIST_SECONDS`, even if retrieves work.
    """

    def __init__(self) -> None:
        self._unusable_until = float("-inf")
        self._ignores_retrieves = False  # True if a retrieve that works does not make the list usable again
        self._retrieves_fail = False
        self._missed_ends: dict[BatchKey, float] = {}

    def usable(self, now: float) -> bool:
        """Return whether the list can be read."""
        return now >= self._unusable_until

    def record_failure(self, error: Exception, now: float) -> None:
        """Record that a page could not be read.

        :param error: why; if the rate limit was reached, the list remains usable
        """
        if not (isinstance(error, RespanTransientError) and error.is_rate_limit):
            self._unusable_until = now + LIST_RETRY_SECONDS
            self._ignores_retrieves = not isinstance(error, RespanTransientError)

    def record_retrieve_failure(self) -> None:
        """Record that a retrieve failed with an error that may pass: the service fails, not only the list."""
        self._retrieves_fail = True

    def record_retrieve_success(self) -> None:
        """Record that a retrieve worked; after failed retrieves, the list can be tried again, too."""
        if self._retrieves_fail and not self._ignores_retrieves:
            self._unusable_until = float("-inf")
        self._retrieves_fail = False

    def record_missed_end(self, key: BatchKey, now: float) -> None:
        """Record that a retrieve returned a batch as ended, and that the list has not shown this end.

        From then on :meth:`record_item` checks whether the list shows it.
        """
        self._missed_ends[key] = now
        while now - next(iter(self._missed_ends.values())) > OUTDATED_LIST_SECONDS:
            del self._missed_ends[next(iter(self._missed_ends))]

    def record_item(self, key: BatchKey, item: PageItem, now: float) -> bool:
        """Record how the list shows a batch that nobody waits for any more.

        If that is a batch from :meth:`record_missed_end`, and the list still shows it as running after
        :data:`MAX_LAG_SECONDS`, the list is out of date.

        :return: whether the list shows such a batch as running, out of date or a little late
        """
        if key not in self._missed_ends:
            return False
        try:
            has_ended = item.read().is_terminal
        except ValueError:
            return False
        if has_ended:
            del self._missed_ends[key]
        elif now - self._missed_ends[key] > MAX_LAG_SECONDS:
            self._unusable_until, self._ignores_retrieves = now + OUTDATED_LIST_SECONDS, True
            log.warning(
                "Respan's list of batches is out of date: %.0f seconds after batch %s was retrieved as ended, the list "
                "still shows it as running. Retrieving batches one by one for the next %.0f minutes.",
                now - self._missed_ends.pop(key),
                key[0],
                OUTDATED_LIST_SECONDS / 60,
            )
        return not has_ended
