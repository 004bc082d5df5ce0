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
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from airflow_respan.api import endpoints
from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.hooks.current_client import MAX_AGE_SECONDS
from airflow_respan.polling.list_scan import ListScan
from airflow_respan.polling.request_sender import RequestSender
from airflow_respan.polling.schedule import Schedule
from airflow_respan.polling.subscriber import NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch
from airflow_respan.waiting.policy import BatchWait, TimedOut

log = logging.getLogger(__name__)

MAX_PAGE_SECONDS = 5.0
"""How long a page of the list may take: many batches wait for it, and can be retrieved instead."""


class Poller:
    """All checks of one event loop by one connection; use :func:`shared_poller` to get it.

    Its main task runs from the constructor until :meth:`aclose`, and repeats these steps:

    1. Wait until another request may be under way; see :class:`~airflow_respan.polling.request_slots.RequestSlots`.
    2. Wait until the rate limit allows a request.
    3. Ask the schedule for the next request. If there is none, wait until a check is due, a request has finished, a
       check was added, or a pause has ended; then go back to 1.
    4. Start a task that sends the request and passes the result to the schedule.

    A second task looks the connection up again when a wait is added, and every few minutes. If its settings have
    changed in any way, all further requests use the new ones.

    A response that cannot be recorded ends only the waits for its batch. If the main task fails with an unexpected
    error, all waits end with this error, and so does each wait that is added later.

    :param respan_conn_id: the Airflow connection
    :param max_age_seconds: how long settings are used before the connection is looked up again
    """

    def __init__(self, respan_conn_id: str, *, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self.user_count = 0
        self._conn_id = respan_conn_id
        self._schedule = Schedule()
        self._sender = RequestSender(
            respan_conn_id,
            on_change=lambda: self._schedule.forget_list(time.monotonic()),
            on_done=self._end_all_if_failed,
            max_age_seconds=max_age_seconds,
        )
        self._has_warned = False
        self._failure: BaseException | None = None
        self._main_tasks = [
            self._start_main_task(self._send_requests()),
            self._start_main_task(self._sender.keep_settings_current()),
        ]

    async def wait_for(
        self, wait: BatchWait, *, provider_id: str | None = None, respan_params: Mapping[str, Any] | None = None
    ) -> Batch | TimedOut:
        """Check a batch until the wait is over; all waits for the same batch share the checks.

        A check may be early by up to a quarter of its pause, if a request shows the batch anyway. The last one, at
        the deadline, is never early, and a retrieve, unless many deadlines pass together: see ``last_checks.py``.

        :param wait: the rules of the wait: when to check, and what a result means
        :param provider_id: the provider that the batch went to, or None for the connection's
        :param respan_params: tracking parameters of retrieves; of all waits for a batch, those of the first are sent
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
            self._sender.look_up_soon()  # the connection may have changed since the last wait was added
            return await subscriber.end
        finally:
            del watched.subscribers[subscriber]
            if not watched.subscribers:
                self._schedule.unwatch(watched)
                self._sender.rate_limit.forget((watched.batch_id, watched.provider_id))

    def _add_check(self, watched: WatchedBatch, subscriber: Subscriber) -> None:
        if self._schedule.add_check(watched, subscriber):
            self._sender.changed.set()

    async def aclose(self) -> None:
        """Cancel all requests, and close the session."""
        for task in self._main_tasks:
            task.cancel()
        await asyncio.gather(*self._main_tasks, return_exceptions=True)
        await self._sender.aclose()

    async def _send_requests(self) -> None:
        while True:
            now = time.monotonic()
            if seconds := self._sender.seconds_until_free(now):
                await self._sender.wait_for_change(seconds)
            elif not self._send_next(now):
                await self._sender.wait_for_change(self._seconds_until_due(now))

    def _seconds_until_due(self, now: float) -> float:
        return min(self._schedule.next_due() - now, self._sender.rate_limit.seconds_paused(now) or NEVER)

    def _send_next(self, now: float) -> bool:
        """Start the next request.

        :return: False if there is none
        """
        if watched := self._pop_postponed(now, is_idle=False):
            self._sender.start(self._retrieve(watched), now, is_slow=True)
            return True
        request = self._choose(now)
        if request is None and (watched := self._pop_postponed(now, is_idle=True)):
            self._sender.start(self._retrieve(watched), now, is_slow=True)
        elif isinstance(request, WatchedBatch):
            self._sender.start(self._retrieve(request), now)
        elif isinstance(request, ListScan):
            self._sender.start(self._read_page(request), now)
        else:
            return False
        return True

    def _choose(self, now: float) -> WatchedBatch | ListScan | None:
        """Return the next request of the schedule; batches whose last retrieve got no response are postponed."""
        while True:
            request = self._schedule.choose(now, is_paused=self._sender.rate_limit.seconds_paused(now) > 0)
            is_limiting = self._sender.rate_limit.is_limiting(self._sender.requests_per_minute, now)
            if self._schedule.is_overdue and is_limiting and not self._has_warned:
                self._warn_of_low_limit()
            if not isinstance(request, WatchedBatch) or not request.is_slow or request.has_last_check(due_by=now):
                return request
            self._sender.slots.postpone(request)

    def _pop_postponed(self, now: float, *, is_idle: bool) -> WatchedBatch | None:
        if not self._sender.may_send_postponed(now):
            return None
        while watched := self._sender.slots.pop_postponed(is_idle=is_idle):
            if watched.has_planned_check():
                return watched
            self._schedule.release(watched, now)
        return None

    async def _retrieve(self, watched: WatchedBatch) -> None:
        result = await self._sender.result_of(
            lambda connection: endpoints.get_batch(
                connection, watched.batch_id, respan_params=watched.respan_params, provider_id=watched.provider_id
            ),
            key=(watched.batch_id, watched.provider_id),
        )
        now = time.monotonic()
        watched.is_slow = isinstance(result, RespanTransientError) and self._sender.is_slow(now)
        try:
            if isinstance(result, Exception):
                self._schedule.record_retrieve_failure(watched, result, now)
            else:
                self._schedule.record_retrieve(watched, result, now)
        except Exception as error:
            log.exception("The response to the retrieve of batch %s could not be recorded.", watched.batch_id)
            self._schedule.release(watched, now)
            watched.notify(error, until=NEVER)

    async def _read_page(self, scan: ListScan) -> None:
        page = await self._sender.result_of(
            lambda connection: replace(
                endpoints.list_batches(
                    connection, limit=endpoints.MAX_PAGE_SIZE, after=scan.after, provider_id=scan.provider_id
                ),
                max_timeout=MAX_PAGE_SECONDS,
            ),
            key=scan.provider_id,
        )
        now = time.monotonic()
        if isinstance(page, Exception):
            self._record_list_failure(scan, page, now)
        else:
            try:
                self._schedule.record_page(scan, page, now)
            except Exception as error:  # noqa: BLE001 (no wait needs the list: batches are retrieved instead)
                self._record_list_failure(scan, error, now)
        scan.request_in_flight = False

    def _record_list_failure(self, scan: ListScan, error: Exception, now: float) -> None:
        if not isinstance(error, RespanTransientError):
            log.info("Retrieving batches one by one, because the list cannot be read: %r", error)
        self._schedule.record_list_failure(scan, error, now)

    def _warn_of_low_limit(self) -> None:
        self._has_warned = True
        log.warning(
            "Connection %r has waits for %d batches, and %d requests a minute are too few to check each as often as "
            "its poke_interval says. The most overdue are checked first. Raise poke_interval, or the connection's "
            "requests_per_minute if your organisation may send more.",
            self._conn_id,
            len(self._schedule.watched_batches),
            self._sender.requests_per_minute,
        )

    def _start_main_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # An empty context: in the context of the first wait, all lines would go to the log of its task.
        task = asyncio.create_task(coroutine, context=contextvars.Context())
        task.add_done_callback(self._end_all_if_failed)
        return task

    def _end_all_if_failed(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()):
            # End all waits: nothing checks their batches any more.
            self._failure = error
            log.error("The poller of connection %r has failed with an unexpected error.", self._conn_id, exc_info=error)
            for watched in self._schedule.watched_batches.values():
                watched.notify(self._failure_error(), until=NEVER)

    def _failure_error(self) -> RuntimeError:
        return RuntimeError(f"the poller of connection {self._conn_id!r} has failed with {self._failure!r}")


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
