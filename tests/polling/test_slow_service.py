"""Requests and look-ups that get no response, and responses that cannot be read: they concern one batch only."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_respan.exceptions import RespanTransientError
from airflow_respan.hooks.lookup import alook_up_settings
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.polling.request_slots import SLOW_SECONDS
from airflow_respan.sandbox import Fault, RespanSandbox
from airflow_respan.triggers.batch import RespanBatchTrigger
from tests.look_ups import CountingBackend

Connect = Callable[..., None]
LIST = "/api/v1/batches/"
HANGS = Fault.slow(60)


async def run_trigger(batch_id: str) -> Any:
    [event] = [event.payload async for event in RespanBatchTrigger(batch_id=batch_id, poke_interval=0.5).run()]
    return event


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_true():
            await asyncio.sleep(0.01)


async def seconds_to_end(
    sandbox: RespanSandbox, healthy: list[str], odd: list[str], is_true: Callable[[], bool]
) -> float:
    """Run waits; once the condition is true, end the healthy batches, and return how long their waits need to end."""
    odd_waits = [asyncio.ensure_future(run_trigger(batch_id)) for batch_id in odd]
    waits = [asyncio.ensure_future(run_trigger(batch_id)) for batch_id in healthy]
    await wait_until(is_true)
    ended_at = time.monotonic()
    for batch_id in healthy:
        sandbox.change_batch(batch_id, status="completed")
    events = await asyncio.gather(*waits)
    seconds = time.monotonic() - ended_at
    assert {event["batch"]["status"] for event in events} == {"completed"}
    assert not any(wait.done() for wait in odd_waits)
    for wait in odd_waits:
        wait.cancel()
    await asyncio.gather(*odd_waits, return_exceptions=True)
    return seconds


@pytest.mark.parametrize(
    ("hanging_count", "timeout", "rounds", "latency"),
    [(16, 5, 1, 0), (24, 1, 2, 0), (16, 3, 2, 1.2 * SLOW_SECONDS)],
    ids=["first checks", "later checks", "other responses take long too"],
)
def test_retrieves_that_hang_do_not_delay_other_waits(
    sandbox: RespanSandbox, connect: Connect, hanging_count: int, timeout: float, rounds: int, latency: float
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 0, "timeout": timeout})
    hanging, healthy = [[sandbox.add_batch() for _ in range(count)] for count in (hanging_count, 40)]
    sandbox.inject(Fault.error(403), times=None, path=f"{LIST}$")
    for batch_id in hanging:
        sandbox.inject(HANGS, times=None, path=batch_id)
    if latency:
        healthy = healthy[:8]
        sandbox.inject(Fault.slow(latency), times=None)

    def have_been_sent() -> bool:
        sent = [request.path for request in sandbox.requests]
        return sum(any(batch_id in path for batch_id in hanging) for path in sent) >= hanging_count * rounds

    assert asyncio.run(seconds_to_end(sandbox, healthy, hanging, have_been_sent)) < 2 + latency


def test_retrieves_that_hang_keep_the_rate_limit(sandbox: RespanSandbox, connect: Connect) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 20, "timeout": 0.6})
    batch_ids = [sandbox.add_batch() for _ in range(30)]
    sandbox.inject(HANGS, times=None)

    async def run_for(seconds: float) -> None:
        waits = [asyncio.ensure_future(run_trigger(batch_id)) for batch_id in batch_ids]
        await asyncio.sleep(seconds)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    asyncio.run(run_for(0.5 + 6 * SLOW_SECONDS))
    assert len(sandbox.requests) == 6  # of 18 a minute; the next one would be sent 3.4 seconds after the sixth


def nested(depth: int) -> str:
    return '{"id": "batch_deep", "status": "in_progress", "metadata": ' + "[" * depth + "]" * depth + "}"


ODD_ITEMS = {
    "nested 500 deep": nested(500),
    "nested 2,000 deep": nested(2000),
    "nested 5,000 deep": nested(5000),
    "nested 200,000 deep": nested(200_000),
    "null": "null",
    "a number": "1e400",
    "a list": "[[]]",
    "an id that is a list": '{"id": [["batch_1"]], "status": {}}',
    "an id that is a huge number": '{"id": ' + "9" * 5000 + "}",
    "times that do not exist": '{"id": "batch_1", "status": "completed", "created_at": 1e300, "expires_at": -1e300}',
    "lone surrogates": '{"id": "batch_\\ud83d", "status": "\\ud83d", "metadata": {"\\ud83d": "\\u0000"}}',
}


@pytest.mark.parametrize("name", ODD_ITEMS)
def test_an_odd_item_of_the_list_does_not_affect_the_waits(sandbox: RespanSandbox, connect: Connect, name: str) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 0})
    batch_ids = [sandbox.add_batch() for _ in range(3)]
    items = [json.dumps({"id": batch_id, "status": "completed"}) for batch_id in batch_ids]
    items.insert(1, ODD_ITEMS[name])
    items.append(ODD_ITEMS[name])
    sandbox.inject(Fault(status=200, body='{"data": [' + ",".join(items) + "]}"), times=None, path=f"{LIST}$")

    assert asyncio.run(seconds_to_end(sandbox, batch_ids, [], lambda: len(sandbox.requests) >= 2)) < 2


@pytest.mark.parametrize("name", ODD_ITEMS)
def test_a_response_that_cannot_be_read_does_not_affect_other_waits(
    sandbox: RespanSandbox, connect: Connect, name: str
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 0})
    odd, *healthy = [sandbox.add_batch() for _ in range(3)]
    sandbox.inject(Fault.error(403), times=None, path=f"{LIST}$")
    sandbox.inject(Fault(status=200, body=ODD_ITEMS[name]), times=None, path=odd)

    def was_read() -> bool:
        return any(odd in request.path and request.status for request in sandbox.requests)

    assert asyncio.run(seconds_to_end(sandbox, healthy, [odd], was_read)) < 2


def test_a_look_up_that_hangs_does_not_affect_waits_that_have_settings(
    sandbox: RespanSandbox, connect: Connect, look_ups: type[CountingBackend]
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 0})
    batch_ids = [sandbox.add_batch() for _ in range(10)]
    late = sandbox.add_batch(status="completed")

    async def run() -> float:
        waits = [asyncio.ensure_future(run_trigger(batch_id)) for batch_id in batch_ids]
        await wait_until(lambda: bool(sandbox.requests))
        look_ups.answers.clear()
        waits.append(asyncio.ensure_future(run_trigger(late)))
        await wait_until(lambda: look_ups.look_ups["respan_default"] == 2)
        ended_at = time.monotonic()
        for batch_id in batch_ids:
            sandbox.change_batch(batch_id, status="completed")
        events = await asyncio.gather(*waits)
        assert {event["batch"]["status"] for event in events} == {"completed"}
        seconds = time.monotonic() - ended_at
        look_ups.answers.set()
        return seconds

    assert asyncio.run(run()) < 2


def test_a_look_up_that_hangs_is_given_up(connect: Connect, look_ups: type[CountingBackend]) -> None:
    connect(password="a-key")
    look_ups.answers.clear()

    async def look_up() -> None:
        try:
            await alook_up_settings(RespanHook(), "respan_default", timeout_seconds=0.2)
        finally:
            look_ups.answers.set()

    with pytest.raises(RespanTransientError) as failed:
        asyncio.run(look_up())

    assert str(failed.value) == (
        "Airflow connection 'respan_default' could not be looked up within 0.2 seconds. This may be temporary."
    )
