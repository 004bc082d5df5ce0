"""The trigger that waits for several batches of one task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.killed import is_batch_abandoned_by_deferred
from airflow_respan.polling.poller import shared_poller
from airflow_respan.triggers.batch import cancel_abandoned, wait_for_end
from airflow_respan.waiting.event import make_event
from airflow_respan.waiting.policy import BatchWait, TimedOut


class RespanBatchesTrigger(BaseTrigger):
    """Wait for several batches: until all have ended, or until there is something to do for the task.

    The trigger yields one event and never raises. The arguments are ids, numbers and tracking parameters, never a
    secret, because Airflow saves them in its database.

    :param batch_ids: the batches; may be empty if ``resume_at`` is given
    :param until_any: whether the wait is over as soon as one of them has ended
    :param resume_at: when the wait is over anyway (Unix seconds), or None
    :param respan_conn_id: the Airflow connection
    :param respan_params: tracking parameters of each retrieve
    :param provider_id: the provider that the batches went to, or None for the connection's
    :param cancel_on_kill: cancel the batches when the deferred task is marked failed, or its DAG run ends (Airflow 3.3
        and later; earlier versions do not call the trigger then)
    :param wait: the arguments of :class:`~airflow_respan.waiting.policy.BatchWait` that all waits share; those of
        another release are ignored
    :raises ValueError: if an argument of the wait is not valid
    """

    def __init__(
        self,
        *,
        batch_ids: Sequence[str],
        until_any: bool = False,
        resume_at: float | None = None,
        respan_conn_id: str = RespanHook.default_conn_name,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
        cancel_on_kill: bool = False,
        **wait: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are not typed
        self.batch_ids = list(batch_ids)
        self.until_any = until_any
        self.resume_at = resume_at
        self.respan_conn_id = respan_conn_id
        self.respan_params = respan_params
        self.provider_id = provider_id
        self.cancel_on_kill = cancel_on_kill
        known = BatchWait.option_names()
        self.wait = {name: value for name, value in wait.items() if name in known}
        for batch_id in self.batch_ids:
            BatchWait(batch_id=batch_id, **self.wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that Airflow saves while the task is deferred."""
        return (
            "airflow_respan.triggers.batches.RespanBatchesTrigger",
            {
                "batch_ids": self.batch_ids,
                "until_any": self.until_any,
                "resume_at": self.resume_at,
                "respan_conn_id": self.respan_conn_id,
                "respan_params": self.respan_params,
                "provider_id": self.provider_id,
                "cancel_on_kill": self.cancel_on_kill,
                **self.wait,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event: the end of each wait that is over, by the id of its batch."""
        ends = await self._wait_for_ends()
        event = {"batches": {batch_id: make_event(end) for batch_id, end in ends.items()}}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's triggers are not typed

    async def on_kill(self) -> None:
        """Cancel the batches if ``cancel_on_kill`` is set and the deferred task has failed.

        Airflow 3.3 and later call this if a person, or the timeout of the DAG run, has ended the task or has cleared
        it. A task that was cleared continues with its batches, and a task that was marked successful may need them.
        """
        if self.cancel_on_kill and await is_batch_abandoned_by_deferred(self.task_instance):
            await cancel_abandoned(self.respan_conn_id, self.batch_ids, provider_id=self.provider_id)

    async def _wait_for_ends(self) -> dict[str, Batch | TimedOut | RespanError]:
        seconds = None if self.resume_at is None else max(self.resume_at - time.time(), 0.0)
        if not self.batch_ids:
            await asyncio.sleep(seconds or 0.0)
            return {}
        async with shared_poller(self.respan_conn_id) as poller:
            tasks = {
                batch_id: asyncio.create_task(
                    wait_for_end(
                        poller,
                        BatchWait(batch_id=batch_id, **self.wait),
                        provider_id=self.provider_id,
                        respan_params=self.respan_params,
                    )
                )
                for batch_id in self.batch_ids
            }
            try:
                await asyncio.wait(
                    tasks.values(),
                    timeout=seconds,
                    return_when=asyncio.FIRST_COMPLETED if self.until_any else asyncio.ALL_COMPLETED,
                )
                return {batch_id: task.result() for batch_id, task in tasks.items() if task.done()}
            finally:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)
