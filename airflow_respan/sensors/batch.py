"""The sensor: waits for a batch by poking, by rescheduling, or deferred, with one meaning."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_respan.batch import TERMINAL_STATUSES, Batch
from airflow_respan.exceptions import RespanBatchFailed, RespanBatchTimeout, RespanError
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.sensors.rules import AirflowRescheduleException, ending, started_at
from airflow_respan.triggers.event import end_of
from airflow_respan.verdict import judge
from airflow_respan.wait import BatchWait
from airflow_respan.xcom import batch_xcoms

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_respan.hooks.respan import RespanHook

DEFERRAL_MARGIN = timedelta(minutes=10)
"""How much later than the trigger's deadline Airflow itself ends a deferral: a backstop for lost triggers."""

TRIGGER_FAILED = "__fail__"
"""Airflow's name for "resume this task only to fail it" (``TRIGGER_FAIL_REPR``, whose home differs by version)."""


class RespanBatchSensor(BaseSensorOperator):
    """Waits for a Respan batch to end, and hands its files and counts to the next task.

    Pushes ``batch_id``, ``status``, ``output_file_id``, ``error_file_id`` and ``request_counts`` to XCom as soon as
    the batch is terminal, well or badly; returns the whole batch on success. What each end means for the task is
    the table in the README, and is the same whether it pokes, reschedules or defers.

    :param batch_id: the batch to wait for (templated)
    :param respan_conn_id: the Airflow connection (templated)
    :param respan_params: tracking parameters for each look, on top of the connection's (templated)
    :param provider_id: the provider that the batch went to, or None for the connection's (templated)
    :param success_statuses: terminal statuses that count as success; add ``expired`` to take a partial output
    :param max_failed_ratio: the share of failed requests that still counts as success (ratio 0-1); 0 allows none
    :param not_found_grace: seconds from the start of the wait, or since the batch was last found, during which a 404
        may pass; in reschedule mode, where each look is a process, from the start only
    :param deferrable: wait in the triggerer, with no worker slot; ``[operators] default_deferrable`` by default
    :param cancel_on_kill: cancel the batch when the task is killed; off, as the sensor did not create the batch.
        While deferred, from Airflow 3.3 on, and clearing the task counts as killing it.

    Also everything of ``BaseSensorOperator``: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail``,
    ``never_fail``, ``silent_fail``, ``exponential_backoff``, ``max_wait``.

    :raises RespanBatchFailed: if the batch ended and is not accepted; not retried
    :raises RespanBatchTimeout: if ``timeout`` is over; not retried
    :raises RespanAPIError: if the service refuses to say; retried by Airflow
    :raises RespanConfigurationError: if the connection is missing or cannot work; retried by Airflow
    :raises ValueError: if ``batch_id`` is empty
    """

    template_fields: Sequence[str] = ("batch_id", "respan_conn_id", "respan_params", "provider_id")
    ui_color = "#e4e0f5"

    def __init__(
        self,
        *,
        batch_id: str,
        respan_conn_id: str = DEFAULT_CONN_ID,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
        success_statuses: Sequence[str] = ("completed",),
        max_failed_ratio: float = 1.0,
        not_found_grace: timedelta | float = 60,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.respan_conn_id = respan_conn_id
        self.respan_params = respan_params
        self.provider_id = provider_id
        self.success_statuses = _checked_statuses(success_statuses)
        if not 0 <= max_failed_ratio <= 1:
            raise ValueError(f"max_failed_ratio is {max_failed_ratio!r}; it is a ratio from 0 to 1")
        self.max_failed_ratio = max_failed_ratio
        self.not_found_grace = (
            not_found_grace.total_seconds() if isinstance(not_found_grace, timedelta) else not_found_grace
        )
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self._template = batch_id
        self._wait: BatchWait | None = None

    @cached_property
    def hook(self) -> RespanHook:
        """The hook that this sensor looks through."""
        # Imported when it is needed, like the trigger: DAG files are parsed far more often than they run.
        from airflow_respan.hooks.respan import RespanHook

        return RespanHook(self.respan_conn_id)

    def execute(self, context: Context) -> Any:
        """Wait. Airflow calls this at the start of each try, and in reschedule mode at each poke."""
        # The base class's loop is not used: it applies soft_fail, never_fail and timeout differently by mode
        # and by version, and forgets them in a deferral.
        with ending(soft_fail=self.soft_fail, never_fail=self.never_fail):
            self._wait = self._begin(started_at(self, context))
            return self._go_on(context, self._wait)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once.

        :return: true when the batch has ended and is accepted, with the batch as its XCom value
        """
        if self._wait is None:
            self._wait = self._begin(started_at(self, context))
        try:
            batch = self.hook.get_batch(
                self._wait.batch_id, respan_params=self.respan_params, provider_id=self.provider_id
            )
        except RespanError as error:
            self._wait.missed(error)
            return PokeReturnValue(is_done=False)
        if not self._wait.saw(batch):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(context, batch))

    def execute_complete(self, context: Context, event: Any = None, begun_at: str | None = None, **_: Any) -> Any:
        """Go on after a deferral.

        :param event: what the trigger yielded; whatever cannot be trusted is looked up again
        :param begun_at: when the wait began
        :param _: what another release, which deferred the task, may have noted besides
        """
        self._wait = self._begin(begun_at or started_at(self, context))
        end = end_of(event)
        if isinstance(end, Exception):
            raise end
        if end is not None and end.id == self._wait.batch_id:
            return self._conclude(context, end)
        self.log.warning("Resumed without a usable event (%.200r); looking at the batch again.", event)
        return self._go_on(context, self._wait)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; past the base class's own rules for ``soft_fail`` and ``never_fail``, which differ by version."""
        with ending(soft_fail=self.soft_fail, never_fail=self.never_fail):
            try:
                return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
            except AirflowException as given_up:
                if next_method != TRIGGER_FAILED:
                    raise
                return self._after_lost_trigger(context, given_up)

    def on_kill(self) -> None:
        """Cancel the batch when the task is killed while it pokes, if ``cancel_on_kill`` says so."""
        if self.cancel_on_kill:
            try:
                self.hook.cancel_batch(self.batch_id.strip(), provider_id=self.provider_id)
                self.log.info("Asked for batch %s to be cancelled.", self.batch_id)
            except (RespanError, ValueError) as error:
                self.log.warning("Batch %s could not be cancelled: %s", self.batch_id, error)

    def _begin(self, begun_at: str) -> BatchWait:
        if not isinstance(self.batch_id, str) or self.batch_id.strip() in ("", "None"):
            raise ValueError(
                f"batch_id of task {self.task_id!r} is {self.batch_id!r}: its template {str(self._template)!r} "
                "gave nothing. Check that the upstream task ran and pushed the id of a batch."
            )
        return BatchWait(
            batch_id=self.batch_id.strip(),
            started_at=begun_at,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait.total_seconds() if self.max_wait else None,
            not_found_grace=self.not_found_grace,
            silent_fail=self.silent_fail,
        )

    def _go_on(self, context: Context, wait: BatchWait) -> Any:
        while not (result := self.poke(context)):
            if wait.seconds_left() <= 0:
                raise RespanBatchTimeout(wait.timeout_message())
            if self.deferrable:
                self._defer(wait)
            if self.reschedule:
                next_poke = pendulum.now("UTC").add(seconds=wait.pause())
                raise AirflowRescheduleException(next_poke)  # type: ignore[no-untyped-call]  # not typed by Airflow
            time.sleep(wait.pause())
        return result.xcom_value

    def _defer(self, wait: BatchWait) -> None:
        from airflow_respan.triggers.batch import RespanBatchTrigger

        wait.next_look_at = pendulum.now("UTC").add(seconds=wait.pause()).isoformat()
        self.defer(
            trigger=RespanBatchTrigger(
                respan_conn_id=self.respan_conn_id,
                respan_params=self.respan_params,
                provider_id=self.provider_id,
                cancel_on_kill=self.cancel_on_kill,
                **wait.options(),
            ),
            method_name=self.execute_complete.__name__,
            kwargs={"begun_at": wait.started_at},
            timeout=timedelta(seconds=wait.seconds_left()) + DEFERRAL_MARGIN,
        )

    def _after_lost_trigger(self, context: Context, given_up: AirflowException) -> Any:
        """Look a last time: the triggerer's end is not the batch's."""
        self._wait = self._begin(started_at(self, context))
        if result := self.poke(context):
            return result.xcom_value
        if "timeout" in str(given_up):
            raise RespanBatchTimeout(self._wait.timeout_message()) from given_up
        raise RespanError(
            f"The triggerer gave up the wait for batch {self._wait.batch_id} ({given_up}). The batch itself goes on; "
            "the triggerer's log says why."
        ) from given_up

    def _conclude(self, context: Context, batch: Batch) -> dict[str, Any]:
        """Push what is known of a terminal batch, then judge it."""
        if self.do_xcom_push:
            for key, value in batch_xcoms(batch).items():
                context["ti"].xcom_push(key=key, value=value)
        verdict = judge(batch, success_statuses=self.success_statuses, max_failed_ratio=self.max_failed_ratio)
        if not verdict.accepted:
            raise RespanBatchFailed(verdict.message)
        (self.log.warning if verdict.worth_a_warning else self.log.info)(verdict.message)
        return batch.to_dict()


def _checked_statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    chosen = (statuses,) if isinstance(statuses, str) else tuple(statuses)
    if not chosen or not TERMINAL_STATUSES.issuperset(chosen):
        raise ValueError(f"success_statuses is {statuses!r}; choose among {', '.join(sorted(TERMINAL_STATUSES))}")
    return chosen
