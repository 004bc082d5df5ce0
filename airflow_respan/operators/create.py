"""The operator that creates a batch: its arguments, its wait, and its kill.

The steps from the input to the batch are in ``airflow_respan.submission``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_respan.compat import AirflowException
from airflow_respan.exceptions import RespanBatchFailed, RespanError
from airflow_respan.operators.creating import BatchCreatingOperator
from airflow_respan.operators.waiting import BatchWaitingOperator

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch
    from airflow_respan.compat import Context
    from airflow_respan.submission.previous_attempts import PreviousAttempts
    from airflow_respan.submission.submit import Submission
    from airflow_respan.waiting.policy import BatchWait


class RespanCreateBatchOperator(BatchCreatingOperator, BatchWaitingOperator):
    """Check an input, and create a Respan batch of it, once: no retry and no clear pays for the same batch twice.

    The metadata of the batch has the identity of the task: DAG, task, run and map index. Each attempt after the first
    (a retry, or after a clear) searches for a batch with this identity before it creates one.
    ``docs/never-paid-twice.md`` has the table of what it does then. The task pushes ``input_file_id`` and ``batch_id``
    as soon as it has each.

    It returns the id of the batch, also with ``wait_for_completion``. Then it pushes as well what the sensor pushes
    (``status``, ``output_file_id``, ``error_file_id``, ``request_counts``), before a bad outcome fails the task.

    Exactly one of the first three arguments must be given:

    :param input_file_id: a file that was uploaded before; it is not checked (templated)
    :param input_path: the URI of a JSONL file for ``ObjectStoragePath``, such as ``s3://conn_id@bucket/in.jsonl``, or
        the path of a local file (templated). At most 50,000 requests and 200 MB; blank lines are left out
    :param requests: the requests as a list of dicts (templated); Airflow shows the beginning of the list in its UI
    :param endpoint: the endpoint of every request (templated)
    :param completion_window: how long the provider may take (templated)
    :param metadata: texts to keep with the batch, at most 14 pairs (templated)
    :param customer_identifier: Respan's tracking parameter of this name (templated)
    :param custom_identifier: Respan's tracking parameter of this name (templated)
    :param thread_identifier: Respan's tracking parameter of this name (templated)
    :param environment: Respan's tracking parameter of this name (templated)
    :param respan_conn_id: the Airflow connection (templated)
    :param respan_params: tracking parameters for the header of the request that creates the batch, added to those of
        the connection (templated). While the operator waits, they are used as by the sensor
    :param provider_id: the provider to send the batch to, instead of the connection's (templated)
    :param on_changed_input: what to do if an earlier attempt created a batch of another input, and this batch is
        running or complete: ``fail``; or ``resubmit``, which cancels it if it is running, and creates a new one
    :param search_pages: how many pages of 100 batches to search for the batch of an earlier attempt
    :param wait_for_completion: wait for the end of the batch, as the sensor does
    :param deferrable: wait in the triggerer; ``[operators] default_deferrable`` by default
    :param poke_interval: seconds, or a timedelta, between two checks
    :param timeout: seconds, or a timedelta, from the start of the attempt to the end of the wait
    :param success_statuses: terminal statuses that count as success, when waiting
    :param max_failed_ratio: the share of failed requests that still counts as success (ratio 0-1), when waiting
    :param not_found_grace: seconds, or a timedelta, during which the service may not yet show a batch that was just
        created
    :param cancel_on_kill: cancel the batch when the task is killed, and no attempt of it is left that could continue
        with the batch; while deferred this works from Airflow 3.3 on

    :raises RespanInputError: if the service would refuse the input; not retried
    :raises RespanInputChangedError: see ``on_changed_input``; not retried
    :raises RespanBatchFailed: if the batch ended and is not accepted; not retried. Clear the task to create another
    :raises RespanBatchTimeout: if ``timeout`` has passed; not retried. Clear the task to wait again
    :raises RespanStorageError: if ``input_path`` cannot be read, or the worker's disk is full; retried by Airflow
    :raises RespanError: if the service refuses, or gives no usable response; retried by Airflow
    :raises ValueError: if an argument is not valid, or its template rendered to an empty value
    """

    def __init__(self, *, wait_for_completion: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.batch_id = None
        self._submission: Submission | None = None
        self._is_found = False

    def execute(self, context: Context) -> Any:
        """Return the id of the batch of an earlier attempt, or of a new one, perhaps after waiting for its end."""
        self._begin(context)
        batch = self._submit(context)
        if self._is_abandoned:  # and its create had no response yet
            self._cancel_abandoned(batch.id)
            self._raise_if_killed()
        if not self.wait_for_completion:
            return batch.id
        wait = self._make_wait(self._started_at(context))
        if wait.on_batch(batch):
            return self._finish(context, batch)
        self._pause_or_defer(wait)
        return self._poll_until_done(context, wait)

    def execute_complete(
        self,
        context: Context,
        event: Any = None,
        started_at: str | None = None,
        batch_id: str | None = None,
        is_found: bool = False,
        **_: Any,
    ) -> Any:
        """Continue after a deferral, in another process than the one that created the batch.

        :param event: what the trigger yielded
        :param started_at: when the wait began (ISO 8601 with offset)
        :param batch_id: the batch that the task waits for
        :param is_found: whether an earlier attempt created it
        :param _: arguments of another release that deferred the task
        :return: the id of the batch
        """
        self.batch_id, self._is_found = batch_id or self._resumed_batch_id(context, event), is_found
        return super().execute_complete(context, event, started_at)

    def _resumed_batch_id(self, context: Context, event: Any) -> str | None:
        """Return the batch that a resumed task waits for, because dag.test() drops the arguments (2.11, 3.1, 3.3)."""
        from airflow_respan.api.batch import Batch
        from airflow_respan.waiting.event import read_event

        end = read_event(event)
        if end is not None:
            return end.id if isinstance(end, Batch) else None  # an error is raised before the id is needed
        return self._newest_batch_id(context, "Airflow has resumed the task without its arguments")

    def _newest_batch_id(self, context: Context, why: str) -> str:
        """Return the newest batch of this task, as another attempt would find it."""
        batch = self._previous_attempts(context).newest_batch()
        if batch is None:
            raise RespanError(
                f"{why}, and its batch cannot be found. Clear the task: it searches again before it creates another "
                "batch."
            )
        return batch.id

    def _batches_in_progress(self) -> list[str]:
        if self.batch_id is None and self._submission and self._submission.batch_id:
            return [self._submission.batch_id]
        return super()._batches_in_progress()

    def _find_batches_in_progress(self) -> list[str]:
        if known := self._batches_in_progress():
            return known
        return self._find_sent_batch(self._submission)

    def _submit(self, context: Context) -> Batch:
        # Imported here, because DAG files are parsed far more often than they run.
        from airflow_respan.submission.submit import Submission

        previous_attempts = self._previous_attempts(context)
        self._check_one_input()
        submission = self._submission = Submission(
            self._batch_options(),
            hook=self.hook,
            previous_attempts=previous_attempts,
            push=partial(self._push, context),
            raise_if_killed=self._raise_if_killed,
        )
        if self.input_file_id is not None:
            batch = submission.submit_file_id(self.input_file_id)
        else:
            batch = submission.submit_requests(self._numbered_requests())
        self.batch_id, self._is_found = batch.id, submission.is_found
        return batch

    def _previous_attempts(self, context: Context) -> PreviousAttempts:
        from airflow_respan.submission.previous_attempts import PreviousAttempts

        return PreviousAttempts(self, context, input_file_id=self.input_file_id)

    def _resume_kwargs(self, wait: BatchWait) -> dict[str, Any]:
        # The process that resumes is a new one, and batch_id is not an argument of this operator.
        return {**super()._resume_kwargs(wait), "batch_id": wait.batch_id, "is_found": self._is_found}

    def _after_trigger_failure(self, context: Context, trigger_error: AirflowException) -> Any:
        # Airflow drops the arguments of the resume.
        self.batch_id = self._newest_batch_id(context, f"The triggerer gave up the wait ({trigger_error})")
        return super()._after_trigger_failure(context, trigger_error)

    def _finish(self, context: Context, batch: Batch) -> Any:
        try:
            super()._finish(context, batch)
        except RespanBatchFailed as failed:
            if self._is_found and batch.meaning.is_cancelled:
                # Airflow 3.3 calls on_kill of a trigger one or two seconds after the task was marked failed. If the
                # task is cleared meanwhile, this may cancel the batch that this attempt has just found.
                raise RespanError(
                    f"{failed} An earlier attempt created this batch, and it was cancelled since. The next attempt of "
                    "this task, a retry or after a clear, creates another."
                ) from failed
            raise
        return batch.id
