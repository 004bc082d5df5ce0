"""A batch that is watched, and by whom. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import PageItem
from airflow_respan.polling.subscriber import NEVER, Subscriber

MAX_PAUSES_BETWEEN_RETRIEVES = 10
"""After so many pauses a batch is due for a retrieve, however often it has been seen in the list."""


@dataclass(slots=True, eq=False)
class WatchedBatch:
    """One batch, for however many waits.

    :param subscribers: the waits, each with the look that it has planned
    :param page: the page of the list (from 0) on which the batch is to be expected at the earliest
    :param batch: what is known of it, or None
    :param expires_at: when it expires (Unix seconds)
    :param digest: of what the list said of it last, while it went on
    :param retrieved_at: when it was retrieved last (seconds of ``time.monotonic``)
    :param in_flight: whether a request that serves it has been decided on
    :param confirming_end: whether that is the retrieve which is to confirm an end
    """

    batch_id: str
    provider_id: str | None
    respan_params: Mapping[str, Any] | None
    subscribers: dict[Subscriber, None] = field(default_factory=dict)
    page: int = 0
    batch: Batch | None = None
    expires_at: float = NEVER
    digest: int | None = None
    retrieved_at: float = field(default_factory=time.monotonic)
    in_flight: bool = False
    confirming_end: bool = False

    def is_awaited(self) -> bool:
        """Say whether anybody still waits for it."""
        return any(subscriber.due < NEVER for subscriber in self.subscribers)

    def is_wanted(self, now: float) -> bool:
        """Say whether a request would serve somebody."""
        return any(subscriber.earliest <= now for subscriber in self.subscribers)

    def is_due(self, now: float) -> bool:
        """Say whether somebody wants it looked at."""
        return any(subscriber.due <= now for subscriber in self.subscribers)

    def is_late(self, now: float) -> bool:
        """Say whether somebody has waited for longer than a pause beyond what he wanted."""
        return any(now - subscriber.due > subscriber.pause for subscriber in self.subscribers)

    def needs_retrieve(self, now: float) -> bool:
        """Say whether the list has been believed for long enough, or the batch is about to expire."""
        pause = max(subscriber.pause for subscriber in self.subscribers)
        return now - self.retrieved_at > MAX_PAUSES_BETWEEN_RETRIEVES * pause or self.expires_at < time.time() + pause

    def on_retrieved(self, batch: Batch, now: float) -> None:
        """Take in what a retrieve has brought."""
        self.retrieved_at = now
        self._know(batch)
        self.notify(batch, until=NEVER if batch.is_terminal else now)

    def read(self, item: PageItem) -> Batch | None:
        """Read what the list says of the batch; None if that makes no sense.

        Where it says what it has said before of a batch that goes on, what is known by now stands: that may be from
        a retrieve. What it leaves out is filled in from there, too.
        """
        digest = item.digest()
        if self.batch and digest == self.digest:
            return self.batch
        try:
            batch = item.read()
        except ValueError:
            return None
        if batch.is_terminal:
            return batch
        self.digest = digest
        if self.batch:
            names = ("request_counts", "created_at", "in_progress_at", "expires_at")
            gaps = {name: getattr(self.batch, name) for name in names if getattr(batch, name) is None}
            batch = replace(batch, **gaps) if gaps else batch
        return batch

    def on_listed(self, batch: Batch, now: float) -> None:
        """Take in a batch that goes on, says the list."""
        if batch is not self.batch:
            self._know(batch)
        for subscriber in self.subscribers:
            if subscriber.earliest <= now and not subscriber.is_last:
                subscriber.on_result(batch)

    def notify(self, seen: Batch | Exception, *, until: float) -> None:
        """Give what a retrieve has come to to the looks that may be served until a moment."""
        for subscriber in self.subscribers:
            if subscriber.earliest <= until:
                subscriber.on_result(seen)

    def _know(self, batch: Batch) -> None:
        self.batch = batch
        self.expires_at = batch.expires_at.timestamp() if batch.expires_at else NEVER
