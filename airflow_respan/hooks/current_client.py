"""The asynchronous client for the settings that an Airflow connection has now.

A wait may take days, and its connection may change meanwhile: another key, host, proxy, timeout or rate limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from airflow_respan.exceptions import RespanError, RespanTransientError
from airflow_respan.hooks.lookup import alook_up_settings

if TYPE_CHECKING:
    from airflow_respan.api.async_client import Acquire, AsyncRespanClient
    from airflow_respan.api.connection import RespanConnection
    from airflow_respan.api.request import Request
    from airflow_respan.compat import BaseHook

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_AGE_SECONDS = 300.0
"""How long settings are used before the connection is looked up again."""

OUTAGE_INTERVAL_SECONDS = 5.0
"""The shortest time between two look-ups while requests get no usable response."""

MIN_INTERVAL_SECONDS = 1.0
"""The shortest time from one look-up to the next. All that need one meanwhile share the next."""


class CurrentClient:
    """Sends requests with the settings that an Airflow connection has now. For one event loop.

    The connection is looked up at the first request, and again

    * if Respan refuses a request, because the key, the organisation or the host may have changed,
    * if a request gets no usable response; in an outage, at most every :data:`OUTAGE_INTERVAL_SECONDS`,
    * if the settings are older than :data:`MAX_AGE_SECONDS`.

    If the settings have changed in any way, a new client takes the place of the old one, and the request that failed
    is sent again. The old client is closed after its last request.

    :param hook: the hook whose ``get_connection`` is used
    :param conn_id: the id of the connection
    :param acquire: awaited before each HTTP request; applies a rate limit
    :param on_failure: called when a request has failed, before the connection is looked up again
    :param on_settings: called with the settings at the first look-up, and each time they have changed
    :param max_age_seconds: how long settings are used before the connection is looked up again
    """

    def __init__(
        self,
        hook: BaseHook,
        conn_id: str,
        *,
        acquire: Acquire | None = None,
        on_failure: Callable[[], None] | None = None,
        on_settings: Callable[[RespanConnection], None] | None = None,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._hook = hook
        self._conn_id = conn_id
        self._acquire = acquire
        self._on_failure = on_failure
        self._on_settings = on_settings
        self._max_age_seconds = max_age_seconds
        self._client: AsyncRespanClient | None = None
        self._is_outage = False
        self._failure: RespanError | None = None
        self._failed_at = float("-inf")
        self._looked_up_at = float("-inf")
        self._running_look_up: asyncio.Task[AsyncRespanClient] | None = None
        self._next_look_up: asyncio.Task[AsyncRespanClient] | None = None
        self._look_ups: set[asyncio.Task[AsyncRespanClient]] = set()
        self._look_up_lock = asyncio.Lock()

    async def send(self, build: Callable[[RespanConnection], Request[T]]) -> T:
        """Send a request and return its result; after a change of the connection, send it again.

        :param build: returns the request for the settings of the connection
        :raises RespanError: as :meth:`AsyncRespanClient.send`, or because the connection cannot be looked up
        """
        client = await self._client_for_request()
        try:
            result = await client.send(build(client.connection))
        except RespanError as error:
            newer = await self._newer_client(client, error)
            if newer is None:
                raise
            result = await newer.send(build(newer.connection))
        self._is_outage = False
        return result

    async def look_up(self) -> AsyncRespanClient:
        """Look the connection up, now or within a second, and return the client for its settings.

        One look-up serves all who call this before it begins.

        :raises RespanError: if the connection cannot be looked up, or cannot be used; the client stays as it was
        """
        if self._next_look_up is None:
            self._next_look_up = asyncio.create_task(self._look_up())
            self._look_ups.add(self._next_look_up)
            self._next_look_up.add_done_callback(self._on_looked_up)
        return await asyncio.shield(self._next_look_up)

    async def aclose(self) -> None:
        """Close the client. It must not be used afterwards."""
        for task in self._look_ups:
            task.cancel()
        await asyncio.gather(*self._look_ups, return_exceptions=True)
        if self._client:
            await self._client.aclose()

    async def _client_for_request(self) -> AsyncRespanClient:
        if self._client is None:
            if self._failure and self.loop.time() - self._failed_at < MIN_INTERVAL_SECONDS:
                raise self._failure.with_traceback(None)
            # A look-up that has begun is good enough, because there are no older settings.
            return await (asyncio.shield(self._running_look_up) if self._running_look_up else self.look_up())
        if self._age_seconds() > self._max_age_seconds:
            with suppress(RespanError):  # the settings that worked until now are better than none
                await self.look_up()
        return self._client

    async def _newer_client(self, client: AsyncRespanClient, error: RespanError) -> AsyncRespanClient | None:
        """Return the client with which to send a failed request again, or None if the settings are still the same.

        :param client: the client that has sent it
        :raises RespanError: instead of an error that would end a wait, if it is not known whether the settings changed
        """
        if self._client is client:
            is_transient = isinstance(error, RespanTransientError)
            if is_transient and self._is_outage and self._age_seconds() < OUTAGE_INTERVAL_SECONDS:
                return None
            self._is_outage = is_transient
            if self._on_failure:
                self._on_failure()
            try:
                await self.look_up()
            except RespanError:
                if not is_transient:
                    raise
        return self._client if self._client is not client else None

    def _age_seconds(self) -> float:
        return self.loop.time() - self._looked_up_at

    async def _look_up(self) -> AsyncRespanClient:
        async with self._look_up_lock:
            await asyncio.sleep(max(0.0, MIN_INTERVAL_SECONDS - self._age_seconds()))
            # Who calls from now on needs a later look-up, because this one may have read the old settings by then.
            self._running_look_up, self._next_look_up = self._next_look_up, None
            self._looked_up_at = self.loop.time()
            try:
                settings = await alook_up_settings(self._hook, self._conn_id)
                if self._client and settings == self._client.connection:
                    return self._client
                return await self._replace_client(settings)
            except RespanError as error:
                self._failure, self._failed_at = error, self.loop.time()
                raise
            finally:
                self._running_look_up = None

    async def _replace_client(self, settings: RespanConnection) -> AsyncRespanClient:
        from airflow_respan.api.async_client import AsyncRespanClient

        client = await AsyncRespanClient.open(settings, acquire=self._acquire)
        old, self._client = self._client, client
        if self._on_settings:
            self._on_settings(settings)
        if old:
            log.info("Connection %s has changed; its new settings are used from now on.", self._conn_id)
            await old.retire()
        return client

    def _on_looked_up(self, task: asyncio.Task[AsyncRespanClient]) -> None:
        self._look_ups.discard(task)
        if not task.cancelled():
            task.exception()  # no warning that nobody read it: those who waited may have been cancelled
