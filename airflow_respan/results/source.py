"""Reads a batch and its files from the service. The files may come a little after the end of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from airflow_respan.api import endpoints, failures
from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanError, RespanNotFoundError, RespanResultsError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.results.error_content import find_service_error
from airflow_respan.results.file_grace import FileGrace


class ResultSource:
    """The batch of a landing, and its files.

    :param hook: sends the requests
    :param batch_id: the batch; None if only its files are known
    :param provider_id: the provider that has it, or None for the connection's
    :param not_found_grace: seconds since the end of the batch during which its files may be missing
    """

    def __init__(
        self, hook: RespanHook, *, batch_id: str | None, provider_id: str | None, not_found_grace: float
    ) -> None:
        self._hook = hook
        self._batch_id = batch_id
        self._provider_id = provider_id
        self._not_found_grace = not_found_grace
        self._grace = FileGrace(not_found_grace, ended_at=None)

    def get_batch(self) -> Batch | None:
        """Retrieve the batch. If the id of its output file seems to be missing, try again within the grace.

        :return: the batch; None if only its files are known
        :raises RespanResultsError: if it has not ended
        :raises RespanError: if the service refuses, or gives no usable response
        """
        if self._batch_id is None:
            return None
        batch = self._get_ended_batch(self._batch_id)
        if batch.ended_at:
            self._grace = FileGrace(self._not_found_grace, ended_at=batch.ended_at.timestamp())
        if _lacks_output_file(batch):
            batch = self.get_changed_batch(batch, f"Batch {batch.id} is {batch.status}, but has no output file yet")
        return batch

    def get_changed_batch(self, batch: Batch, reason: object) -> Batch:
        """Retrieve a batch again until it has other files; return it, or the same batch if the grace is over.

        :param batch: the batch as it was retrieved before
        :param reason: what is missing, for the log
        """
        while self._grace.pause(reason):
            newer = self._get_ended_batch(batch.id)
            if (newer.output_file_id, newer.error_file_id) != (batch.output_file_id, batch.error_file_id):
                return newer
        return batch

    def download(self, file_id: str, file: IO[bytes], *, may_come: Callable[[], bool]) -> None:
        """Download a file.

        Within the grace, try again if the service does not have the file, or sends an error as its content.

        :param file_id: its id at the service
        :param file: open for writing, and seekable
        :param may_come: returns whether it makes sense to try again
        :raises RespanNotFoundError: if the service does not have the file
        :raises RespanError: if the service refuses, or gives no usable response
        """
        while (error := self._try_download(file_id, file)) is not None:
            if not may_come() or not self._grace.pause(error):
                raise error

    def _get_ended_batch(self, batch_id: str) -> Batch:
        batch = self._hook.get_batch(batch_id, provider_id=self._provider_id)
        if not batch.is_terminal:
            raise RespanResultsError(
                f"Batch {batch.id} is {batch.status}, so its results are not complete yet. Wait for it with "
                "RespanBatchSensor before this task."
            )
        return batch

    def _try_download(self, file_id: str, file: IO[bytes]) -> RespanError | None:
        """Download a file; return an error if another try may succeed, and None if the content is there."""
        try:
            self._hook.download_into(file_id, file, provider_id=self._provider_id)
        except RespanNotFoundError as error:
            return error
        text = find_service_error(file)
        if text is None:
            return None
        connection = self._hook.get_conn().connection
        request = endpoints.file_content(connection, file_id, provider_id=self._provider_id)
        return failures.transient_error(request, f"Respan sent an error as the content of the file: {text}")


def lacks_error_file(batch: Batch) -> bool:
    """Return whether a batch has no error file, although requests failed; some services never write one."""
    counts = batch.request_counts
    return bool(counts and counts.failed) and not batch.error_file_id


def is_expected_empty(name: str, batch: Batch | None) -> bool:
    """Return whether a file would have no rows by the counts of the batch.

    :param name: the key of the file in the manifest: ``output`` or ``errors``
    :param batch: the batch, or None if only its files are known
    """
    counts = batch.request_counts if batch else None
    if counts is None or not counts.done:  # counts that are all zero say nothing
        return False
    return (counts.completed if name == "output" else counts.failed) == 0


def _lacks_output_file(batch: Batch) -> bool:
    counts = batch.request_counts
    has_answers = bool(counts and counts.completed) or (batch.meaning.is_complete and not batch.error_file_id)
    return has_answers and not batch.output_file_id
