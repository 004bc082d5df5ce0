"""What a subscriber does with the result of a check: it applies the rules of its wait, in the context of its wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanNotFoundError, RespanTransientError
from airflow_respan.polling.subscriber import NEVER, Subscriber
from airflow_respan.waiting.policy import BatchWait, TimedOut

ONGOING = Batch(id="batch_1", status="in_progress")
ENDED = Batch(id="batch_1", status="completed")


def subscribe(wait: BatchWait, *results: Batch | Exception) -> tuple[list[dict[str, Any]], Callable[[], object]]:
    """Pass results to a subscriber; return the checks it planned, and a function that returns or raises the end."""

    async def run() -> tuple[list[dict[str, Any]], Callable[[], object]]:
        plans: list[dict[str, Any]] = []
        names = ("due", "pause", "is_last", "earliest")
        subscriber = Subscriber(wait, lambda each: plans.append({name: getattr(each, name) for name in names}))
        subscriber.plan_check()
        for result in results:
            subscriber.on_result(result)
        assert subscriber.due == NEVER
        return plans, subscriber.end.result

    return asyncio.run(run())


def test_checks_are_planned_until_the_batch_has_ended() -> None:
    wait = BatchWait(batch_id="batch_1", poke_interval=60)

    plans, end = subscribe(wait, ONGOING, RespanTransientError("Respan gave no answer."), ONGOING, ENDED, ONGOING)

    assert end() is ENDED
    assert len(plans) == 4
    assert all(60 <= check["pause"] <= 66 for check in plans)


def test_the_last_check_is_at_the_deadline_and_the_wait_times_out_after_it() -> None:
    plans, end = subscribe(BatchWait(batch_id="batch_1", timeout=0), ONGOING)

    assert isinstance(end(), TimedOut)
    [check] = plans
    assert check["is_last"]
    assert check["earliest"] == check["due"]


def test_an_error_that_ends_the_wait_is_raised() -> None:
    _plans, end = subscribe(BatchWait(batch_id="batch_1", not_found_grace=0), RespanNotFoundError("No batch."))

    with pytest.raises(RespanNotFoundError, match="No batch"):
        end()


def test_each_wait_gets_the_result_in_its_own_context() -> None:
    task: ContextVar[str] = ContextVar("task")
    contexts: list[str] = []

    class RecordingWait(BatchWait):
        def on_batch(self, batch: Batch) -> bool:
            contexts.append(task.get())
            return super().on_batch(batch)

    async def two_waits() -> None:
        subscribers: list[Subscriber] = []
        for name in ("first", "second"):
            task.set(name)
            Subscriber(RecordingWait(batch_id="batch_1"), subscribers.append).plan_check()
        task.set("poller")
        for subscriber in tuple(subscribers):
            subscriber.on_result(ONGOING)
        assert task.get() == "poller"

    asyncio.run(two_waits())
    assert contexts == ["first", "second"]
