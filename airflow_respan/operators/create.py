"""The operator that creates a batch, once, whatever happens to its attempts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, cast

from airflow_respan.api.tracking import TRACKING_PARAMETERS, TrackingParameters
from airflow_respan.compat import AirflowException, conf
from airflow_respan.exceptions import RespanBatchFailed, RespanError, RespanStorageError, RespanTransientError
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.operators.waiting import BatchWaitingOperator, to_seconds
from airflow_respan.submission.identity import compute_fingerprint, input_file_name, with_identity
from airflow_respan.waiting.outcome import parse_failed_ratio, parse_success_statuses

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch
    from airflow_respan.compat import Context
    from airflow_respan.submission.previous_attempts import PreviousAttempts
    from airflow_respan.waiting.policy import BatchWait

POLICIES = ("fail", "resubmit")


class RespanCreateBatchOperator(BatchWaitingOperator):
    """Creates a Respan batch, checks its input before that, and never pays for it twice.

    The batch carries a mark of DAG, task, run and map index in its metadata. Each attempt after the first, be it a
    retry or after a clear, looks for a batch with this mark before it creates one: the README has the table of what
    it then does. Pushes ``input_file_id`` and ``batch_id`` the moment it knows each.

    Returns the id of the batch, also with ``wait_for_completion``; what the sensor pushes (``status``,
    ``output_file_id``, ``error_file_id``, ``request_counts``) is pushed then as well, before a bad end fails the task.

    Exactly one of the first three says what to ask:

    :param input_file_id: a file that was uploaded before (templated)
    :param input_path: the URI of a JSONL file for ``ObjectStoragePath``, such as ``s3://conn_id@bucket/in.jsonl``, or
        the path of a local one (templated). At most 50,000 requests and 200 MB; blank lines are left out
    :param requests: the requests as a list of dicts (templated); Airflow shows the beginning of it in its UI
    :param endpoint: the endpoint of every request (templated)
    :param completion_window: how long the provider may take (templated)
    :param metadata: texts to keep with the batch, at most 14 (templated)
    :param customer_identifier: Respan's tracking parameter of that name, like the next three (templated)
    :param custom_identifier: see Respan's pages (templated)
    :param thread_identifier: see Respan's pages (templated)
    :param environment: see Respan's pages (templated)
    :param respan_conn_id: the Airflow connection (templated)
    :param respan_params: tracking parameters for the header, on top of the connection's (templated)
    :param provider_id: the provider to send the batch to, instead of the connection's (templated)
    :param on_changed_input: what to do if an earlier attempt made a batch of another input, which goes on or is
        complete: ``fail``, or ``resubmit``, which cancels it if it goes on
    :param search_pages: how many pages of 100 batches to look through for the batch of an earlier attempt
    :param wait_for_completion: wait for the end of the batch, as the sensor does
    :param deferrable: wait in the triggerer; ``[operators] default_deferrable`` by default
    :param poke_interval: seconds, or a timedelta, between two looks
    :param timeout: seconds, or a timedelta, from the start of the attempt to the end of the wait
    :param success_statuses: terminal statuses that count as success, when waiting
    :param max_failed_ratio: the share of failed requests that still counts as success (ratio 0-1), when waiting
    :param not_found_grace: seconds, or a timedelta, for which the service may not yet show a batch that was just made
    :param cancel_on_kill: cancel the batch when the task is killed: on a worker, and while deferred from Airflow 3.3
        on, where clearing counts as killing

    :raises RespanInputError: if no batch can be made of the input; not retried
    :raises RespanInputChangedError: see ``on_changed_input``; not retried
    :raises RespanBatchFailed: if the batch ended and is not accepted; not retried, clear the task to submit anew
    :raises RespanBatchTimeout: if ``timeout`` is over; not retried, clear the task to wait again
    :raises RespanStorageError: if ``input_path`` cannot be read; retried by Airflow
    :raises RespanError: if the service refuses, or cannot be asked; retried by Airflow
    :raises ValueError: for an argument that cannot be
    """

    template_fields: Sequence[str] = (
        "input_file_id",
        "input_path",
        "requests",
        "endpoint",
        "completion_window",
        "metadata",
        *TRACKING_PARAMETERS,
        "respan_conn_id",
        "respan_params",
        "provider_id",
    )
    ui_color = "#e4e0f5"

    def __init__(
        self,
        *,
        input_file_id: str | None = None,
        input_path: str | None = None,
        requests: Iterable[Mapping[str, Any]] | None = None,
        endpoint: str = "/v1/chat/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        customer_identifier: str | None = None,
        custom_identifier: str | None = None,
        thread_identifier: str | None = None,
        environment: str | None = None,
        respan_conn_id: str = DEFAULT_CONN_ID,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
        on_changed_input: str = "fail",
        search_pages: int = 20,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float = 7 * 24 * 3600,
        success_statuses: Sequence[str] = ("completed",),
        max_failed_ratio: float = 1.0,
        not_found_grace: timedelta | float = 60,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_file_id = input_file_id
        self.input_path = input_path
        self.requests = requests
        self.endpoint = endpoint
        self.completion_window = completion_window
        self.metadata = metadata
        self.customer_identifier = customer_identifier
        self.custom_identifier = custom_identifier
        self.thread_identifier = thread_identifier
        self.environment = environment
        self.respan_conn_id = respan_conn_id
        self.respan_params = respan_params
        self.provider_id = provider_id
        if on_changed_input not in POLICIES:
            raise ValueError(f"on_changed_input is {on_changed_input!r}; choose among {', '.join(POLICIES)}")
        self.on_changed_input = on_changed_input
        if search_pages < 1:
            raise ValueError(f"search_pages is {search_pages!r}; it is a number of pages, 1 or more")
        self.search_pages = search_pages
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poke_interval = to_seconds(poke_interval)
        self.timeout = to_seconds(timeout)
        self.success_statuses = parse_success_statuses(success_statuses)
        self.max_failed_ratio = parse_failed_ratio(max_failed_ratio)
        self.not_found_grace = to_seconds(not_found_grace)
        self.cancel_on_kill = cancel_on_kill
        self.batch_id = None
        self._asking: PreviousAttempts | None = None
        self._is_found = False
        self._one_input()

    def execute(self, context: Context) -> Any:
        """Find the batch of an earlier attempt, or create one; then perhaps wait for it."""
        earlier = self._previous_attempts(context)
        self._one_input()
        if self.input_file_id is not None:
            batch = self._batch(context, earlier, content=self.input_file_id, file=None, size=0)
        else:
            batch = self._batch_of_checked(context, earlier)
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
        """Go on after a deferral: this is another process than the one that created the batch.

        :param batch_id: the batch that was waited for
        :param is_found: whether an earlier attempt had made it
        """
        self.batch_id, self._is_found = batch_id, is_found
        return super().execute_complete(context, event, started_at)

    def on_kill(self) -> None:
        """Cancel the batch, if ``cancel_on_kill`` says so, also one whose id is still on its way."""
        if self.cancel_on_kill and self.batch_id is None and self._asking is not None:
            self.__dict__.pop("hook", None)  # that one may be in the middle of the call
            try:
                found = self._asking.find_listed()
            except RespanError as error:
                found = None
                self.log.warning("Whether the batch was made could not be found out: %s", error)
            if found is None:
                self.log.warning("The batch may be made all the same; the next attempt of this task looks for it.")
            else:
                self.batch_id = found.id
        super().on_kill()

    def _previous_attempts(self, context: Context) -> PreviousAttempts:
        # Imported when it is needed: DAG files are parsed far more often than they run.
        from airflow_respan.submission.previous_attempts import PreviousAttempts

        return PreviousAttempts(self, context)

    def _one_input(self) -> None:
        given = [name for name in ("input_file_id", "input_path", "requests") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"task {self.task_id!r} has to be given exactly one of input_file_id, input_path and requests, "
                f"not {' and '.join(given) or 'none'}"
            )
        value = getattr(self, given[0])
        if given != ["requests"] and isinstance(value, str) and value.strip() in ("", "None"):
            raise ValueError(f"{given[0]} of task {self.task_id!r} is {value!r}: its template gave nothing")

    def _batch_of_checked(self, context: Context, earlier: PreviousAttempts) -> Batch:
        from airflow_respan.submission.input import check_and_copy

        with _temporary_file() as file:
            try:
                checked = check_and_copy(self._numbered_requests(), file, endpoint=self.endpoint)
                file.seek(0)
            except OSError as error:
                raise RespanStorageError(
                    f"The input could not be kept in {tempfile.gettempdir()} until it is uploaded: {error}. Make room "
                    "for all of it there, or name a larger place by the worker's variable TMPDIR, and clear the task."
                ) from error
            self.log.info("The input has %d requests, %d bytes.", checked.count, checked.size)
            return self._batch(context, earlier, content=checked.digest, file=file, size=checked.size)

    def _numbered_requests(self) -> Iterable[tuple[int, Any]]:
        if self.input_path is None:
            if self.requests is None or isinstance(self.requests, str | bytes | Mapping):
                raise ValueError(
                    f"requests of task {self.task_id!r} is a {type(self.requests).__name__}, not a list: pass the "
                    "output of the task that makes it, or set render_template_as_native_obj on the DAG"
                )
            return enumerate(self.requests, start=1)
        return _lines_at(self.input_path)

    def _batch(
        self, context: Context, earlier: PreviousAttempts, *, content: str, file: IO[bytes] | None, size: int
    ) -> Batch:
        fingerprint = compute_fingerprint(content=content, endpoint=self.endpoint, provider_id=self.provider_id)
        metadata = with_identity(self.metadata, key=earlier.key, fingerprint=fingerprint)
        batch = earlier.reusable_batch(fingerprint)
        if batch is None:
            batch = self._created(context, earlier, fingerprint, metadata, file, size)
        else:
            self.batch_id, self._is_found = batch.id, True
            self._push(context, input_file_id=batch.input_file_id)
        self._push(context, batch_id=batch.id)
        return batch

    def _created(
        self,
        context: Context,
        earlier: PreviousAttempts,
        fingerprint: str,
        metadata: Mapping[str, str],
        file: IO[bytes] | None,
        size: int,
    ) -> Batch:
        input_file_id = self.input_file_id
        if file is not None:
            input_file_id = earlier.find_uploaded_file(fingerprint, size=size)
            if input_file_id is None:
                name = input_file_name(key=earlier.key, fingerprint=fingerprint)
                input_file_id = self.hook.upload_file(file, filename=name, provider_id=self.provider_id).id
                self.log.info("Uploaded the input as %s.", input_file_id)
        assert input_file_id is not None  # noqa: S101 (for the type checker; it is one or the other)
        self._push(context, input_file_id=input_file_id)
        earlier.save_note(fingerprint=fingerprint, input_file_id=input_file_id)
        self._asking = earlier
        try:
            batch = self.hook.create_batch(
                input_file_id,
                endpoint=self.endpoint,
                completion_window=self.completion_window,
                metadata=metadata,
                respan_params=self.respan_params,
                provider_id=self.provider_id,
                **self._tracking(),
            )
        except RespanTransientError as error:
            raise RespanTransientError(
                f"{error} The next attempt of this task, a retry or after a clear, does look there.",
                status_code=error.status_code,
                retry_after=error.retry_after,
            ) from None
        # First of all, for whoever kills this task from here on.
        self.batch_id = batch.id
        self.log.info("Created batch %s of %s.", batch.id, input_file_id)
        earlier.save_note(fingerprint=fingerprint, input_file_id=input_file_id, batch_id=batch.id)
        if batch.metadata is not None and metadata.items() <= batch.metadata.items():
            return batch
        self.log.warning(
            "Respan's answer does not show the metadata of batch %s: if it was not kept, a retry cannot find it.",
            batch.id,
        )
        return batch

    def _tracking(self) -> TrackingParameters:
        return cast("TrackingParameters", {name: getattr(self, name) for name in TRACKING_PARAMETERS})

    def _resume_kwargs(self, wait: BatchWait) -> dict[str, Any]:
        return {**super()._resume_kwargs(wait), "batch_id": wait.batch_id, "is_found": self._is_found}

    def _after_trigger_failure(self, context: Context, given_up: AirflowException) -> Any:
        # Airflow forgets what was noted for the resume: the batch has to be found as another attempt would.
        batch = self._previous_attempts(context).newest_batch()
        if batch is None:
            raise RespanError(
                f"The triggerer gave up the wait ({given_up}), and the batch that it was for cannot be found. Clear "
                "the task: it looks again before it creates another."
            ) from given_up
        self.batch_id = batch.id
        return super()._after_trigger_failure(context, given_up)

    def _finish(self, context: Context, batch: Batch) -> Any:
        try:
            super()._finish(context, batch)
        except RespanBatchFailed as failed:
            if self._is_found and batch.meaning.is_cancelled:
                # Airflow 3.3 tells a trigger that its task was cleared a second or two later: the kill of the earlier
                # attempt has met the batch that this one had just found.
                raise RespanError(
                    f"{failed} An earlier attempt had made this batch, and it was cancelled since. The next attempt of "
                    "this task, a retry or after a clear, submits anew."
                ) from failed
            raise
        return batch.id


@contextmanager
def _temporary_file() -> Iterator[IO[bytes]]:
    file = tempfile.TemporaryFile(prefix="respan-")  # noqa: SIM115 (closed below)
    try:
        yield file
    finally:
        with suppress(OSError):  # a disk that is full says so once more
            file.close()


def _lines_at(path: str) -> Iterator[tuple[int, bytes]]:
    from airflow_respan.jsonl import read_lines
    from airflow_respan.storage import open_for_reading

    with open_for_reading(path) as file:
        yield from read_lines(file.read)
