"""The trigger, which waits for a batch in the event loop of the triggerer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

import airflow_respan
from airflow_respan.api.batch import Batch
from airflow_respan.api.foreign_text import describe_cause
from airflow_respan.exceptions import RespanError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.killed import is_batch_abandoned_by_deferred
from airflow_respan.persisted import RENAMED_TRIGGER_ARGUMENTS, with_todays_names
from airflow_respan.polling.poller import Poller, shared_poller
from airflow_respan.waiting.event import make_event
from airflow_respan.waiting.policy import BatchWait, TimedOut

log = logging.getLogger(__name__)


class RespanBatchTrigger(BaseTrigger):
    """Wait until a batch has ended, the deadline has passed, or an error ends the wait.

    The trigger yields one event and never raises. The task that deferred evaluates the outcome. The arguments are ids,
    numbers and tracking parameters, never a secret, because Airflow saves them in its database.

    :param respan_conn_id: the Airflow connection
    :param respan_params: tracking parameters of each retrieve; waits for the same batch send those of the first wait
    :param provider_id: the provider that the batch went to, or None for the connection's
    :param cancel_on_kill: cancel the batch when the deferred task is marked failed, or its DAG run ends (Airflow 3.3
        and later; earlier versions do not call the trigger then)
    :param wait: the arguments of :class:`~airflow_respan.waiting.policy.BatchWait`; ``batch_id`` is required. Other
        arguments, from a task that another release deferred, are ignored with a warning.
    :raises ValueError: if an argument of the wait is not valid
    """

    def __init__(
        self,
        *,
        respan_conn_id: str = RespanHook.default_conn_name,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
        cancel_on_kill: bool = False,
        **wait: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are not typed
        self.respan_conn_id = respan_conn_id
        self.respan_params = respan_params
        self.provider_id = provider_id
        self.cancel_on_kill = cancel_on_kill
        wait = with_todays_names(wait, RENAMED_TRIGGER_ARGUMENTS)
        known = BatchWait.option_names()
        if unknown := sorted(wait.keys() - known):
            self.log.warning(
                "Ignoring arguments that are not in this release (%s): %s.",
                airflow_respan.__version__,
                ", ".join(unknown),
            )
        self.wait = BatchWait(**{name: value for name, value in wait.items() if name in known})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that Airflow saves while the task is deferred."""
        return (
            "airflow_respan.triggers.batch.RespanBatchTrigger",
            {
                "respan_conn_id": self.respan_conn_id,
                "respan_params": self.respan_params,
                "provider_id": self.provider_id,
                "cancel_on_kill": self.cancel_on_kill,
                **self.wait.options(),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event with the end of the wait; see :mod:`airflow_respan.waiting.event`."""
        async with shared_poller(self.respan_conn_id) as poller:
            end = await wait_for_end(poller, self.wait, provider_id=self.provider_id, respan_params=self.respan_params)
        yield TriggerEvent(make_event(end))  # type: ignore[no-untyped-call]  # Airflow's triggers are not typed

    async def on_kill(self) -> None:
        """Cancel the batch if ``cancel_on_kill`` is set and the deferred task has failed.

        Airflow 3.3 and later call this if a person, or the timeout of the DAG run, has ended the task or has cleared
        it. A task that was cleared continues with its batch, and a task that was marked successful may need it.
        """
        if self.cancel_on_kill and await is_batch_abandoned_by_deferred(self.task_instance):
            await cancel_abandoned(self.respan_conn_id, [self.wait.batch_id], provider_id=self.provider_id)


async def wait_for_end(
    poller: Poller, wait: BatchWait, *, provider_id: str | None, respan_params: Mapping[str, Any] | None
) -> Batch | TimedOut | RespanError:
    """Wait until a batch has ended, the deadline has passed, or an error ends the wait; never raise an error.

    :param poller: the poller of the connection
    :param wait: the rules of the wait
    :param provider_id: the provider that the batch went to, or None for the connection's
    :param respan_params: tracking parameters of each retrieve
    """
    try:
        return await poller.wait_for(wait, provider_id=provider_id, respan_params=respan_params)
    except RespanError as error:
        return error
    except Exception as error:
        # If the trigger raised it, Airflow would raise a TaskDeferralError in the task, which soft_fail skips. When
        # poking, soft_fail does not skip this error.
        log.exception("The wait for batch %s failed with an unexpected error.", wait.batch_id)
        return RespanError(
            f"{describe_cause(error)} (unexpected error in the triggerer, wait for batch {wait.batch_id}). The batch "
            "may still be running at the service. The triggerer's log has the traceback."
        )


async def cancel_abandoned(respan_conn_id: str, batch_ids: Collection[str], *, provider_id: str | None) -> None:
    """Cancel batches that no attempt of the task can use; log those that cannot be cancelled.

    :param respan_conn_id: the Airflow connection
    :param batch_ids: the batches
    :param provider_id: the provider that they went to, or None for the connection's
    """
    async with aclosing(RespanHook(respan_conn_id)) as hook:
        for batch_id in batch_ids:
            try:
                await hook.acancel_batch(batch_id, provider_id=provider_id)
                log.info("Asked for batch %s to be cancelled.", batch_id)
            except RespanError as error:
                log.warning("Batch %s could not be cancelled: %s", batch_id, error)
