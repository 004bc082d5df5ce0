"""A connection that changes while a hook is in use, on a worker and on a triggerer."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from airflow_respan.api import endpoints
from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanAuthenticationError, RespanNotFoundError, RespanTransientError
from airflow_respan.hooks.current_client import CurrentClient
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.look_ups import CountingBackend

Connect = Callable[..., None]
LookUps = type[CountingBackend]


def get_twice_on_worker(batch_id: str, between: Callable[[], None]) -> Batch:
    hook = RespanHook()
    hook.get_batch(batch_id)
    between()
    return hook.get_batch(batch_id)


def get_twice_on_triggerer(batch_id: str, between: Callable[[], None]) -> Batch:
    async def get() -> Batch:
        async with aclosing(RespanHook()) as hook:
            await hook.aget_batch(batch_id)
            between()
            return await hook.aget_batch(batch_id)

    return asyncio.run(get())


@pytest.fixture(params=[get_twice_on_worker, get_twice_on_triggerer], ids=["worker", "triggerer"])
def get_twice(request: pytest.FixtureRequest) -> Callable[[str, Callable[[], None]], Batch]:
    """Retrieve a batch, call a function, and retrieve the batch again by the same hook."""
    return request.param


@pytest.mark.parametrize(
    "fault",
    [Fault.error(401), Fault.error(403), Fault.error(404), Fault.error(502), Fault.html(200), Fault.html(400), "down"],
)
def test_a_call_that_failed_is_sent_again_with_the_new_settings(
    connected: RespanSandbox, connect: Connect, get_twice: Callable[..., Batch], fault: Fault | str
) -> None:
    batch_id = connected.add_batch()
    with RespanSandbox(pace=None) as new:
        assert new.add_batch(status="completed") == batch_id

        def change() -> None:
            connect(host=new.url, password=new.api_key)
            if isinstance(fault, Fault):
                connected.inject(fault, times=None)
            else:
                connected.stop()

        assert get_twice(batch_id, change).status == "completed"


def test_the_error_stays_if_the_connection_is_the_same(
    connected: RespanSandbox, get_twice: Callable[..., Batch], look_ups: LookUps
) -> None:
    with pytest.raises(RespanNotFoundError):
        get_twice(connected.add_batch(), lambda: connected.inject(Fault.error(404)))

    assert len(connected.requests) == 2
    assert look_ups.look_ups["respan_default"] == 2


def test_an_error_that_may_pass_stays_if_the_connection_is_missing(
    connected: RespanSandbox, get_twice: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove() -> None:
        connected.inject(Fault.error(503), times=None)
        monkeypatch.delenv("AIRFLOW_CONN_RESPAN_DEFAULT")

    with pytest.raises(RespanTransientError, match=r"^503 Service Unavailable: "):
        get_twice(connected.add_batch(), remove)


@pytest.mark.parametrize("fault", [Fault.lost_answer(), Fault.error(500), Fault.error(404)])
def test_a_create_that_failed_is_not_sent_again_with_new_settings(
    connected: RespanSandbox, connect: Connect, fault: Fault
) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(b"{}\n")).id
    connected.inject(fault)
    connect(host=connected.url, password=connected.api_key, extra={"timeout": 20})

    with pytest.raises((RespanTransientError, RespanNotFoundError)):
        hook.create_batch(file_id)

    assert len([request for request in connected.requests if request.path == "/api/v1/batches/"]) == 1


class Client:
    """The client of a triggerer, with the settings that it was told about."""

    def __init__(self, **options: Any) -> None:
        self.timeouts: list[float] = []
        self.client = CurrentClient(
            RespanHook(),
            "respan_default",
            on_settings=lambda settings: self.timeouts.append(settings.timeout),
            **options,
        )

    async def get(self, batch_id: str) -> Batch:
        return await self.client.send(lambda connection: endpoints.get_batch(connection, batch_id))


def test_settings_that_are_old_are_looked_up_again(connected: RespanSandbox, connect: Connect) -> None:
    batch_id = connected.add_batch()

    async def run() -> list[float]:
        client = Client(max_age_seconds=0)
        async with aclosing(client.client):
            await client.get(batch_id)
            connect(host=connected.url, password=connected.api_key, extra={"timeout": 20})
            await client.get(batch_id)
            return client.timeouts

    assert asyncio.run(run()) == [30, 20]


def test_calls_that_fail_together_share_a_look_up(connected: RespanSandbox, look_ups: LookUps) -> None:
    batch_id = connected.add_batch()

    async def run() -> None:
        client = Client()
        async with aclosing(client.client):
            await client.get(batch_id)
            connected.inject(Fault.error(401), times=None)
            errors = await asyncio.gather(*(client.get(batch_id) for _ in range(200)), return_exceptions=True)
            assert {type(error) for error in errors} == {RespanAuthenticationError}

    asyncio.run(run())
    assert look_ups.look_ups["respan_default"] <= 4


def test_in_an_outage_the_connection_is_looked_up_once_in_five_seconds(
    connected: RespanSandbox, look_ups: LookUps
) -> None:
    batch_id = connected.add_batch()

    async def run() -> None:
        client = Client()
        async with aclosing(client.client):
            await client.get(batch_id)
            connected.stop()
            for _ in range(3):
                with pytest.raises(RespanTransientError):
                    await client.get(batch_id)

    asyncio.run(run())
    assert look_ups.look_ups["respan_default"] == 2


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_the_old_client_is_closed_after_its_last_request(
    connected: RespanSandbox, connect: Connect, recwarn: pytest.WarningsRecorder
) -> None:
    slow, batch_id = connected.add_batch(), connected.add_batch()
    connected.inject(Fault.slow(1.5), path=slow)

    async def run() -> None:
        client = Client()
        async with aclosing(client.client):
            await client.get(batch_id)
            under_way = asyncio.ensure_future(client.get(slow))
            while not any(slow in request.path for request in connected.requests):
                await asyncio.sleep(0.01)
            connect(host=connected.url, password=connected.api_key, extra={"timeout": 20})
            await client.client.look_up()
            assert client.timeouts == [30, 20]
            assert not under_way.done()
            assert (await under_way).id == slow

    asyncio.run(run())
    assert [str(warning.message) for warning in recwarn if "nclosed" in str(warning.message)] == []
