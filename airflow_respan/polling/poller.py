"""Looks at batches for all who wait in one event loop by one connection: one look-up, one session, one budget.

Each wait says when it wants to look next (``wait.py``), and ``schedule.py`` chooses the request that serves most.
A list may be stale, so it is only a hint: an end is believed when a retrieve has confirmed it, and each batch is
retrieved now and then, and about the time when it expires, whatever the list says.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from airflow_respan.api.batch import Batch
from airflow_respan.api.connection import DEFAULT_REQUESTS_PER_MINUTE, RespanConnection
from airflow_respan.api.endpoints import MAX_PAGE_SIZE
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.polling.list_scan import ListScan
from airflow_respan.polling.rate_limit import RateLimit
from airflow_respan.polling.schedule import Schedule
from airflow_respan.polling.subscriber import NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch
from airflow_respan.waiting.policy import BatchWait, TimedOut

log = logging.getLogger(__name__)

MAX_CONCURRENT_REQUESTS = 8
"""Requests that are on their way at the same time, and so connections to the service."""


class Poller:
    """All looks of one event loop by one connection; to be had from :func:`shared_poller`.

    :param respan_conn_id: the Airflow connection
    """

    def __init__(self, respan_conn_id: str) -> None:
        self.users = 0
        self._conn_id = respan_conn_id
        self._hook = RespanHook(respan_conn_id, acquire=self._acquire)
        self._schedule = Schedule()
        self._rate_limit = RateLimit()
        self._per_minute = DEFAULT_REQUESTS_PER_MINUTE
        self._has_warned = False
        self._is_known = False
        self._error: BaseException | None = None
        self._log_key = asyncio.Event()
        self._places = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._requests: set[asyncio.Task[Any]] = set()
        self._paid: set[asyncio.Task[Any]] = set()
        # In no context of whoever came first: its log is not the others'.
        self._work = asyncio.create_task(self._serve(), context=contextvars.Context())
        self._work.add_done_callback(self._ended)

    async def wait_for(
        self, wait: BatchWait, *, provider_id: str | None = None, respan_params: Mapping[str, Any] | None = None
    ) -> Batch | TimedOut:
        """Look at a batch, together with all others who wait for it, until the wait is over.

        A look may be early by up to a quarter of its pause, if a request shows the batch anyway; not so the last one,
        at the deadline, which is a retrieve.

        :param wait: says when to look, and what a look means
        :param provider_id: the provider that the batch went to, or None for the connection's
        :param respan_params: tracking parameters; those of the first who waits for the batch are sent
        :return: the batch that has ended, or the time-out; raising that is the sensor's business
        :raises RespanError: what the wait will not pass over
        """
        if self._error:
            raise self._broken()
        target = self._schedule.target(wait.batch_id, provider_id, respan_params)
        watch = Subscriber(wait, partial(self._schedule_check, target))
        target.subscribers[watch] = None
        try:
            watch.plan_check()  # first of all a pause: the worker has just looked, or another triggerer has
            return await watch.over
        finally:
            del target.subscribers[watch]
            if not target.subscribers:
                self._schedule.forget(target)

    def _schedule_check(self, target: WatchedBatch, watch: Subscriber) -> None:
        if self._schedule.add(target, watch):
            self._log_key.set()

    async def aclose(self) -> None:
        """End what is under way, and close the session."""
        for task in (self._work, *self._requests):
            task.cancel()
        await asyncio.gather(self._work, *self._requests, return_exceptions=True)
        await self._hook.aclose()

    async def _serve(self) -> None:
        while True:
            await self._places.acquire()
            request = asyncio.create_task(await self._next_request())
            self._rate_limit.record_request(time.monotonic())
            self._paid.add(request)
            self._requests.add(request)
            request.add_done_callback(self._ended)
            if not self._is_known:  # else each of the first requests would look the connection up
                await asyncio.wait([request])
                self._is_known = True

    async def _next_request(self) -> Coroutine[Any, Any, None]:
        while True:
            await self._free()
            now = time.monotonic()
            chosen = self._schedule.choose(now, is_paused=self._rate_limit.seconds_paused(now) > 0)
            if self._schedule.is_late and not self._has_warned and self._rate_limit.is_limiting(self._per_minute, now):
                self._warn()
            if isinstance(chosen, WatchedBatch):
                return self._retrieve(chosen)
            if isinstance(chosen, ListScan):
                return self._read_page(chosen)
            await self._sleep()

    async def _acquire(self, connection: RespanConnection) -> None:
        """Let a request go out when the budget allows it: each one asks, retries included."""
        self._per_minute = connection.requests_per_minute
        request = asyncio.current_task()
        if request in self._paid:
            self._paid.discard(request)
            return
        await self._free()
        self._rate_limit.record_request(time.monotonic())

    async def _free(self) -> None:
        while True:
            seconds = self._rate_limit.seconds_until_free(self._per_minute, time.monotonic())
            if not seconds:
                return
            await asyncio.sleep(seconds)

    async def _sleep(self) -> None:
        """Sleep until a look is due, a request has come back, or the service may be asked again."""
        self._log_key.clear()
        now = time.monotonic()
        held = self._rate_limit.seconds_paused(now)
        seconds = min(self._schedule.next_due() - now, held or NEVER)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == NEVER else seconds):
                await self._log_key.wait()

    async def _retrieve(self, target: WatchedBatch) -> None:
        try:
            batch = await self._hook.aget_batch(
                target.batch_id, respan_params=target.respan_params, provider_id=target.provider_id
            )
        except Exception as error:  # noqa: BLE001 (what it means for a wait is the wait's to say)
            self._apply_retry_after(error)
            self._schedule.retrieve_failed(target, error, time.monotonic())
        else:
            self._schedule.retrieved(target, batch, time.monotonic())

    async def _read_page(self, sweep: ListScan) -> None:
        try:
            page = await self._hook.alist_batches(limit=MAX_PAGE_SIZE, after=sweep.after, provider_id=sweep.provider_id)
        except Exception as error:  # noqa: BLE001 (nobody waits for the list itself: there are retrieves)
            self._apply_retry_after(error)
            if not isinstance(error, RespanTransientError):
                log.info("Retrieving batches one by one, as there is no list: %r", error)
            self._schedule.list_failed(sweep, error, time.monotonic())
        else:
            self._schedule.read_page(sweep, page, time.monotonic())
        sweep.is_asking = False

    def _apply_retry_after(self, error: Exception) -> None:
        """Leave the service alone for as long as it asks for; it means all of us."""
        if isinstance(error, RespanTransientError):
            self._rate_limit.pause_until(time.monotonic() + (error.retry_after or 0))

    def _warn(self) -> None:
        self._has_warned = True
        log.warning(
            "%d batches are waited for by connection %r, and %d requests a minute are too few to look at each as often "
            "as its poke_interval says. Those that are due the longest come first. Raise poke_interval, or the "
            "connection's requests_per_minute if your organisation may send more.",
            len(self._schedule.targets),
            self._conn_id,
            self._per_minute,
        )

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task is not self._work:
            self._requests.discard(task)
            self._paid.discard(task)
            self._places.release()
            self._log_key.set()
        if not task.cancelled() and (error := task.exception()):
            # Nobody may go on waiting for a poller that is no more.
            self._error = error
            log.error("The poller of connection %r has broken down.", self._conn_id, exc_info=error)
            for target in self._schedule.targets.values():
                target.notify(self._broken(), until=NEVER)

    def _broken(self) -> RuntimeError:
        return RuntimeError(f"the poller of connection {self._conn_id!r} has broken down: {self._error!r}")


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_poller(respan_conn_id: str) -> AsyncIterator[Poller]:
    """Share the poller of this event loop and connection; the last to leave closes it.

    :param respan_conn_id: the Airflow connection
    """
    here = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = here.get(respan_conn_id)
    if poller is None:
        poller = here[respan_conn_id] = Poller(respan_conn_id)
    poller.users += 1
    try:
        yield poller
    finally:
        poller.users -= 1
        if not poller.users:
            # Nothing is awaited before: whoever comes from now on gets a new one.
            del here[respan_conn_id]
            await asyncio.shield(poller.aclose())
