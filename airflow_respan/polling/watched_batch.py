"""A batch that at least one wait subscribes to, with what is known of it. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import PageItem
from airflow_respan.polling.subscriber import NEVER, Subscriber

MAX_PAUSES_BETWEEN_RETRIEVES = 10
"""After so many pauses a batch needs a retrieve, because the list that showed it since then may be out of date."""


@dataclass(slots=True, eq=False)
class WatchedBatch:
    """One batch, shared by all its subscribers.

    The states; the schedule makes all transitions, except those that a scan makes for the batches it finds:

    * Idle (not ``in_flight``): no request is planned for it. When a check is due, the next round either adds it to
      the list scan, or queues it for a retrieve.
    * In the scan (``in_flight``): the running list scan looks for it. If a page shows it as running, it is idle
      again. If a page shows it as ended, it is queued for confirmation. If the scan ends without it, it is queued for
      a retrieve if a check is due, and idle if not.
    * Queued, or being retrieved (``in_flight``): idle again after the response.
    * Queued, or being retrieved, for confirmation (``in_flight`` and ``confirming_end``): the list showed it as ended,
      and a retrieve has to confirm that. Idle again after the response.

    The check at the deadline of a wait is sent in every state. ``last_checks.py`` says when the list may serve it.

    :param batch_id: the batch
    :param provider_id: the provider that the batch went to, or None for the connection's
    :param respan_params: tracking parameters of each retrieve
    :param subscribers: the waits, each with the check that it has planned; a dict keeps their order
    :param expected_page: the page of the list (from 0) that shows the batch, or a later one does
    :param batch: the batch as last seen, by a retrieve or in the list; None before
    :param expires_at: when it expires (Unix seconds)
    :param item_digest: the digest of the last list item that showed the batch as running
    :param retrieved_at: when it was last retrieved (seconds of ``time.monotonic``)
    :param in_flight: whether the running scan, or a retrieve that is queued or sent, will serve it
    :param confirming_end: whether that retrieve has to confirm an end that the list showed
    :param is_slow: whether its last retrieve took long and got no response; the next one must not delay other batches
    """

    batch_id: str
    provider_id: str | None
    respan_params: Mapping[str, Any] | None
    subscribers: dict[Subscriber, None] = field(default_factory=dict)
    expected_page: int = 0
    batch: Batch | None = None
    expires_at: float = NEVER
    item_digest: int | None = None
    retrieved_at: float = field(default_factory=time.monotonic)
    in_flight: bool = False
    confirming_end: bool = False
    is_slow: bool = False

    def has_planned_check(self) -> bool:
        """Return whether any subscriber has a check planned."""
        return any(subscriber.due < NEVER for subscriber in self.subscribers)

    def accepts_check(self, now: float) -> bool:
        """Return whether a request would serve a check: one that is due, or one that may be early."""
        return any(subscriber.earliest <= now for subscriber in self.subscribers)

    def is_due(self, now: float) -> bool:
        """Return whether a check is due."""
        return any(subscriber.due <= now for subscriber in self.subscribers)

    def is_overdue(self, now: float) -> bool:
        """Return whether a check, but not a last one, has been due for longer than its pause."""
        return any(now - each.due > each.pause and not each.is_last for each in self.subscribers)

    def has_last_check(self, *, due_by: float) -> bool:
        """Return whether the last check of a wait was due by this time (seconds of ``time.monotonic``)."""
        return any(subscriber.is_last and subscriber.due <= due_by for subscriber in self.subscribers)

    def needs_retrieve(self, now: float) -> bool:
        """Return whether the list is not enough: the last retrieve was long ago, or the batch expires about now."""
        pause = max(subscriber.pause for subscriber in self.subscribers)
        # Not for ever after it: a batch may run for hours longer, and the clock of the service may be behind.
        expires_now = -MAX_PAUSES_BETWEEN_RETRIEVES * pause < self.expires_at - time.time() < pause
        return expires_now or now - self.retrieved_at > MAX_PAUSES_BETWEEN_RETRIEVES * pause

    def merge_item(self, item: PageItem) -> Batch | None:
        """Return the batch as a list item shows it, or None if the item is not a batch.

        If the item is the same as last time, return the batch as last seen, because a retrieve since then may have
        returned something newer. Fields that a list leaves out are filled in from there, too.
        """
        try:
            digest = item.digest()
            if self.batch and digest == self.item_digest:
                return self.batch
            batch = item.read()
        except ValueError:
            return None
        if batch.is_terminal:
            return batch
        self.item_digest = digest
        if self.batch:
            names = ("request_counts", "created_at", "in_progress_at", "expires_at")
            gaps = {name: getattr(self.batch, name) for name in names if getattr(batch, name) is None}
            batch = replace(batch, **gaps) if gaps else batch
        return batch

    def on_listed(self, batch: Batch, now: float) -> None:
        """Serve the checks that a list item can serve: all but those at a deadline.

        :param batch: from :meth:`merge_item`, not terminal
        """
        if batch is not self.batch:
            self._update(batch)
        for subscriber in self.subscribers:
            if subscriber.earliest <= now and not subscriber.is_last:
                subscriber.on_result(batch)

    def on_last_check_listed(self, *, due_by: float) -> None:
        """Serve the last checks that were due by this time by the batch as last seen, which the list has just shown."""
        for subscriber in self.subscribers:
            if self.batch and subscriber.is_last and subscriber.due <= due_by:
                subscriber.on_result(self.batch)

    def on_retrieved(self, batch: Batch, now: float) -> None:
        """Serve the checks that a retrieved batch can serve; if the batch has ended, all checks."""
        self.retrieved_at = now
        self._update(batch)
        self.notify(batch, until=NEVER if batch.is_terminal else now)

    def notify(self, result: Batch | Exception, *, until: float) -> None:
        """Pass the result of a retrieve to subscribers.

        :param until: only to subscribers whose check may be made by this time; :data:`NEVER` for all
        """
        for subscriber in self.subscribers:
            if subscriber.earliest <= until:
                subscriber.on_result(result)

    def _update(self, batch: Batch) -> None:
        self.batch = batch
        self.expires_at = batch.expires_at.timestamp() if batch.expires_at else NEVER
