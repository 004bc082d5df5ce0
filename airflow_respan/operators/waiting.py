"""The base class of every task that waits for a batch: check, pause or defer, finish.

The sensor, the create operator and the cancel operator share it, so that a wait is the same in each of them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_respan.compat import (
    TRIGGER_FAILED,
    AirflowException,
    BaseOperator,
    PokeReturnValue,
    attempt_started_at,
    is_deferral_timeout,
    push_xcoms,
)
from airflow_respan.exceptions import RespanBatchFailed, RespanBatchTimeout, RespanError, RespanTaskKilledError
from airflow_respan.killed import is_batch_abandoned
from airflow_respan.operators.rendered import read_batch_id, read_mapping, read_text
from airflow_respan.persisted import RENAMED_RESUME_ARGUMENTS, with_todays_names
from airflow_respan.waiting.outcome import evaluate_batch
from airflow_respan.waiting.xcom import batch_xcoms

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch
    from airflow_respan.compat import Context
    from airflow_respan.hooks.respan import RespanHook
    from airflow_respan.waiting.policy import BatchWait

# DAG files are parsed far more often than tasks run, so the methods import what only a running task needs.

DEFERRAL_MARGIN = timedelta(minutes=10)
"""Time from the trigger's deadline to Airflow's own timeout of the deferral, which ends the wait of a lost trigger."""

LONGEST_SLEEP = 1.0
"""Seconds: a sleep continues after the signal that kills the task, and Airflow ends its process 5 seconds later."""


class BatchWaitingOperator(BaseOperator):
    """A task that waits for a batch.

    A subclass sets the attributes below from its arguments, which the sensor describes. It calls
    :meth:`_poll_until_done`, and may override :meth:`_finish`, which decides what the outcome does to the task.
    """

    batch_id: str | None
    respan_conn_id: str
    respan_params: Mapping[str, Any] | None
    provider_id: str | None
    success_statuses: Collection[str]
    max_failed_ratio: float
    not_found_grace: float
    poke_interval: float
    timeout: float
    deferrable: bool
    cancel_on_kill: bool
    _batch_id_template: object = None
    """``batch_id`` before it was rendered, for the error that it gave no id."""
    _context: Context | None = None
    """Airflow's context, for :meth:`on_kill`, which does not get it."""
    _is_killed = False
    _is_abandoned = False
    """Whether the task was killed, and no attempt can use its batch."""
    _cancelled_batch_id: str | None = None

    @cached_property
    def hook(self) -> RespanHook:
        """The hook that sends the requests of this task."""
        from airflow_respan.hooks.respan import RespanHook

        return RespanHook(self.respan_conn_id)

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

    def on_kill(self) -> None:
        """End this attempt at its next step, and cancel its batch if ``cancel_on_kill`` is set and nobody can use it.

        Airflow calls this when the task is killed on a worker, or ``execution_timeout`` has passed. From Airflow 3.0
        on, :meth:`execute` continues after it.
        """
        self._is_killed = True
        if not self.cancel_on_kill:
            return
        self._is_abandoned = self._context is not None and is_batch_abandoned(self._context["ti"])
        if self._is_abandoned and (batch_id := self._killed_batch_id()):
            self._cancel_abandoned(str(batch_id).strip())

    def _killed_batch_id(self) -> str | None:
        """Return the batch to cancel, or None if it is not known."""
        return self.batch_id

    def _cancel_abandoned(self, batch_id: str) -> None:
        """Cancel a batch that nobody can use, unless that was done before."""
        if batch_id == self._cancelled_batch_id:
            return
        self._cancelled_batch_id = batch_id
        try:
            self.hook.cancel_batch(batch_id, provider_id=self.provider_id)
            self.log.info("Asked for batch %s to be cancelled.", batch_id)
        except (RespanError, ValueError) as error:
            self.log.warning("Batch %s could not be cancelled: %s", batch_id, error)

    def _raise_if_killed(self) -> None:
        """End this attempt if :meth:`on_kill` was called.

        :raises RespanTaskKilledError: so that Airflow retries the task if it has attempts left, as it does not retry
            after a batch that ended badly; the cancellation of the killed task's own batch must not look like one
        """
        if not self._is_killed:
            return
        if self.batch_id is None:
            raise RespanTaskKilledError(
                "Airflow has killed this attempt before it created a batch. The next attempt, a retry or after a "
                "clear, creates it."
            )
        raise RespanTaskKilledError(
            f"Airflow has killed this attempt of task {self.task_id!r} (batch {self.batch_id}): a person has ended "
            "or cleared it, its worker is shut down, or Airflow's API server did not accept its heartbeats. The "
            "next attempt, a retry or after a clear, continues with the batch if it was not cancelled."
        )

    def _begin(self, context: Context) -> None:
        """Keep the context, and read the arguments that templates have rendered."""
        self._context = context
        self.provider_id = read_text("provider_id", self.provider_id, task_id=self.task_id)
        self.respan_params = read_mapping("respan_params", self.respan_params, task_id=self.task_id)

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

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._raise_if_killed()
            time.sleep(min(left, LONGEST_SLEEP))
        self._raise_if_killed()

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

    def _push(self, context: Context, **xcoms: Any) -> None:
        if self.do_xcom_push:
            push_xcoms(context, xcoms)
