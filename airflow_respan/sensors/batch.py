"""The sensor, which waits for a batch by poking, rescheduled, or deferred.

Every outcome means the same in all three modes, so Airflow's own rules of a sensor are replaced where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_respan.compat import (
    AirflowRescheduleException,
    BaseSensorOperator,
    PokeReturnValue,
    apply_soft_fail,
    conf,
    first_poke_at,
)
from airflow_respan.exceptions import RespanTaskKilledError
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.operators.waiting import DEFERRAL_MARGIN, BatchWaitingOperator
from airflow_respan.waiting.outcome import parse_failed_ratio, parse_success_statuses
from airflow_respan.waiting.seconds import parse_seconds

if TYPE_CHECKING:
    from airflow_respan.compat import Context
    from airflow_respan.waiting.policy import BatchWait

__all__ = ["DEFERRAL_MARGIN", "RespanBatchSensor"]


class RespanBatchSensor(BatchWaitingOperator, BaseSensorOperator):
    """Wait until a Respan batch has ended, and push its files and counts for the next task.

    The sensor pushes ``batch_id``, ``status``, ``output_file_id``, ``error_file_id`` and ``request_counts`` to XCom as
    soon as the batch has ended, also if it then fails. It returns the whole batch on success.
    ``docs/sensor-and-outcomes.md`` has the table of what each outcome does to the task. It is the same whether the
    sensor pokes, reschedules or defers.

    :param batch_id: the batch to wait for (templated)
    :param respan_conn_id: the Airflow connection (templated)
    :param respan_params: tracking parameters of the requests that retrieve the batch, added to those of the connection
        (templated). Requests for the list have those of the connection only; deferred tasks that wait for the same
        batch share their requests, which have the parameters of the first task
    :param provider_id: the provider that the batch was sent to, or None for the connection's (templated)
    :param success_statuses: terminal statuses that count as success; add ``expired`` to accept a partial output
    :param max_failed_ratio: the share of failed requests that still counts as success (ratio 0-1); 0 allows none. Below
        1, a batch is no success either if counts and files do not say how many requests failed
    :param not_found_grace: seconds, or a timedelta, since the first of several 404s, or of responses about another
        batch, during which they do not end the wait. In reschedule mode the task keeps its worker slot meanwhile,
        because a new process would not know since when the batch is missing
    :param deferrable: wait in the triggerer, without a worker slot; ``[operators] default_deferrable`` by default
    :param cancel_on_kill: cancel the batch when the task is killed, and no attempt of it is left that waits on; off by
        default, because the sensor did not create the batch. While deferred this works from Airflow 3.3 on.

    The arguments of ``BaseSensorOperator`` work as well: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail``,
    ``never_fail``, ``silent_fail``, ``exponential_backoff``, ``max_wait``.

    :raises RespanBatchFailed: if the batch ended and is not accepted; not retried
    :raises RespanBatchTimeout: if ``timeout`` has passed; not retried
    :raises RespanAPIError: if the service refuses the request; retried by Airflow
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
        self.success_statuses = parse_success_statuses(success_statuses)
        self.max_failed_ratio = parse_failed_ratio(max_failed_ratio)
        self.not_found_grace = parse_seconds("not_found_grace", not_found_grace)
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self._batch_id_template = batch_id
        self._wait: BatchWait | None = None

    def execute(self, context: Context) -> Any:
        """Wait for the batch, and return it; Airflow calls this for each try, and in reschedule mode for each poke."""
        self._begin(context)
        # Not by the base class's loop, which applies soft_fail, never_fail and timeout differently by mode and by
        # version, and does not apply them to a deferral.
        with self._apply_soft_fail():
            return self._poll_until_done(context, self._wait_of(context))

    def poke(self, context: Context) -> PokeReturnValue:
        """Check the batch once.

        :return: true when the batch has ended and is accepted, with the batch as its XCom value
        :raises RespanBatchFailed: if the batch has ended and is not accepted
        :raises RespanError: if the service refuses the request
        """
        if self._wait is None:
            self._wait = self._wait_of(context)
        return super()._check(context, self._wait)

    def _check(self, context: Context, wait: BatchWait) -> PokeReturnValue:
        self._wait = wait
        return self.poke(context)  # by poke, because a subclass may override it

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume, and apply ``soft_fail`` and ``never_fail`` as when poking."""
        with self._apply_soft_fail():
            return super().resume_execution(next_method, next_kwargs, context)

    def _wait_of(self, context: Context) -> BatchWait:
        started_at = self._started_at(context)
        is_first_process = started_at == super()._started_at(context)
        return self._make_wait(started_at, checked_at=None if is_first_process else started_at)

    def _apply_soft_fail(self) -> AbstractContextManager[None]:
        # A killed attempt must not skip the task, because the next attempt waits on.
        return apply_soft_fail(soft_fail=self.soft_fail, never_fail=self.never_fail, unless=RespanTaskKilledError)

    def _started_at(self, context: Context) -> str:
        return first_poke_at(self, context) if self.reschedule else super()._started_at(context)

    def _wait_options(self) -> dict[str, Any]:
        return {
            "exponential_backoff": self.exponential_backoff,
            "max_wait": self.max_wait.total_seconds() if self.max_wait else None,
            "silent_fail": self.silent_fail,
        }

    def _pause(self, seconds: float) -> None:
        if self.reschedule and not (self._wait and self._wait.must_stay(seconds)):
            next_poke = pendulum.now("UTC").add(seconds=seconds)
            raise AirflowRescheduleException(next_poke)  # type: ignore[no-untyped-call]  # not typed by Airflow
        super()._pause(seconds)
