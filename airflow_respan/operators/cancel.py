"""The operator that cancels a batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_respan.compat import AirflowSkipException, conf
from airflow_respan.exceptions import RespanError
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.operators.rendered import is_nothing
from airflow_respan.operators.waiting import BatchWaitingOperator
from airflow_respan.waiting.outcome import describe_batch
from airflow_respan.waiting.seconds import parse_seconds
from airflow_respan.waiting.xcom import batch_xcoms

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch
    from airflow_respan.compat import Context


class RespanCancelBatchOperator(BatchWaitingOperator):
    """Cancel a Respan batch, and wait for its end if ``wait_for_completion`` is set.

    The task succeeds also if the batch has already ended, or completes while it is being cancelled. It returns the
    status that the batch then has: ``cancelling``, ``cancelled``, ``completed`` ... It pushes ``batch_id``, ``status``,
    ``output_file_id``, ``error_file_id`` and ``request_counts`` as the sensor does. A cancelled batch may have a
    partial output, which is billed.

    To clean up after a create that may have failed, set ``skip_if_no_batch``. Read the id from the XCom ``batch_id`` of
    the create task, because a failed task has no return value: ``{{ ti.xcom_pull('create', key='batch_id') }}``.

    :param batch_id: the batch to cancel (templated)
    :param skip_if_no_batch: skip the task if ``batch_id`` is None or empty, because there is no batch to cancel; by
        default this is an error. Any other value that is not an id remains an error
    :param respan_conn_id: the Airflow connection (templated)
    :param provider_id: the provider that the batch was sent to, or None for the connection's (templated)
    :param wait_for_completion: wait until the batch has ended; ``cancelling`` takes up to ten minutes
    :param deferrable: wait in the triggerer; ``[operators] default_deferrable`` by default
    :param poke_interval: seconds, or a timedelta, between two checks
    :param timeout: seconds, or a timedelta, that the wait may take
    :param not_found_grace: seconds, or a timedelta, since the first of several 404s, during which they do not end the
        wait

    :raises RespanBatchTimeout: if ``timeout`` has passed; not retried
    :raises RespanError: if the batch cannot be cancelled and has not ended; retried by Airflow
    :raises AirflowSkipException: if there is no batch, and ``skip_if_no_batch`` is set
    :raises ValueError: if ``batch_id`` is not the id of a batch
    """

    template_fields: Sequence[str] = ("batch_id", "respan_conn_id", "provider_id")
    ui_color = "#e4e0f5"

    def __init__(
        self,
        *,
        batch_id: str | None,
        skip_if_no_batch: bool = False,
        respan_conn_id: str = DEFAULT_CONN_ID,
        provider_id: str | None = None,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 30,
        timeout: timedelta | float = 30 * 60,
        not_found_grace: timedelta | float = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.skip_if_no_batch = skip_if_no_batch
        self.respan_conn_id = respan_conn_id
        self.respan_params = None
        self.provider_id = provider_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poke_interval = parse_seconds("poke_interval", poke_interval)
        self.timeout = parse_seconds("timeout", timeout)
        self.not_found_grace = parse_seconds("not_found_grace", not_found_grace)
        self.cancel_on_kill = False
        self._batch_id_template = batch_id

    def execute(self, context: Context) -> Any:
        """Cancel the batch, perhaps wait for its end, and return its status."""
        self._begin(context)
        if self.skip_if_no_batch and is_nothing(self.batch_id):
            raise AirflowSkipException("There is no batch to cancel (skip_if_no_batch=True).")
        wait = self._make_wait(self._started_at(context))
        batch = self._cancel(wait.batch_id)
        if batch.is_terminal:
            return self._finish(context, batch)
        self.log.info("Batch %s is %s.", batch.id, batch.status)
        if self.wait_for_completion:
            wait.on_batch(batch)
            self._pause_or_defer(wait)
            return self._poll_until_done(context, wait)
        self._push(context, **batch_xcoms(batch))
        return batch.status

    def _cancel(self, batch_id: str) -> Batch:
        """Cancel the batch and return it; also if the service refuses because it has ended or is being cancelled."""
        try:
            return self.hook.cancel_batch(batch_id, provider_id=self.provider_id)
        except RespanError as error:
            # Services refuse to cancel a batch that has ended, with different HTTP statuses.
            batch = self.hook.get_batch(batch_id, provider_id=self.provider_id)
            if batch.is_terminal or batch.meaning.is_being_cancelled:
                return batch
            raise error from None

    def _finish(self, context: Context, batch: Batch) -> Any:
        """Push the XComs and return the status; no outcome fails this task."""
        self._push(context, **batch_xcoms(batch))
        log = self.log.info if batch.meaning.is_cancelled else self.log.warning
        log("%s", describe_batch(batch))
        return batch.status
