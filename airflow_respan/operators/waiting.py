"""The base class of every task that waits for a batch: check, pause or defer, finish.

The sensor, the create operator and the cancel operator share it, so that a wait is the same in each of them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_respan.compat import (
    TRIGGER_FAILED,
    AirflowException,
    BaseOperator,
    PokeReturnValue,
    attempt_started_at,
    is_deferral_timeout,
)
from airflow_respan.exceptions import RespanBatchFailed, RespanBatchTimeout, RespanError
from airflow_respan.operators.base import RespanOperator
from airflow_respan.operators.rendered import read_batch_id
from airflow_respan.persisted import RENAMED_RESUME_ARGUMENTS, with_todays_names
from airflow_respan.waiting.outcome import evaluate_batch
from airflow_respan.waiting.xcom import batch_xcoms

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch
    from airflow_respan.compat import Context
    from airflow_respan.waiting.policy import BatchWait

# DAG files are parsed far more often than tasks run, so the methods import what only a running task needs.

DEFERRAL_MARGIN = timedelta(minutes=10)
"""Time from the trigger's deadline to Airflow's own timeout of the deferral, which ends the wait of a lost trigger."""


class BatchWaitingOperator(RespanOperator):
    """A task that waits for a batch.

    A subclass sets the attributes below from its arguments, which the sensor describes. It calls
    :meth:`_poll_until_done`, and may override :meth:`_finish`, which decides what the outcome does to the task.
    """

    batch_id: str | None
    success_statuses: Collection[str]
    max_failed_ratio: float
    not_found_grace: float
    poke_interval: float
    timeout: float
    deferrable: bool
    _batch_id_template: object = None
    """``batch_id`` before it was rendered, for the error that it gave no id."""

    def execute_complete(self, context: Context, event: Any = None, started_at: str | None = None, **_: Any) -> Any:
        """Continue after a deferral: finish with the event of the trigger, or poll if there is no usable event.

        :param event: what the trigger yielded
        :param started_at: when the wait began (ISO 8601 with offset); this attempt's start if it is missing
        :param _: arguments of another release that deferred the task
        :return: the XCom value of the task
        :raises RespanBatchTimeout: if the event is a timeout
        :raises RespanError: if the event is an error
        """
        from airflow_respan.waiting.event import read_event
        from airflow_respan.waiting.policy import TimedOut

        end = read_event(event)
        if isinstance(end, TimedOut):
            raise RespanBatchTimeout(end.message)
        if isinstance(end, RespanError):
            raise end
        wait = self._make_wait(started_at or self._started_at(context), checked_at=started_at)
        if end is not None and end.id == wait.batch_id:
            return self._finish(context, end)
        self.log.warning("Resumed without a usable event (%.200r); checking the batch again.", event)
        return self._poll_until_done(context, wait)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume by ``BaseOperator``, because the sensor's base class applies ``soft_fail`` differently by version."""
        self._begin(context)
        try:
            kwargs = with_todays_names(next_kwargs or {}, RENAMED_RESUME_ARGUMENTS)
            return BaseOperator.resume_execution(self, next_method, kwargs, context)
        except AirflowException as error:
            if next_method != TRIGGER_FAILED:
                raise
            return self._after_trigger_failure(context, error)

    def _batches_in_progress(self) -> list[str]:
        return [self.batch_id.strip()] if isinstance(self.batch_id, str) else []

    def _started_at(self, context: Context) -> str:
        """Return when the wait began, in ISO 8601 with offset: the start of this attempt."""
        return attempt_started_at(context)

    def _make_wait(self, started_at: str, *, checked_at: str | None = None) -> BatchWait:
        """Return the rules of the wait.

        :param started_at: when the wait began (ISO 8601 with offset)
        :param checked_at: a time when another process of this wait made a check, or None if none did
        """
        self.batch_id = read_batch_id(self.batch_id, task_id=self.task_id, template=self._batch_id_template)
        from airflow_respan.waiting.policy import BatchWait

        return BatchWait(
            batch_id=self.batch_id,
            started_at=started_at,
            checked_at=checked_at,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            not_found_grace=self.not_found_grace,
            **self._wait_options(),
        )

    def _wait_options(self) -> dict[str, Any]:
        """Return further arguments of ``BatchWait``."""
        return {}

    def _check(self, context: Context, wait: BatchWait) -> PokeReturnValue:
        """Check the batch once; the result is true when the wait is over, and then has the task's XCom value."""
        try:
            batch = self.hook.get_batch(wait.batch_id, respan_params=self.respan_params, provider_id=self.provider_id)
        except RespanError as error:
            wait.on_error(error)
            return PokeReturnValue(is_done=False)
        if not wait.on_batch(batch):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._finish(context, batch))

    def _poll_until_done(self, context: Context, wait: BatchWait) -> Any:
        while not (result := self._check(context, wait)):
            self._pause_or_defer(wait)
        # A subclass of the sensor may return a plain True from its poke.
        return getattr(result, "xcom_value", None)

    def _pause_or_defer(self, wait: BatchWait) -> None:
        """Pause before the next check, or defer so that the triggerer makes it."""
        self._raise_if_killed()
        if wait.seconds_left() <= 0:
            raise RespanBatchTimeout(wait.timed_out().message)
        if self.deferrable:
            self._defer(wait)
        self._pause(wait.pause_seconds())

    def _defer(self, wait: BatchWait) -> None:
        from airflow_respan.triggers.batch import RespanBatchTrigger

        now = pendulum.now("UTC")
        wait.checked_at, wait.next_check_at = now.isoformat(), now.add(seconds=wait.pause_seconds()).isoformat()
        self.defer(
            trigger=RespanBatchTrigger(
                respan_conn_id=self.respan_conn_id,
                respan_params=self.respan_params,
                provider_id=self.provider_id,
                cancel_on_kill=self.cancel_on_kill,
                **wait.options(),
            ),
            method_name="execute_complete",
            kwargs=self._resume_kwargs(wait),
            timeout=timedelta(seconds=wait.seconds_left()) + DEFERRAL_MARGIN,
        )

    def _resume_kwargs(self, wait: BatchWait) -> dict[str, Any]:
        """Return the arguments for :meth:`execute_complete`, as plain JSON."""
        return {"started_at": wait.started_at}

    def _after_trigger_failure(self, context: Context, trigger_error: AirflowException) -> Any:
        """Check the batch a last time, because it may have ended although the trigger failed."""
        wait = self._make_wait(self._started_at(context))
        if result := self._check(context, wait):
            return getattr(result, "xcom_value", None)
        if is_deferral_timeout(trigger_error):
            raise RespanBatchTimeout(wait.timed_out().message) from trigger_error
        raise RespanError(
            f"The triggerer gave up the wait for batch {wait.batch_id} ({trigger_error}). The batch may still be "
            "running at the service. The triggerer's log has the cause."
        ) from trigger_error

    def _finish(self, context: Context, batch: Batch) -> Any:
        """Push the XComs of a terminal batch, evaluate its outcome, and return the XCom value of the task.

        The XComs are pushed first, so that other tasks can read them even if this task fails.
        """
        self._push(context, **batch_xcoms(batch))
        outcome = evaluate_batch(batch, success_statuses=self.success_statuses, max_failed_ratio=self.max_failed_ratio)
        if not outcome.accepted:
            self._raise_if_killed()
            raise RespanBatchFailed(outcome.message)
        (self.log.warning if outcome.needs_warning else self.log.info)(outcome.message)
        return batch.to_dict()
