"""Sends the requests of a poller: with the settings that the connection has now, and within the rate limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, TypeVar

from airflow_respan.api.connection import DEFAULT_REQUESTS_PER_MINUTE, RespanConnection
from airflow_respan.api.request import Request
from airflow_respan.exceptions import RespanAPIError, RespanTransientError
from airflow_respan.hooks.current_client import MAX_AGE_SECONDS, CurrentClient
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.polling.rate_limit import RateLimit
from airflow_respan.polling.request_slots import MAX_CONCURRENT_REQUESTS, RequestSlots
from airflow_respan.polling.subscriber import NEVER

log = logging.getLogger(__name__)

T = TypeVar("T")


class RequestSender:
    """The requests of a poller that are under way, and the settings, places and rate limit for the next ones.

    :param respan_conn_id: the Airflow connection
    :param on_change: called when the settings have changed
    :param on_done: called with each task of a request when it has ended
    :param max_age_seconds: how long settings are used before the connection is looked up again
    """

    def __init__(
        self,
        respan_conn_id: str,
        *,
        on_change: Callable[[], None],
        on_done: Callable[[asyncio.Task[Any]], None],
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        self.rate_limit = RateLimit()
        self.slots = RequestSlots()
        self.changed = asyncio.Event()
        """Set when a request has ended, or the settings have changed; the poller sets it for new checks."""
        self._conn_id = respan_conn_id
        self._on_change = on_change
        self._on_done = on_done
        self._max_age_seconds = max_age_seconds
        self._client = CurrentClient(
            RespanHook(respan_conn_id),
            respan_conn_id,
            acquire=self._acquire,
            on_failure=self._give_up_place,
            on_settings=self._use_settings,
            max_age_seconds=2 * max_age_seconds,  # keep_settings_current() looks up before, so no request waits for it
        )
        self._settings: RespanConnection | None = None
        self._look_up_wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._counted_tasks: set[asyncio.Task[Any]] = set()
        """Tasks whose first request is already recorded in the rate limit."""

    @property
    def requests_per_minute(self) -> int:
        """The rate limit of the connection; the default before it was looked up."""
        return self._settings.requests_per_minute if self._settings else DEFAULT_REQUESTS_PER_MINUTE

    def seconds_until_free(self, now: float) -> float:
        """Return how many seconds the next request has to wait; 0 if it can be sent, infinity if one must end first."""
        at_most = MAX_CONCURRENT_REQUESTS if self.rate_limit.is_tested else 1
        return self.slots.seconds_until_free(now, at_most=at_most) or self.rate_limit.seconds_until_free(
            self.requests_per_minute, now
        )

    def may_send_postponed(self, now: float) -> bool:
        """Return whether a batch whose last retrieve got no response may be retrieved."""
        return not self.rate_limit.seconds_paused(now) and (self.rate_limit.is_tested or not self._tasks)

    def start(self, request: Coroutine[Any, Any, None], now: float, *, is_slow: bool = False) -> None:
        """Start a task that sends a request by :meth:`result_of`.

        :param is_slow: whether it is for a batch whose last retrieve got no response
        """
        task = asyncio.create_task(request)
        self.slots.record_start(task, now, is_slow=is_slow)
        if self._settings:  # else the limit is not known yet, and the task waits for it later, in _acquire()
            self.rate_limit.record_request(now)
            self._counted_tasks.add(task)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    async def result_of(self, build: Callable[[RespanConnection], Request[T]], *, key: Hashable) -> T | Exception:
        """Send a request, and return its result or its error.

        :param build: returns the request for the settings of the connection
        :param key: what the request is for, if the service refuses it because of a limit
        """
        try:
            result = await self._client.send(build)
        except Exception as error:  # noqa: BLE001 (each wait decides whether it continues after this error)
            if isinstance(error, RespanTransientError) and error.is_rate_limit:
                self.rate_limit.record_refusal(key, error.retry_after or 0.0, time.monotonic())
            elif isinstance(error, RespanAPIError):
                self.rate_limit.record_answer(key, time.monotonic())
            return error
        self.rate_limit.record_answer(key, time.monotonic())
        return result

    def is_slow(self, now: float) -> bool:
        """Return whether the request of the current task was sent long ago."""
        return self.slots.is_slow(asyncio.current_task(), now)

    async def wait_for_change(self, seconds: float) -> None:
        """Wait for :attr:`changed`, but not longer than some seconds."""
        self.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == NEVER else seconds):
                await self.changed.wait()

    def look_up_soon(self) -> None:
        """Ask :meth:`keep_settings_current` to look the connection up."""
        self._look_up_wanted.set()

    async def keep_settings_current(self) -> None:
        """Look the connection up when :meth:`look_up_soon` was called, and when the settings are old; never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._max_age_seconds):
                    await self._look_up_wanted.wait()
            self._look_up_wanted.clear()
            try:
                await self._client.look_up()
            except Exception as error:  # noqa: BLE001 (the requests use the settings that are known)
                log.info("The look-up of connection %r failed: %s", self._conn_id, error)

    async def aclose(self) -> None:
        """Cancel all requests, and close the session."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _acquire(self, _connection: RespanConnection) -> None:
        """Wait until the rate limit allows a request; the client calls this before each one, retries included."""
        task = asyncio.current_task()
        if task in self._counted_tasks:
            self._counted_tasks.discard(task)
            return
        self.slots.record_start(task, NEVER)  # it keeps its place while it waits
        while seconds := self.rate_limit.seconds_until_free(self.requests_per_minute, now := time.monotonic()):
            await self.wait_for_change(seconds)
        self.rate_limit.record_request(now)
        self.slots.record_start(task, now)

    def _give_up_place(self) -> None:
        """Free the place of the current task, because its request has ended."""
        if not self.is_slow(time.monotonic()):
            self.slots.record_end(asyncio.current_task())
            self.changed.set()

    def _use_settings(self, settings: RespanConnection) -> None:
        old, self._settings = self._settings, settings
        if old:
            if (old.base_url, old.api_key) != (settings.base_url, settings.api_key):
                self.rate_limit.end_pause()
            self._on_change()
        self.changed.set()

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._counted_tasks.discard(task)
        self.slots.record_end(task)
        self.changed.set()
        self._on_done(task)
