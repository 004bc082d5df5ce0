"""A batch that is watched, and the looks at it that are to come. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_respan.batch import Batch
from airflow_respan.page import PageItem
from airflow_respan.triggers.watch import Look

RETRIEVE_EVERY = 10
"""After so many pauses a batch is due for a retrieve, however often it has been seen in the list."""


@dataclass(slots=True, eq=False)
class Target:
    """One batch, for however many waits.

    :param watchers: how many waits there are
    :param looks: what they wish for, and have not been given yet
    :param page: the page of the list (from 0) on which the batch is to be expected at the earliest
    :param batch: what is known of it, or None
    :param digest: of what the list said of it last, while it went on
    :param retrieved_at: when it was retrieved last (seconds of ``time.monotonic``)
    :param is_taken: whether a request that serves it has been decided on
    :param seems_ended: whether that is the retrieve which is to confirm an end
    """

    batch_id: str
    provider_id: str | None
    respan_params: Mapping[str, Any] | None
    watchers: int = 0
    looks: dict[Look, None] = field(default_factory=dict)
    page: int = 0
    batch: Batch | None = None
    digest: int | None = None
    retrieved_at: float = field(default_factory=time.monotonic)
    is_taken: bool = False
    seems_ended: bool = False

    def is_wanted(self, now: float) -> bool:
        """Say whether a request would serve somebody."""
        return any(look.may_be_served_from <= now for look in self.looks)

    def is_due(self, now: float) -> bool:
        """Say whether somebody wants it looked at."""
        return any(look.due <= now for look in self.looks)

    def is_late(self, now: float) -> bool:
        """Say whether somebody has waited for longer than a pause beyond what he wanted."""
        return any(now - look.due > look.pause for look in self.looks)

    def needs_retrieve(self, now: float) -> bool:
        """Say whether the list has been believed for long enough, or the batch is about to expire."""
        pause = max(look.pause for look in self.looks)
        expires_at = self.batch.expires_at if self.batch else None
        is_expiring = expires_at is not None and expires_at.timestamp() < time.time() + pause
        return is_expiring or now - self.retrieved_at > RETRIEVE_EVERY * pause

    def retrieved(self, batch: Batch, now: float) -> None:
        """Take in what a retrieve has brought."""
        self.batch, self.retrieved_at = batch, now
        self.answer(batch, until=float("inf") if batch.is_terminal else now)

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

    def listed(self, batch: Batch, now: float) -> None:
        """Take in a batch that goes on, says the list."""
        self.batch = batch
        self.answer(batch, until=now)

    def answer(self, seen: Batch | Exception, *, until: float) -> None:
        """Give what was seen to the looks that may be served until a moment."""
        for look in [look for look in self.looks if look.may_be_served_from <= until]:
            del self.looks[look]
            look.take(seen)
