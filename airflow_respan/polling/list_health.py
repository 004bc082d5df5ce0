"""Whether the list of batches is of use: it may be refused, fail, or be out of date. No I/O; moments are told."""

from __future__ import annotations

import logging

from airflow_respan.api.page import PageItem
from airflow_respan.exceptions import RespanTransientError

log = logging.getLogger(__name__)

LIST_RETRY_SECONDS = 900.0
"""Seconds until a list that was refused, or has failed, is read again."""

LATE = 60.0
"""Seconds by which a list may lag behind a retrieve and still be of use."""

OUTDATED_LIST_SECONDS = 3600.0
"""Seconds until a list that lags behind by more is read again; some did for weeks."""

Key = tuple[str | None, str | None]
"""A batch's id, and the provider whose list it is in."""


class ListHealth:
    """What retrieves, and the list itself, have told about the list."""

    def __init__(self) -> None:
        self._useless_until = float("-inf")
        self._is_useless_anyway = False  # so that no retrieve that works says anything for it
        self._is_down = False
        self._unlisted: dict[Key, float] = {}

    def usable(self, now: float) -> bool:
        """Say whether to read the list."""
        return now >= self._useless_until

    def record_failure(self, error: Exception, now: float) -> None:
        """Take in that a page could not be read.

        If the service has asked to be left alone for a while, it is not the list that it wants to be spared.
        """
        if not (isinstance(error, RespanTransientError) and error.retry_after):
            self._useless_until = now + LIST_RETRY_SECONDS
            self._is_useless_anyway = not isinstance(error, RespanTransientError)

    def record_retrieve_failure(self) -> None:
        """Take in that the service does not answer well: it was not the list's fault, then."""
        self._is_down = True

    def record_retrieve_success(self) -> None:
        """Take in that the service answers; if it had not, the list may be read again, too."""
        if self._is_down and not self._is_useless_anyway:
            self._useless_until = float("-inf")
        self._is_down = False

    def record_missed_end(self, key: Key, now: float) -> None:
        """Take in an end of which the list had not told."""
        self._unlisted[key] = now
        while now - next(iter(self._unlisted.values())) > OUTDATED_LIST_SECONDS:
            del self._unlisted[next(iter(self._unlisted))]

    def record_item(self, key: Key, item: PageItem, now: float) -> None:
        """Take in what the list tells of a batch that nobody waits for any more."""
        if key not in self._unlisted:
            return
        try:
            has_ended = item.read().is_terminal
        except ValueError:
            return
        if has_ended:
            del self._unlisted[key]
        elif now - self._unlisted[key] > LATE:
            self._useless_until, self._is_useless_anyway = now + OUTDATED_LIST_SECONDS, True
            log.warning(
                "Respan's list of batches is out of date: %.0f seconds after batch %s was retrieved as ended, it still "
                "tells that it goes on. Retrieving batches one by one for the next %.0f minutes.",
                now - self._unlisted.pop(key),
                key[0],
                OUTDATED_LIST_SECONDS / 60,
            )
