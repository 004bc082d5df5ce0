"""How many requests many waits in one event loop send, and that they do not affect each other; on real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pendulum
import pytest

from airflow_respan.polling.last_checks import LATE_SECONDS, SAMPLE_SIZE
from airflow_respan.polling.request_slots import MAX_CONCURRENT_REQUESTS
from airflow_respan.polling.schedule import RETRIEVES_PER_EMPTY_PAGE
from airflow_respan.polling.watched_batch import MAX_PAUSES_BETWEEN_RETRIEVES
from airflow_respan.sandbox import Fault, RespanSandbox
from airflow_respan.triggers.batch import RespanBatchTrigger

Connect = Callable[..., None]
LIST = "/api/v1/batches/"


@pytest.fixture
def unlimited(sandbox: RespanSandbox, connect: Connect) -> RespanSandbox:
    """Return a local Respan, with a connection to it that has no rate limit."""
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 0})
    return sandbox


def request_counts(sandbox: RespanSandbox) -> Counter[str]:
    """Count the requests for the list, and those for single batches."""
    return Counter("list" if request.path == LIST else "retrieve" for request in sandbox.requests)


def triggers_for(batch_ids: list[str], **options: Any) -> list[RespanBatchTrigger]:
    return [RespanBatchTrigger(batch_id=batch_id, **{"poke_interval": 0.5, **options}) for batch_id in batch_ids]


async def run_trigger(trigger: RespanBatchTrigger) -> Any:
    [event] = [event.payload async for event in trigger.run()]
    return event


async def wait_until(is_true: Callable[[], bool]) -> None:
    while not is_true():
        await asyncio.sleep(0.01)


def run_until(
    triggers: list[RespanBatchTrigger], is_true: Callable[[], bool], action: Callable[[], None] = lambda: None
) -> list[Any]:
    """Run triggers, call the action once the condition is true, and return all events."""

    async def run() -> list[Any]:
        waiting = [asyncio.ensure_future(run_trigger(trigger)) for trigger in triggers]
        await asyncio.wait_for(wait_until(is_true), 30)
        action()
        return await asyncio.wait_for(asyncio.gather(*waiting), 30)

    return asyncio.run(run())


def test_retrieves_have_the_tracking_parameters_of_the_first_wait_and_lists_those_of_the_connection(
    sandbox: RespanSandbox, connect: Connect
) -> None:
    extra = {"requests_per_minute": 0, "respan_params": {"environment": "test"}}
    connect(host=sandbox.url, password=sandbox.api_key, extra=extra)
    batch_ids = [sandbox.add_batch() for _ in range(8)]
    waits = [
        RespanBatchTrigger(batch_id=batch_id, poke_interval=0.2, respan_params={"customer_identifier": customer})
        for customer in ("first", "second")
        for batch_id in batch_ids
    ]

    run_until(
        waits,
        lambda: request_counts(sandbox)["list"] >= 2,
        lambda: [sandbox.change_batch(batch_id, status="completed") for batch_id in batch_ids],
    )

    sent = {(request.path == LIST, tuple(request.params.items())) for request in sandbox.requests}
    assert sent == {
        (True, (("environment", "test"),)),
        (False, (("environment", "test"), ("customer_identifier", "first"))),
    }


def test_waits_for_one_batch_share_each_check(unlimited: RespanSandbox) -> None:
    batch_id = unlimited.add_batch()

    events = run_until(
        triggers_for([batch_id] * 50),
        lambda: len(unlimited.requests) >= 3,
        lambda: unlimited.change_batch(batch_id, status="completed"),
    )

    assert {event["batch"]["status"] for event in events} == {"completed"}
    assert len(unlimited.requests) <= 6


def test_many_batches_are_checked_by_pages_of_the_list_and_each_end_is_confirmed(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(250)]

    def end_all() -> None:
        for batch_id in batch_ids:
            unlimited.change_batch(batch_id, status="completed", output_file_id=f"file-{batch_id}")

    events = run_until(
        triggers_for(batch_ids, poke_interval=1), lambda: request_counts(unlimited)["list"] >= 6, end_all
    )

    assert [event["batch"]["output_file_id"] for event in events] == [f"file-{batch_id}" for batch_id in batch_ids]
    retrieved = Counter(request.path for request in unlimited.requests if request.path != LIST)
    assert len(retrieved) == 250
    assert sum(retrieved.values()) < 300
    assert request_counts(unlimited)["list"] < 20
    assert len({request.peer for request in unlimited.requests}) <= MAX_CONCURRENT_REQUESTS


def list_item(batch_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": batch_id, "object": "batch", "status": "in_progress", **fields}


def set_list_items(sandbox: RespanSandbox, *items: dict[str, Any]) -> None:
    """Let the list show these items, whatever a retrieve returns."""
    body = {"object": "list", "data": list(items), "has_more": False}
    sandbox.inject(Fault(status=200, body=json.dumps(body)), times=None, path=f"{LIST}$")


def test_an_end_that_only_the_list_shows_does_not_end_a_wait(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(3)]
    set_list_items(unlimited, *(list_item(batch_id, status="completed") for batch_id in batch_ids))

    def end_all() -> None:
        for batch_id in batch_ids:
            unlimited.change_batch(batch_id, status="failed")

    events = run_until(triggers_for(batch_ids), lambda: request_counts(unlimited)["list"] >= 3, end_all)

    assert {event["batch"]["status"] for event in events} == {"failed"}


def test_an_end_that_the_list_does_not_show_ends_a_wait(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(3)]
    set_list_items(unlimited, *map(list_item, batch_ids))
    for batch_id in batch_ids:
        unlimited.change_batch(batch_id, status="completed")

    started_at = time.monotonic()
    events = run_until(triggers_for(batch_ids, poke_interval=0.2), lambda: True)

    assert {event["batch"]["status"] for event in events} == {"completed"}
    assert request_counts(unlimited)["list"] >= 3
    assert time.monotonic() - started_at < 0.2 * (MAX_PAUSES_BETWEEN_RETRIEVES + 10)


def test_a_batch_is_retrieved_when_it_is_about_to_expire(unlimited: RespanSandbox) -> None:
    now = int(time.time())
    batch_ids = [unlimited.add_batch(expires_at=now + 2) for _ in range(3)]
    set_list_items(unlimited, *(list_item(batch_id, expires_at=now + 2) for batch_id in batch_ids))
    for batch_id in batch_ids:
        unlimited.change_batch(batch_id, status="expired")

    started_at = time.monotonic()
    events = run_until(triggers_for(batch_ids, poke_interval=1), lambda: True)

    assert {event["batch"]["status"] for event in events} == {"expired"}
    assert time.monotonic() - started_at < MAX_PAUSES_BETWEEN_RETRIEVES


@pytest.mark.parametrize("fault", [Fault.error(403), Fault.error(404), Fault.error(500), Fault.html(200), Fault.cut()])
def test_batches_are_retrieved_one_by_one_when_the_list_cannot_be_read(unlimited: RespanSandbox, fault: Fault) -> None:
    batch_ids = [unlimited.add_batch(status="completed") for _ in range(20)]
    unlimited.inject(fault, times=None, path=f"{LIST}$")

    events = run_until(triggers_for(batch_ids), lambda: True)

    assert {event["batch"]["status"] for event in events} == {"completed"}
    assert request_counts(unlimited)["list"] <= 2
    assert request_counts(unlimited)["retrieve"] == 20


def test_the_list_is_read_again_at_once_after_an_outage(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(20)]
    unlimited.inject(Fault.error(503), times=None)

    def the_list_works_again() -> bool:
        if request_counts(unlimited)["retrieve"] >= 20:
            unlimited.heal()
        return any(request.path == LIST and request.status == 200 for request in unlimited.requests)

    asyncio.run(wait_and_cancel(batch_ids, the_list_works_again))

    assert sum(request.path != LIST and request.status == 200 for request in unlimited.requests) <= 20


def test_batches_that_the_list_does_not_show_are_retrieved(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch(status="completed") for _ in range(20)]
    set_list_items(unlimited)

    events = run_until(triggers_for(batch_ids), lambda: True)

    assert {event["batch"]["status"] for event in events} == {"completed"}
    assert request_counts(unlimited)["retrieve"] == 20
    assert request_counts(unlimited)["list"] <= 1 + 20 / RETRIEVES_PER_EMPTY_PAGE


def test_batches_behind_many_newer_ones_are_checked_by_pages_of_the_list(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(150)]
    for _ in range(250):
        unlimited.add_batch()

    asyncio.run(wait_and_cancel(batch_ids, lambda: request_counts(unlimited)["list"] >= 12, poke_interval=0.5))

    assert request_counts(unlimited)["retrieve"] < 10


def test_one_scan_of_the_list_serves_deadlines_that_passed_together(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(250)]
    ended = batch_ids[::25]
    for batch_id in ended:
        unlimited.change_batch(batch_id, status="completed")
    started_at = pendulum.now("UTC").subtract(seconds=3600 + LATE_SECONDS)
    triggers = triggers_for(batch_ids, started_at=started_at.isoformat(), timeout=3600)

    events = run_until(triggers, lambda: True)

    found = {event["batch"]["id"] for event in events if "batch" in event}
    timed_out = [event["message"] for event in events if event.get("error") == "RespanBatchTimeout"]
    assert found == set(ended)
    assert len(timed_out) == len(batch_ids) - len(ended)
    assert all(" is in_progress, " in message for message in timed_out)
    assert request_counts(unlimited)["list"] == 3
    # While a page is under way, further batches are retrieved.
    assert SAMPLE_SIZE <= request_counts(unlimited)["retrieve"] < 100


def test_a_retry_after_pauses_all_checks_but_last_ones(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(10)]
    unlimited.inject(Fault.rate_limit(retry_after=2))
    first, *others = triggers_for(batch_ids, poke_interval=0.2)
    last = RespanBatchTrigger(batch_id=unlimited.add_batch(), poke_interval=60, timeout=1)

    def end_all() -> None:
        for batch_id in batch_ids:
            unlimited.change_batch(batch_id, status="completed")

    run_until([first, *others, last], lambda: len(unlimited.requests) >= 3, end_all)

    limited, at_the_deadline, *later = unlimited.requests
    assert limited.status == 429
    assert at_the_deadline.path.endswith(f"{last.wait.batch_id}/")
    assert at_the_deadline.at - limited.at < 1.5
    assert min(request.at for request in later) - limited.at >= 2


def test_after_a_pause_one_request_tries_whether_the_limit_still_holds(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(20)]
    unlimited.inject(Fault.rate_limit(retry_after=1), times=None)

    def later() -> list[float]:
        requests = unlimited.requests
        return [request.at for request in requests if request.at > requests[0].at + 0.9]

    asyncio.run(wait_and_cancel(batch_ids, lambda: len(later()) >= 3))

    assert all(second - first >= 0.9 for first, second in itertools.pairwise(later()))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=502, headers={"X-RateLimit-Reset": "3600"}),
        Fault(status=502, headers={"Retry-After": "3600"}),
        Fault(status=500, body={"retry_after": 3600}),
        Fault(status=503, headers={"X-RateLimit-Reset": "3600"}),
        Fault(status=429, headers={"X-RateLimit-Remaining": "0"}),
    ],
)
def test_an_error_of_one_batch_does_not_pause_other_waits(unlimited: RespanSandbox, fault: Fault) -> None:
    odd, *others = [unlimited.add_batch() for _ in range(4)]
    unlimited.inject(fault, times=None, path=odd)

    async def run() -> list[Any]:
        odd_wait = asyncio.ensure_future(run_trigger(*triggers_for([odd], poke_interval=0.1)))
        await wait_until(lambda: any(request.status == fault.status for request in unlimited.requests))
        waiting = [asyncio.ensure_future(run_trigger(trigger)) for trigger in triggers_for(others, poke_interval=0.1)]
        for batch_id in others:
            unlimited.change_batch(batch_id, status="completed")
        events = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        odd_wait.cancel()
        await asyncio.gather(odd_wait, return_exceptions=True)
        return events

    assert {event["batch"]["status"] for event in asyncio.run(run())} == {"completed"}


def test_a_batch_whose_provider_limits_it_again_and_again_does_not_pause_other_waits(unlimited: RespanSandbox) -> None:
    odd, *others = [unlimited.add_batch() for _ in range(4)]
    unlimited.inject(Fault.rate_limit(retry_after=0.3), times=None, path=odd)

    async def run() -> float:
        waiting = [
            asyncio.ensure_future(run_trigger(trigger)) for trigger in triggers_for([odd, *others], poke_interval=0.1)
        ]
        await wait_until(lambda: sum(request.status == 429 for request in unlimited.requests) >= 4)
        for wait in waiting:
            wait.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        requests = unlimited.requests
        third = [request.at for request in requests if request.status == 429][2]
        return min(request.at - third for request in requests if request.at > third and odd not in request.path)

    assert asyncio.run(run()) < 0.3


def test_the_rate_limit_includes_retries(sandbox: RespanSandbox, connect: Connect) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 20})
    sandbox.inject(Fault.error(503), times=None)
    batch_ids = [sandbox.add_batch() for _ in range(30)]

    async def try_for(seconds: float) -> None:
        waiting = [asyncio.ensure_future(run_trigger(t)) for t in triggers_for(batch_ids, poke_interval=0.1)]
        await asyncio.sleep(seconds)
        for wait in waiting:
            wait.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(try_for(8))
    # 18 of the 20 requests a minute are used: 5 are sent at once, the others 3.4 seconds apart.
    assert 5 <= len(sandbox.requests) <= 8


def test_when_the_rate_limit_is_too_low_the_most_overdue_come_first_and_one_warning_is_logged(
    sandbox: RespanSandbox, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 60})
    sandbox.inject(Fault.error(403), times=None, path=f"{LIST}$")
    batch_ids = [sandbox.add_batch() for _ in range(12)]

    with caplog.at_level(logging.WARNING, logger="airflow_respan.polling.poller"):
        asyncio.run(wait_and_cancel(batch_ids, lambda: request_counts(sandbox)["retrieve"] >= 26))

    paths = [request.path for request in sandbox.requests if request.path != LIST]
    assert len(set(paths[:12])) == 12
    assert len(set(paths[12:24])) == 12
    [warning] = [record.getMessage() for record in caplog.records if record.name == "airflow_respan.polling.poller"]
    assert warning == (
        "Connection 'respan_default' has waits for 12 batches, and 60 requests a minute are too few to check each as "
        "often as its poke_interval says. The most overdue are checked first. Raise poke_interval, or the connection's "
        "requests_per_minute if your organisation may send more."
    )


def test_no_warning_about_the_rate_limit_is_logged_in_an_outage(
    sandbox: RespanSandbox, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 60})
    sandbox.inject(Fault.error(503), times=None)
    batch_ids = [sandbox.add_batch() for _ in range(12)]

    asyncio.run(wait_and_cancel(batch_ids, lambda: request_counts(sandbox)["retrieve"] >= 20))

    lines = [(record.name, record.getMessage()) for record in caplog.records]
    assert not [message for name, message in lines if name == "airflow_respan.polling.poller"]
    assert [message for name, message in lines if name == "airflow_respan.waiting.policy"]


async def wait_and_cancel(batch_ids: list[str], is_true: Callable[[], bool], *, poke_interval: float = 0.1) -> None:
    """Run waits until the condition is true, and cancel them."""
    triggers = triggers_for(batch_ids, poke_interval=poke_interval)
    waiting = [asyncio.ensure_future(run_trigger(trigger)) for trigger in triggers]
    await asyncio.wait_for(wait_until(is_true), 60)
    for wait in waiting:
        wait.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_a_cancelled_wait_does_not_affect_other_waits(unlimited: RespanSandbox) -> None:
    batch_ids = [unlimited.add_batch() for _ in range(3)]

    async def cancel_the_first() -> list[Any]:
        first, twin, other = (
            asyncio.ensure_future(run_trigger(trigger))
            for trigger in triggers_for([batch_ids[0], batch_ids[0], batch_ids[1]], poke_interval=0.2)
        )
        unlimited.inject(Fault.slow(0.5))
        await wait_until(lambda: bool(unlimited.requests))
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        for batch_id in batch_ids:
            unlimited.change_batch(batch_id, status="completed")
        return await asyncio.wait_for(asyncio.gather(twin, other), 20)

    assert [event["batch"]["status"] for event in asyncio.run(cancel_the_first())] == ["completed", "completed"]


def test_an_error_of_one_wait_does_not_affect_other_waits(unlimited: RespanSandbox) -> None:
    batch_id = unlimited.add_batch(status="completed")

    not_found, completed = run_until(
        [
            RespanBatchTrigger(batch_id="batch_none", poke_interval=0.2, not_found_grace=0),
            RespanBatchTrigger(batch_id=batch_id, poke_interval=0.2),
        ],
        lambda: True,
    )

    assert not_found["error"] == "RespanNotFoundError"
    assert completed["batch"]["status"] == "completed"


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_the_poller_is_closed_with_the_last_wait_and_created_again(unlimited: RespanSandbox) -> None:
    batch_id = unlimited.add_batch(status="completed")

    async def twice() -> list[Any]:
        events = []
        for _ in range(2):
            events += await asyncio.gather(*(run_trigger(t) for t in triggers_for([batch_id] * 2, poke_interval=0.1)))
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return events

    for _loop in range(2):
        assert len(asyncio.run(twice())) == 4
    assert len({request.peer for request in unlimited.requests}) == 4


def test_two_connections_do_not_share_a_rate_limit(sandbox: RespanSandbox, connect: Connect) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"requests_per_minute": 1})
    connect(conn_id="respan_other", host=sandbox.url, password=sandbox.api_key)
    first, other = sandbox.add_batch(status="completed"), sandbox.add_batch(status="completed")

    events = run_until(
        [
            RespanBatchTrigger(batch_id=first, poke_interval=0.1),
            *(
                RespanBatchTrigger(batch_id=other, poke_interval=0.1, respan_conn_id="respan_other", provider_id=p)
                for p in ("openai", "parasail")
            ),
        ],
        lambda: True,
    )

    assert len(events) == 3
