"""The operator for the whole job: requests in, answers out.

What it does is in ``airflow_respan.rounds``; here are its arguments, its wait and its outcome.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

import pendulum

from airflow_respan.compat import (
    TRIGGER_FAILED,
    AirflowException,
    AirflowSkipException,
    BaseOperator,
    attempt_started_at,
)
from airflow_respan.exceptions import RespanBatchFailed, RespanBatchTimeout, RespanError, RespanTaskKilledError
from airflow_respan.landing_options import Deletable, parse_delete_files
from airflow_respan.operators.creating import BatchCreatingOperator
from airflow_respan.operators.rendered import read_mapping, read_required
from airflow_respan.operators.waiting import DEFERRAL_MARGIN

if TYPE_CHECKING:
    from airflow_respan.compat import Context
    from airflow_respan.rounds.runner import Pending, RoundsOptions, RoundsRunner

OnEmpty = Literal["fail", "skip", "land"]


class RespanBatchOperator(BatchCreatingOperator):
    """Send requests to a model in batches, and write the answers into a folder.

    One task does the whole job: it creates a batch, waits for its end, and writes the results. This is one round. In
    the next round it asks only those requests again that are unsettled: they have no answer, but may get one, because
    they expired, were cancelled, got the error of a rate limit or of the server, or have no row. A request that would
    fail again is not asked again. If an input is too large for one batch, a round has several batches.

    The folder gets ``output.jsonl`` with the row of each request that has an answer, ``errors.jsonl`` with the last
    error of each other request, ``results.parquet`` if ``parquet`` is set, and last ``manifest.json``. Each round has a
    folder of its own, ``round-1`` and so on, with its requests and its results. The task returns the manifest, and
    pushes each of its keys to XCom.

    Each batch is paid once: a retry, or an attempt after a clear, continues with the round that the earlier attempt
    left.

    Exactly one of ``input_file_id``, ``input_path`` and ``requests`` must be given. The arguments of
    :class:`RespanCreateBatchOperator` work as well, except ``wait_for_completion``. These arguments are new, or differ:

    :param path: URI of the folder for ``ObjectStoragePath``: ``s3://my_conn@bucket/answers/{{ run_id }}`` (templated).
        Each task instance needs a folder of its own
    :param requests: also prompts: texts, lists of messages, or pairs of a ``custom_id`` and either. The ``custom_id``
        of a prompt without one is its number, from 1
    :param body: fields for the body of each request, such as ``{"model": "gpt-4o-mini"}``; a request's own fields
        replace them (templated)
    :param output_type: the type of the answers: a pydantic model, another type that pydantic knows, a JSON schema, or
        the name of one as ``"my_module:MyModel"``. Each request states it, and an answer of another type counts as
        failed, with the code ``invalid_output``. None accepts every answer
    :param retry_invalid: ask a request again if its answer is not of ``output_type``
    :param max_rounds: how often a request is asked at most
    :param max_active_batches: how many batches of this task may be in progress at the same time
    :param split_by_model: make a batch for each model, for providers that allow only one in a batch
    :param parquet: also write the rows as Parquet; needs the extra ``parquet``
    :param overwrite: use the folder even if it belongs to another task
    :param delete_files: what to delete at the service after the results of a batch were written: any of ``input``,
        ``output`` and ``error``; the folder has all of it
    :param on_empty: what to do if there is no request: ``fail``; ``skip`` the task; or ``land``, which writes an empty
        output
    :param max_failed_ratio: the largest share of requests that may be without an answer after the last round
        (ratio 0-1). The task also fails if no request has an answer
    :param success_statuses: the terminal statuses of a batch after which the task continues. After another status the
        task fails, and continues after a clear
    :param timeout: seconds, or a timedelta, from the start of the attempt to the end of the last round
    :param cancel_on_kill: cancel the batches of the current round when the task is killed, and no attempt of it is left
        that could continue with them; while deferred this works from Airflow 3.3 on

    :raises RespanInputError: if the service would refuse the input; not retried
    :raises RespanInputChangedError: if the input has changed since an earlier attempt, and ``on_changed_input`` is
        ``fail``; not retried
    :raises RespanBatchFailed: if more requests are without an answer than ``max_failed_ratio`` allows, or a batch ended
        in another status than ``success_statuses``; not retried
    :raises RespanBatchTimeout: if ``timeout`` has passed; not retried. Clear the task to continue
    :raises RespanResultsError: if the folder belongs to another task, or cannot be written; retried by Airflow
    :raises RespanStorageError: if the input cannot be read, or the worker's disk is full; retried by Airflow
    :raises RespanError: if the service refuses, or gives no usable response; retried by Airflow
    :raises AirflowSkipException: if there is no request and ``on_empty`` is ``skip``
    :raises ValueError: if an argument is not valid, or its template rendered to an empty value
    """

    template_fields: Sequence[str] = (*BatchCreatingOperator.template_fields, "path", "body")
    _is_input_repeatable = True
    """Whether each reading gives the same input, unless the user has changed it."""

    def __init__(
        self,
        *,
        path: str,
        body: Mapping[str, Any] | None = None,
        output_type: Any = None,
        retry_invalid: bool = False,
        max_rounds: int = 3,
        max_active_batches: int = 10,
        split_by_model: bool = False,
        parquet: bool = False,
        overwrite: bool = False,
        delete_files: Sequence[Deletable] | Deletable = (),
        on_empty: OnEmpty = "fail",
        success_statuses: Sequence[str] = ("completed", "expired", "cancelled"),
        **kwargs: Any,
    ) -> None:
        super().__init__(success_statuses=success_statuses, **kwargs)
        for name, value in (("max_rounds", max_rounds), ("max_active_batches", max_active_batches)):
            if value < 1:
                raise ValueError(f"{name} of task {self.task_id!r} is {value!r}; it must be 1 or more")
        if on_empty not in get_args(OnEmpty):
            raise ValueError(f"on_empty is {on_empty!r}; choose among {', '.join(get_args(OnEmpty))}")
        self.path = path
        self.body = body
        self.output_type = output_type
        self.retry_invalid = retry_invalid
        self.max_rounds = max_rounds
        self.max_active_batches = max_active_batches
        self.split_by_model = split_by_model
        self.parquet = parquet
        self.overwrite = overwrite
        self.delete_files = parse_delete_files(delete_files)
        self.on_empty = on_empty
        self._runner: RoundsRunner | None = None
        self._pushed_batch_ids: list[str] = []

    def _begin(self, context: Context) -> None:
        super()._begin(context)
        self.path = read_required("path", self.path)
        self.body = read_mapping("body", self.body, task_id=self.task_id)
        if self.output_type is not None:
            from airflow_respan.results.response_format import response_format
            from airflow_respan.submission.prompts import merge_body

            self.body = merge_body(response_format(self.output_type, self.endpoint), self.body or {})

    def execute(self, context: Context) -> Any:
        """Ask all requests, in as many rounds as are needed, and return the manifest."""
        self._begin(context)
        return self._run(context, started_at=attempt_started_at(context), is_first_process=True)

    def execute_complete(
        self,
        context: Context,
        event: Any = None,
        started_at: str | None = None,
        failed: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        """Continue after a deferral, in another process.

        :param event: what the trigger yielded
        :param started_at: when the attempt began (ISO 8601 with offset); this attempt's start if it is missing
        :param failed: the events of waits that ended with an error, by the ids of their batches
        :param _: arguments of another release that deferred the task
        :return: the manifest
        """
        ends = event.get("batches") if isinstance(event, Mapping) else None
        if not isinstance(ends, Mapping):
            self.log.warning("Resumed without a usable event (%.200r); checking all batches.", event)
            ends = {}
        return self._run(
            context, started_at=started_at or attempt_started_at(context), events={**(failed or {}), **ends}
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral; if the trigger failed, check all batches."""
        self._begin(context)
        try:
            return BaseOperator.resume_execution(self, next_method, next_kwargs or {}, context)
        except AirflowException as error:
            if next_method != TRIGGER_FAILED:
                raise
            self.log.warning("The triggerer gave up the wait (%s); checking all batches.", error)
            return self._run(context, started_at=attempt_started_at(context), trigger_error=error)

    def _batches_in_progress(self) -> list[str]:
        runs = self._runner.current_runs if self._runner else []
        return [run.wait.batch_id for run in runs if run.is_active and run.wait]

    def _find_batches_in_progress(self) -> list[str]:
        runs = self._runner.current_runs if self._runner else []
        sent = [batch_id for run in runs if run.wait is None for batch_id in self._find_sent_batch(run.submission)]
        return [*self._batches_in_progress(), *sent]

    def _run(
        self,
        context: Context,
        *,
        started_at: str,
        events: Mapping[str, Any] | None = None,
        is_first_process: bool = False,
        trigger_error: AirflowException | None = None,
    ) -> Any:
        from airflow_respan.api.batch import Batch
        from airflow_respan.rounds.runner import Pending, RoundsRunner
        from airflow_respan.submission.input import EmptyInputError
        from airflow_respan.waiting.event import read_event

        self._runner = RoundsRunner(
            self._rounds_options(started_at),
            task=self,
            context=context,
            raise_if_killed=self._raise_if_killed,
        )
        ends = {batch_id: read_event(event) for batch_id, event in (events or {}).items()}
        known = {batch_id: end for batch_id, end in ends.items() if isinstance(end, Batch)}
        failed = {batch_id: end for batch_id, end in ends.items() if isinstance(end, RespanError)}
        try:
            found = self._runner.begin(self._source, is_repeatable=is_first_process and self._is_input_repeatable)
            while found is None:
                state = self._runner.advance(known=known, failed=failed)
                if not isinstance(state, Pending):
                    found = state
                    break
                if (batch_ids := self._batches_in_progress()) != self._pushed_batch_ids:
                    self._push(context, batch_ids=batch_ids)
                    self._pushed_batch_ids = batch_ids
                self._pause_or_defer(state, started_at=started_at, trigger_error=trigger_error)
        except EmptyInputError:
            if self.on_empty == "skip":
                raise AirflowSkipException("There is no request in the input (on_empty='skip').") from None
            raise
        except RespanTaskKilledError:
            if self._is_abandoned:
                # At the kill, the notes were not read yet, or a create had no response yet.
                for batch_id in self._runner.find_batches():
                    self._cancel_abandoned(batch_id)
            raise
        return self._finish(context, found)

    def _pause_or_defer(self, pending: Pending, *, started_at: str, trigger_error: AirflowException | None) -> None:
        from airflow_respan.triggers.batches import RespanBatchesTrigger
        from airflow_respan.waiting.event import make_event

        self._raise_if_killed()
        seconds_left = self._seconds_left(started_at)
        if seconds_left <= 0:
            from airflow_respan.waiting.progress import duration_text

            batches = ", ".join(self._batches_in_progress())
            raise RespanBatchTimeout(
                f"The timeout of {duration_text(self.timeout)} has passed, and not all requests have a result. "
                f"{f'Batches in progress, which are billed: {batches}' if batches else 'No batch is in progress'}. "
                "Clear the task to continue; it pays nothing twice."
            )
        if trigger_error is not None:
            raise RespanError(
                f"The triggerer gave up the wait for {', '.join(self._batches_in_progress()) or 'the next batch'} "
                f"({trigger_error}). The batches continue at the service, and the next attempt, a retry or after a "
                "clear, continues with them. The triggerer's log has the cause."
            ) from trigger_error
        pause = min(pending.pause_seconds(), seconds_left)
        if not self.deferrable:
            self._pause(pause)
            return
        now = pendulum.now("UTC")
        runs = self._runner.current_runs if self._runner else []
        failed = {run.wait.batch_id: run.error for run in runs if run.wait and isinstance(run.error, RespanError)}
        self.defer(
            trigger=RespanBatchesTrigger(
                batch_ids=[wait.batch_id for wait in pending.waits],
                until_any=pending.until_any,
                resume_at=pending.resume_at,
                respan_conn_id=self.respan_conn_id,
                respan_params=self.respan_params,
                provider_id=self.provider_id,
                cancel_on_kill=self.cancel_on_kill,
                checked_at=now.isoformat(),
                next_check_at=now.add(seconds=pause).isoformat(),
                **self._wait_options(started_at),
            ),
            method_name="execute_complete",
            kwargs={
                "started_at": started_at,
                "failed": {batch_id: make_event(error) for batch_id, error in failed.items()},
            },
            timeout=timedelta(seconds=seconds_left) + DEFERRAL_MARGIN,
        )

    def _finish(self, context: Context, manifest: dict[str, Any]) -> Any:
        """Push the manifest, and fail if too many requests are without an answer."""
        from airflow_respan.api.counts import count_text

        self._push(context, **manifest)
        counts = manifest["counts"]
        without = counts["requests"] - counts["succeeded"]
        ratio = without / counts["requests"] if counts["requests"] else 0.0
        text = (
            f"{counts['succeeded']} of {counts['requests']} requests have an answer after "
            f"{count_text(len(manifest['rounds']), 'round')}"
            + (f"; {counts['unsettled']} of the others may get one if they are asked again" if without else "")
            + f". The results are in {manifest['path']}."
        )
        if counts["requests"] and (not counts["succeeded"] or ratio > self.max_failed_ratio):
            self._raise_if_killed()
            allowed = f", and at most {self.max_failed_ratio:.1%} may have none" if counts["succeeded"] else ""
            advice = (
                "To ask these again, raise max_rounds and clear the task."
                if counts["unsettled"]
                else "Its errors.jsonl has the reasons."
            )
            raise RespanBatchFailed(f"{ratio:.1%} of the requests have no answer{allowed}. {text} {advice}")
        (self.log.warning if without else self.log.info)(text)
        return manifest

    def _source(self) -> Iterable[tuple[int, Any]]:
        """Return the requests with their numbers."""
        self._check_one_input()
        return self._shape(self._numbered_requests() if self.input_file_id is None else self._downloaded_requests())

    def _shape(self, items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Yield a request for each item, which may be a prompt."""
        from airflow_respan.submission.prompts import make_request

        for number, item in items:
            yield number, make_request(number, item, endpoint=self.endpoint, body=self.body)

    def _downloaded_requests(self) -> Iterator[tuple[int, bytes]]:
        from airflow_respan.jsonl import read_lines

        with tempfile.TemporaryFile() as file:
            self.hook.download_into(str(self.input_file_id), file, provider_id=self.provider_id)
            file.seek(0)
            yield from read_lines(file.read)

    def _wait_options(self, started_at: str) -> dict[str, Any]:
        return {
            "started_at": started_at,
            "timeout": self.timeout,
            "poke_interval": self.poke_interval,
            "not_found_grace": self.not_found_grace,
        }

    def _seconds_left(self, started_at: str) -> float:
        return _unix_seconds(started_at) + self.timeout - time.time()

    def _rounds_options(self, started_at: str) -> RoundsOptions:
        from airflow_respan.results.formats import FORMATS
        from airflow_respan.results.output_reader import OutputReader
        from airflow_respan.rounds.outcomes import OutcomeRules
        from airflow_respan.rounds.part_run import PartOptions
        from airflow_respan.rounds.runner import RoundsOptions

        return RoundsOptions(
            path=self.path,
            max_rounds=self.max_rounds,
            max_active_batches=self.max_active_batches,
            split_by_model=self.split_by_model,
            formats=tuple(name for name in FORMATS if getattr(self, name)),
            overwrite=self.overwrite,
            allow_empty=self.on_empty == "land",
            rules=OutcomeRules(
                check_answer=None if self.output_type is None else OutputReader(self.output_type).check,
                retry_invalid=self.retry_invalid,
            ),
            parts=PartOptions(
                batch=self._batch_options(),
                wait=self._wait_options(started_at),
                success_statuses=self.success_statuses,
                delete_files=self.delete_files,
                started_at=_unix_seconds(started_at),
            ),
        )


def _unix_seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
