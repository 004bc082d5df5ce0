"""Waits in a triggerer while their connection changes: all go on with the new settings, at few look-ups."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing
from typing import Any

import pytest

from airflow_respan.polling.poller import Poller
from airflow_respan.triggers.batch import RespanBatchTrigger
from airflow_respan.waiting.policy import BatchWait
from tests.look_ups import CountingBackend
from tests.polling.organisations import Answer, Organisations, running

Connect = Callable[..., None]
LookUps = type[CountingBackend]
LIST = "/api/v1/batches/"
IDS = [f"batch_{number:03}" for number in range(100)]
NO_LIMIT = {"requests_per_minute": 0}


@pytest.fixture
def services() -> Iterator[tuple[Organisations, Organisations]]:
    """Two services, as two hosts."""
    with ExitStack() as stack:
        yield stack.enter_context(running(Organisations())), stack.enter_context(running(Organisations()))


async def run_trigger(batch_id: str, **options: Any) -> Any:
    trigger = RespanBatchTrigger(batch_id=batch_id, **{"poke_interval": 0.3, "not_found_grace": 0, **options})
    [event] = [event.payload async for event in trigger.run()]
    return event


def run_through(
    change: Callable[[], None], *, when: Callable[[], bool], joins: bool = False, count: int = 100
) -> list[Any]:
    """Run waits, change the connection while they are waiting, and return all events.

    :param when: the change is made once this is true
    :param joins: whether another wait for the first batch begins after the change
    """

    async def run() -> list[Any]:
        waiting = [asyncio.ensure_future(run_trigger(batch_id)) for batch_id in IDS[:count]]
        async with asyncio.timeout(20):
            while not when():
                await asyncio.sleep(0.01)
            change()
            if joins:
                waiting.append(asyncio.ensure_future(run_trigger(IDS[0])))
            return await asyncio.gather(*waiting)

    return asyncio.run(run())


def status(code: int, **headers: str) -> Callable[[str, str], Answer]:
    return lambda _key, _path: (code, headers, {"error": "gone"})


@pytest.mark.parametrize("old_key", ["valid", "revoked", "forbidden"])
def test_waits_move_to_another_organisation(
    services: tuple[Organisations, Organisations], connect: Connect, look_ups: LookUps, old_key: str
) -> None:
    service, _other = services
    service.statuses = {"old-key": dict.fromkeys(IDS, "in_progress")}
    connect(host=service.url, password="old-key", extra=NO_LIMIT)

    def move() -> None:
        service.statuses["new-key"] = dict.fromkeys(IDS, "completed")
        service.statuses["old-key"] = {}
        if old_key == "revoked":
            del service.statuses["old-key"]
        if old_key == "forbidden":
            service.instead = lambda key, path: status(403)(key, path) if key == "old-key" else None
        connect(host=service.url, password="new-key", extra=NO_LIMIT)

    events = run_through(move, when=lambda: len(service.requests) > 2)

    assert [event.get("batch", event)["status"] for event in events] == ["completed"] * 100
    assert look_ups.look_ups["respan_default"] <= 10


@pytest.mark.parametrize(
    "old_host",
    [
        "does not know the batches",
        "refuses the key",
        "redirects",
        "is a gateway without service",
        "sends a page of a parking company",
        "cuts connections",
        "still shows old statuses",
    ],
)
def test_waits_move_to_another_host(
    services: tuple[Organisations, Organisations], connect: Connect, look_ups: LookUps, old_host: str
) -> None:
    old, new = services
    old.statuses = {"a-key": dict.fromkeys(IDS, "in_progress")}
    connect(host=old.url, password="a-key", extra=NO_LIMIT)

    def move() -> None:
        new.statuses = {"a-key": dict.fromkeys(IDS, "completed")}
        connect(host=new.url, password="a-key", extra=NO_LIMIT)
        if old_host == "does not know the batches":
            old.statuses["a-key"] = {}
        if old_host == "refuses the key":
            old.statuses = {}
        if old_host == "redirects":
            old.instead = status(301, Location=new.url)
        if old_host == "is a gateway without service":
            old.instead = status(502, **{"X-RateLimit-Reset": "3600"})
        if old_host == "sends a page of a parking company":
            old.instead = lambda _key, _path: (200, {}, "<html>Buy this domain</html>")
        if old_host == "cuts connections":
            old.instead = lambda _key, _path: (200, {"Content-Length": "100000"}, "{")

    events = run_through(move, when=lambda: len(old.requests) > 2, joins=old_host == "still shows old statuses")

    assert {event.get("batch", event)["status"] for event in events} == {"completed"}
    assert look_ups.look_ups["respan_default"] <= 10


SETTINGS = {
    "rate limit": ({"requests_per_minute": 1}, NO_LIMIT, "a-key"),
    "timeout": ({"timeout": 0.05, **NO_LIMIT}, {"timeout": 30, **NO_LIMIT}, "a-key"),
    "proxies": ({"proxies": {"all": "http://127.0.0.1:9"}, **NO_LIMIT}, NO_LIMIT, "a-key"),
    "headers": ({"headers": {"X-Team": "old"}, **NO_LIMIT}, {"headers": {"X-Team": "new"}, **NO_LIMIT}, "a-key/new"),
    "provider": ({"provider_id": "old", **NO_LIMIT}, {"provider_id": "new", **NO_LIMIT}, "a-key/new"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_waits_use_settings_that_changed_before_a_wait_begins(
    services: tuple[Organisations, Organisations], connect: Connect, look_ups: LookUps, name: str
) -> None:
    service, _other = services
    before, after, organisation = SETTINGS[name]
    service.statuses = dict.fromkeys(("a-key", "a-key/old"), dict.fromkeys(IDS, "in_progress"))
    service.instead = lambda _key, _path: time.sleep(0.1)
    connect(host=service.url, password="a-key", extra=before)
    started_at = time.monotonic()

    def change() -> None:
        connect(host=service.url, password="a-key", extra=after)
        service.statuses[organisation] = dict.fromkeys(IDS, "completed")

    events = run_through(change, when=lambda: time.monotonic() - started_at > 0.5, joins=True)

    assert {event.get("batch", event)["status"] for event in events} == {"completed"}
    assert look_ups.look_ups["respan_default"] <= 10


def test_the_connection_is_looked_up_again_without_a_new_wait_and_without_an_error(
    services: tuple[Organisations, Organisations], connect: Connect
) -> None:
    old, new = services
    old.statuses = {"a-key": dict.fromkeys(IDS, "in_progress")}
    new.statuses = {"a-key": dict.fromkeys(IDS, "completed")}
    connect(host=old.url, password="a-key", extra=NO_LIMIT)

    async def run() -> list[Any]:
        async with aclosing(Poller("respan_default", max_age_seconds=0.2)) as poller:
            waits = [
                asyncio.ensure_future(poller.wait_for(BatchWait(batch_id=batch_id, poke_interval=0.2)))
                for batch_id in IDS[:5]
            ]
            async with asyncio.timeout(20):
                while not old.requests:
                    await asyncio.sleep(0.01)
                connect(host=new.url, password="a-key", extra=NO_LIMIT)
                return await asyncio.gather(*waits)

    assert [batch.status for batch in asyncio.run(run())] == ["completed"] * 5


def test_a_thousand_waits_that_begin_together_share_few_look_ups(
    services: tuple[Organisations, Organisations], connect: Connect, look_ups: LookUps
) -> None:
    service, _other = services
    ids = [f"batch_{number:04}" for number in range(1000)]
    service.statuses = {"a-key": dict.fromkeys(ids[:500], "completed")}  # the others are not found
    connect(host=service.url, password="a-key", extra=NO_LIMIT)

    async def run() -> list[Any]:
        return await asyncio.gather(*(run_trigger(batch_id) for batch_id in ids))

    events = asyncio.run(run())

    assert [event.get("error") for event in events] == [None] * 500 + ["RespanNotFoundError"] * 500
    assert look_ups.look_ups["respan_default"] <= 10


def test_a_thousand_waits_whose_connection_is_missing_share_few_look_ups(airflow_db: None, look_ups: LookUps) -> None:
    async def run() -> list[Any]:
        return await asyncio.gather(*(run_trigger(f"batch_{number:04}") for number in range(1000)))

    events = asyncio.run(run())

    assert {event["error"] for event in events} == {"RespanMissingConnectionError"}
    assert look_ups.look_ups["respan_default"] <= 10
