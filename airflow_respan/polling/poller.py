"""The poller: sends the requests of all waits in one event loop that use the same connection.

All these waits share one connection, one HTTP session and one rate limit. Each wait says when its next check is due
(``waiting/policy.py``), and ``schedule.py`` chooses the request that serves most checks. The list of batches may be
out of date. So only a retrieve shows an end, and each batch is retrieved from time to time, and about the time when it
expires, even if the list shows it as running. A wait may time out by the list: see ``last_checks.py``.
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
"""How many requests may be under way at the same time, and so how many connections to the service are open."""


class Poller:
    """All checks of one event loop by one connection; use :func:`shared_poller` to get it.

    Its main task runs from the constructor until :meth:`aclose`, and repeats these steps:

    1. Wait until fewer than :data:`MAX_CONCURRENT_REQUESTS` requests are under way.
    2. Wait until the rate limit allows a request.
    3. Ask the schedule for the next request. If there is none, wait until a check is due, a request has finished, a
       check was added, or a pause has ended; then go back to 2.
    4. Start a task that sends the request and passes the result to the schedule.

    If the main task or one of these tasks fails with an unexpected error, all waits end with this error, and so does
    each wait that is added later.

    :param respan_conn_id: the Airflow connection
    """

    def __init__(self, respan_conn_id: str) -> None:
        self.user_count = 0
        self._conn_id = respan_conn_id
        self._hook = RespanHook(respan_conn_id, acquire=self._acquire)
        self._schedule = Schedule()
        self._rate_limit = RateLimit()
        self._requests_per_minute = DEFAULT_REQUESTS_PER_MINUTE
        self._has_warned = False
        self._has_sent_first = False
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._free_slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._request_tasks: set[asyncio.Task[Any]] = set()
        self._counted_tasks: set[asyncio.Task[Any]] = set()
        """Tasks whose first request is already recorded in the rate limit."""
        # An empty context: in the context of the first wait, all lines would go to the log of its task.
        self._main_task = asyncio.create_task(self._send_requests(), context=contextvars.Context())
        self._main_task.add_done_callback(self._on_task_done)

    async def wait_for(
        self, wait: BatchWait, *, provider_id: str | None = None, respan_params: Mapping[str, Any] | None = None
    ) -> Batch | TimedOut:
        """Check a batch until the wait is over; all waits for the same batch share the checks.

        A check may be early by up to a quarter of its pause, if a request shows the batch anyway. The last one, at
        the deadline, is never early, and a retrieve, unless many deadlines pass together: see ``last_checks.py``.

        :param wait: the rules of the wait: when to check, and what a result means
        :param provider_id: the provider that the batch went to, or None for the connection's
        :param respan_params: tracking parameters; of all waits for a batch, those of the first are sent
        :return: the batch that has ended, or the timeout; the caller decides what to raise
        :raises RespanError: if the wait does not continue after this error
        :raises RuntimeError: if the poller has failed
        """
        if self._failure:
            raise self._failure_error()
        watched = self._schedule.watch(wait.batch_id, provider_id, respan_params)
        subscriber = Subscriber(wait, partial(self._add_check, watched))
        watched.subscribers[subscriber] = None
        try:
            subscriber.plan_check()  # a pause comes first: the worker, or another triggerer, has just checked the batch
            return await subscriber.end
        finally:
            del watched.subscribers[subscriber]
            if not watched.subscribers:
                self._schedule.unwatch(watched)

    def _add_check(self, watched: WatchedBatch, subscriber: Subscriber) -> None:
        if self._schedule.add_check(watched, subscriber):
            self._changed.set()

    async def aclose(self) -> None:
        """Cancel all requests, and close the session."""
        for task in (self._main_task, *self._request_tasks):
            task.cancel()
        await asyncio.gather(self._main_task, *self._request_tasks, return_exceptions=True)
        await self._hook.aclose()

    async def _send_requests(self) -> None:
        while True:
            await self._free_slots.acquire()
            task = asyncio.create_task(await self._next_request())
            self._rate_limit.record_request(time.monotonic())
            self._counted_tasks.add(task)
            self._request_tasks.add(task)
            task.add_done_callback(self._on_task_done)
            if not self._has_sent_first:
                # It looks up the connection. Requests that are sent meanwhile would each look it up, too.
                await asyncio.wait([task])
                self._has_sent_first = True

    async def _next_request(self) -> Coroutine[Any, Any, None]:
        while True:
            await self._wait_for_rate_limit()
            now = time.monotonic()
            request = self._schedule.choose(now, is_paused=self._rate_limit.seconds_paused(now) > 0)
            is_limiting = self._rate_limit.is_limiting(self._requests_per_minute, now)
            if self._schedule.is_overdue and is_limiting and not self._has_warned:
                self._warn_of_low_limit()
            if isinstance(request, WatchedBatch):
                return self._retrieve(request)
            if isinstance(request, ListScan):
                return self._read_page(request)
            await self._wait_for_change()

    async def _acquire(self, connection: RespanConnection) -> None:
        """Wait until the rate limit allows a request; the hook calls this before each one, retries included."""
        self._requests_per_minute = connection.requests_per_minute
        task = asyncio.current_task()
        if task in self._counted_tasks:
            self._counted_tasks.discard(task)
            return
        await self._wait_for_rate_limit()
        self._rate_limit.record_request(time.monotonic())

    async def _wait_for_rate_limit(self) -> None:
        while True:
            seconds = self._rate_limit.seconds_until_free(self._requests_per_minute, time.monotonic())
            if not seconds:
                return
            await asyncio.sleep(seconds)

    async def _wait_for_change(self) -> None:
        """Wait until a check is due or was added, a request has finished, or the pause of the service has ended."""
        self._changed.clear()
        now = time.monotonic()
        seconds = min(self._schedule.next_due() - now, self._rate_limit.seconds_paused(now) or NEVER)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == NEVER else seconds):
                await self._changed.wait()

    async def _retrieve(self, watched: WatchedBatch) -> None:
        try:
            batch = await self._hook.aget_batch(
                watched.batch_id, respan_params=watched.respan_params, provider_id=watched.provider_id
            )
        except Exception as error:  # noqa: BLE001 (each wait decides whether it continues after this error)
            self._apply_retry_after(error)
            self._schedule.record_retrieve_failure(watched, error, time.monotonic())
        else:
            self._schedule.record_retrieve(watched, batch, time.monotonic())

    async def _read_page(self, scan: ListScan) -> None:
        try:
            page = await self._hook.alist_batches(limit=MAX_PAGE_SIZE, after=scan.after, provider_id=scan.provider_id)
        except Exception as error:  # noqa: BLE001 (no wait needs the list: batches are retrieved instead)
            self._apply_retry_after(error)
            if not isinstance(error, RespanTransientError):
                log.info("Retrieving batches one by one, because the list cannot be read: %r", error)
            self._schedule.record_list_failure(scan, error, time.monotonic())
        else:
            self._schedule.record_page(scan, page, time.monotonic())
        scan.request_in_flight = False

    def _apply_retry_after(self, error: Exception) -> None:
        """Pause all requests of the connection, if the service has asked for that."""
        if isinstance(error, RespanTransientError):
            self._rate_limit.pause_until(time.monotonic() + (error.retry_after or 0))

    def _warn_of_low_limit(self) -> None:
        self._has_warned = True
        log.warning(
            "Connection %r has waits for %d batches, and %d requests a minute are too few to check each as often as "
            "its poke_interval says. The most overdue are checked first. Raise poke_interval, or the connection's "
            "requests_per_minute if your organisation may send more.",
            self._conn_id,
            len(self._schedule.watched_batches),
            self._requests_per_minute,
        )

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        if task is not self._main_task:
            self._request_tasks.discard(task)
            self._counted_tasks.discard(task)
            self._free_slots.release()
            self._changed.set()
        if not task.cancelled() and (error := task.exception()):
            # End all waits: nothing checks their batches any more.
            self._failure = error
            log.error("The poller of connection %r has broken down.", self._conn_id, exc_info=error)
            for watched in self._schedule.watched_batches.values():
                watched.notify(self._failure_error(), until=NEVER)

    def _failure_error(self) -> RuntimeError:
        return RuntimeError(f"the poller of connection {self._conn_id!r} has broken down: {self._failure!r}")


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_poller(respan_conn_id: str) -> AsyncIterator[Poller]:
    """Provide the poller that all waits of this event loop and connection share.

    The first user creates it, the last one closes it.

    :param respan_conn_id: the Airflow connection
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = pollers.get(respan_conn_id)
    if poller is None:
        poller = pollers[respan_conn_id] = Poller(respan_conn_id)
    poller.user_count += 1
    try:
        yield poller
    finally:
        poller.user_count -= 1
        if not poller.user_count:
            # Remove it before the await: a wait that begins during the await must get a new poller.
            del pollers[respan_conn_id]
            await asyncio.shield(poller.aclose())
