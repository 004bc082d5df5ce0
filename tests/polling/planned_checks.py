"""A schedule with checks that a test plans, without a poller and without waits."""

from __future__ import annotations

from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.polling.list_scan import ListScan
from airflow_respan.polling.schedule import Schedule
from airflow_respan.polling.subscriber import EARLY_RATIO, NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch

NOW = 1000.0


def page_of(*batches: Batch) -> BatchPage:
    """Return a page with these batches, the last of its list."""
    return BatchPage.from_dict({"data": [batch.to_dict() for batch in batches], "has_more": False})


class OneCheck(Subscriber):
    """A subscriber with one check, due when the test says; ``result`` is what served it."""

    def __init__(self, due: float, pause: float, *, is_last: bool) -> None:
        self.due, self.pause, self.is_last = due, pause, is_last
        self.earliest = due if is_last else due - EARLY_RATIO * pause
        self.result: Batch | Exception | None = None

    def on_result(self, result: Batch | Exception) -> None:
        self.result = result
        self.due = self.earliest = NEVER


class PlannedChecks:
    """A schedule, to which a test adds checks."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.pages = 0

    def plan(
        self, batch_id: str, *, due: float = NOW, pause: float = 60, is_last: bool = False, **fields: Any
    ) -> WatchedBatch:
        watched = self.schedule.watch(batch_id, fields.pop("provider_id", None), None)
        watched.retrieved_at = NOW
        for name, value in fields.items():
            setattr(watched, name, value)
        subscriber = OneCheck(due, pause, is_last=is_last)
        watched.subscribers[subscriber] = None
        self.schedule.add_check(watched, subscriber)
        return watched

    def choose(self, now: float = NOW, *, is_paused: bool = False) -> WatchedBatch | ListScan | None:
        return self.schedule.choose(now, is_paused=is_paused)
