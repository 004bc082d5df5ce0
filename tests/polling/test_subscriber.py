"""What a watch does with what was seen: the wait's own rules, in the wait's own context."""

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


def watched(wait: BatchWait, *seen: Batch | Exception) -> tuple[list[dict[str, Any]], Callable[[], object]]:
    """Show a watch one thing after the other; gives what it planned, and what tells how it ended."""

    async def show() -> tuple[list[dict[str, Any]], Callable[[], object]]:
        plans: list[dict[str, Any]] = []
        names = ("due", "pause", "is_last", "earliest")
        watch = Subscriber(wait, lambda planned: plans.append({name: getattr(planned, name) for name in names}))
        watch.plan_check()
        for each in seen:
            watch.on_result(each)
        assert watch.due == NEVER
        return plans, watch.over.result

    return asyncio.run(show())


def test_looks_go_on_until_the_batch_has_ended() -> None:
    wait = BatchWait(batch_id="batch_1", poke_interval=60)

    plans, over = watched(wait, ONGOING, RespanTransientError("Respan gave no answer."), ONGOING, ENDED, ONGOING)

    assert over() is ENDED
    assert len(plans) == 4
    assert all(60 <= plan_check["pause"] <= 66 for plan_check in plans)


def test_the_last_look_is_at_the_deadline_and_the_wait_times_out_after_it() -> None:
    plans, over = watched(BatchWait(batch_id="batch_1", timeout=0), ONGOING)

    assert isinstance(over(), TimedOut)
    [plan_check] = plans
    assert plan_check["is_last"]
    assert plan_check["earliest"] == plan_check["due"]


def test_what_the_wait_will_not_pass_over_is_raised() -> None:
    _plans, over = watched(BatchWait(batch_id="batch_1", not_found_grace=0), RespanNotFoundError("No batch."))

    with pytest.raises(RespanNotFoundError, match="No batch"):
        over()


def test_each_wait_hears_of_it_in_its_own_context() -> None:
    task: ContextVar[str] = ContextVar("task")
    heard: list[str] = []

    class Listening(BatchWait):
        def on_batch(self, batch: Batch) -> bool:
            heard.append(task.get())
            return super().on_batch(batch)

    async def two_waits() -> None:
        subscribers: list[Subscriber] = []
        for name in ("first", "second"):
            task.set(name)
            Subscriber(Listening(batch_id="batch_1"), subscribers.append).plan_check()
        task.set("poller")
        for watch in tuple(subscribers):
            watch.on_result(ONGOING)
        assert task.get() == "poller"

    asyncio.run(two_waits())
    assert heard == ["first", "second"]
