from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pendulum
import pytest

from airflow_respan.exceptions import RespanMissingConnectionError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import Fault, RespanSandbox
from airflow_respan.triggers.batch import RespanBatchTrigger


async def run_trigger(trigger: RespanBatchTrigger) -> Any:
    [event] = [event.payload async for event in trigger.run()]
    return event


def test_a_trigger_needs_only_an_id(connected: RespanSandbox) -> None:
    batch_id = connected.add_batch(status="completed")

    event = asyncio.run(run_trigger(RespanBatchTrigger(batch_id=batch_id, poke_interval=0.1)))

    assert event["batch"]["status"] == "completed"


def test_a_trigger_made_of_its_saved_arguments_is_the_same(connected: RespanSandbox) -> None:
    class_path, kwargs = RespanBatchTrigger(batch_id="batch_1", provider_id="openai", poke_interval=5).serialize()
    trigger = RespanBatchTrigger(**kwargs)

    assert trigger.serialize() == (class_path, kwargs)
    assert "batch_1" in repr(trigger)


def test_a_missing_connection_is_an_event_not_an_exception(airflow_db: None) -> None:
    trigger = RespanBatchTrigger(batch_id="batch_1", respan_conn_id="respan_missing", poke_interval=0.1)

    event = asyncio.run(run_trigger(trigger))

    assert event["error"] == "RespanMissingConnectionError"
    assert event["message"].startswith("Airflow connection 'respan_missing' does not exist.")


def test_a_connection_that_is_missing_for_a_short_time_does_not_end_a_wait(
    airflow_db: None, sandbox: RespanSandbox, connect: Callable[..., None]
) -> None:
    now = pendulum.now("UTC").isoformat()
    trigger = RespanBatchTrigger(
        batch_id=sandbox.add_batch(status="completed"),
        next_check_at=now,
        poke_interval=0.1,
        respan_conn_id="respan_late",
    )

    async def add_connection_later() -> Any:
        waiting = asyncio.ensure_future(run_trigger(trigger))
        while not isinstance(trigger.wait.error, RespanMissingConnectionError):
            await asyncio.sleep(0.01)
        connect(conn_id="respan_late", host=sandbox.url, password=sandbox.api_key)
        return await waiting

    assert asyncio.run(add_connection_later())["batch"]["status"] == "completed"


def test_an_unexpected_error_is_an_event_not_an_exception(connected: RespanSandbox) -> None:
    trigger = RespanBatchTrigger(batch_id="batch_1", respan_params={"cannot": {"be sent"}}, poke_interval=0.1)

    event = asyncio.run(run_trigger(trigger))

    assert event["error"] == "RespanError"
    assert event["message"] == (
        "ValueError: respan_params cannot be sent as JSON: Object of type set is not JSON serializable (unexpected "
        "error in the triggerer, wait for batch batch_1). The batch may still be running at the service. The "
        "triggerer's log has the traceback."
    )


def test_a_slow_service_does_not_block_the_event_loop(connected: RespanSandbox) -> None:
    connected.inject(Fault.slow(1.0))
    batch_id = connected.add_batch(status="completed")

    async def longest_stall_seconds() -> float:
        # Load imports and certificates before the measurement, because a triggerer loads them only once.
        hook = RespanHook()
        await hook.aget_batch(batch_id)
        await hook.aclose()
        connected.inject(Fault.slow(1.0))
        waiting = asyncio.ensure_future(run_trigger(RespanBatchTrigger(batch_id=batch_id, poke_interval=0.1)))
        longest, last = 0.0, time.monotonic()
        while not waiting.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await waiting
        return longest

    assert asyncio.run(longest_stall_seconds()) < 0.5


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_cancelled_wait_leaves_no_connection_open(connected: RespanSandbox, recwarn: pytest.WarningsRecorder) -> None:
    batch_id = connected.add_batch()

    async def cancel_while_waiting() -> None:
        waiting = asyncio.ensure_future(run_trigger(RespanBatchTrigger(batch_id=batch_id, poke_interval=0.05)))
        while len(connected.requests) < 3:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cancel_while_waiting())
    assert [str(warning.message) for warning in recwarn if "nclosed" in str(warning.message)] == []


def test_all_checks_of_a_wait_use_one_connection(connected: RespanSandbox, connect: Callable[..., None]) -> None:
    batch_id = connected.add_batch()

    async def check_often() -> None:
        waiting = asyncio.ensure_future(run_trigger(RespanBatchTrigger(batch_id=batch_id, poke_interval=0.02)))
        while len(connected.requests) < 10:
            await asyncio.sleep(0.01)
        connected.change_batch(batch_id, status="completed")
        await waiting

    asyncio.run(check_often())
    assert len({request.peer for request in connected.requests}) == 1
