"""One attempt to turn an input into a batch: check the input, search for an earlier batch, upload, create.

Because of this order, a task that is killed at any step does not pay twice.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.counts import count_text
from airflow_respan.api.foreign_text import one_line
from airflow_respan.api.tracking import TrackingParameters
from airflow_respan.exceptions import RespanStorageError, RespanTransientError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.storage import open_for_reading
from airflow_respan.submission.identity import compute_fingerprint, input_file_name, with_identity
from airflow_respan.submission.input import CheckedInput, check_and_copy
from airflow_respan.submission.previous_attempts import PreviousAttempts
from airflow_respan.worker_disk import disk_errors

log = logging.getLogger(__name__)

MAX_MODELS_SHOWN = 5
"""The warning about several models names so many of them."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What a batch is created with besides its requests: arguments of the operator, with templates rendered.

    :param endpoint: the endpoint of every request
    :param completion_window: how long the provider may take, such as ``24h``
    :param metadata: texts of the user to keep with the batch
    :param tracking: Respan's tracking parameters for the body of the request
    :param respan_params: tracking parameters for the header, added to those of the connection
    :param provider_id: the provider to send the batch to, or None for the connection's
    """

    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None
    tracking: TrackingParameters
    respan_params: Mapping[str, Any] | None
    provider_id: str | None


class Submission:
    """One attempt to turn an input into a batch.

    Each attribute is set before the next slow step, because ``on_kill`` of the operator may read it during that step.

    :param options: what the batch is created with
    :param hook: sends the requests
    :param previous_attempts: the attempts of the task before this one
    :param push: pushes its keyword arguments to XCom
    :param raise_if_killed: called just before the create, which must not be sent if the task was killed
    """

    def __init__(
        self,
        options: BatchOptions,
        *,
        hook: RespanHook,
        previous_attempts: PreviousAttempts,
        push: Callable[..., None],
        raise_if_killed: Callable[[], None],
    ) -> None:
        self.previous_attempts = previous_attempts
        self.batch_id: str | None = None
        """The batch, as soon as it is known."""
        self.is_found = False
        """Whether an earlier attempt created the batch."""
        self.fingerprint: str | None = None
        """The fingerprint of the input, as soon as it is read."""
        self.is_create_sent = False
        """Whether the service may have created a batch for this attempt, also if its response is not there yet."""
        self._options = options
        self._hook = hook
        self._push = push
        self._raise_if_killed = raise_if_killed

    def submit_file_id(self, input_file_id: str) -> Batch:
        """Return the batch of a file that is at the service, from an earlier attempt or newly created.

        :param input_file_id: the file, which is not checked
        :raises RespanInputChangedError: if an earlier attempt created a batch of another input
        :raises RespanError: if the service refuses, or could not be asked about an earlier batch
        :raises ValueError: if the metadata has no room for the identity
        """
        return self._find_or_create(input_file_id, lambda _fingerprint: input_file_id)

    def submit_requests(self, requests: Iterable[tuple[int, Any]]) -> Batch:
        """Check requests, and return their batch, from an earlier attempt or newly created.

        :param requests: as :func:`airflow_respan.submission.input.check_and_copy` reads them
        :raises RespanInputError: if the service would refuse the requests
        :raises RespanStorageError: if they cannot be read, or the worker's disk has no room for them
        :raises RespanInputChangedError: if an earlier attempt created a batch of another input
        :raises RespanError: if the service refuses, or could not be asked about an earlier batch
        :raises ValueError: if the metadata has no room for the identity
        """
        with _temporary_file() as file:
            checked = check_and_copy(requests, file, endpoint=self._options.endpoint)
            file.seek(0)
            log.info("The input has %s, %d bytes.", count_text(checked.count, "request"), checked.size)
            warn_of_several_models(checked, advice="create a batch for each model")
            return self._find_or_create(
                checked.digest, lambda fingerprint: self._upload_once(file, size=checked.size, fingerprint=fingerprint)
            )

    def submit_checked(self, uri: str, *, size: int, digest: str) -> Batch:
        """Return the batch of requests that are checked already, from an earlier attempt or newly created.

        :param uri: URI of the file with the requests
        :param size: its size in bytes
        :param digest: the digest of the requests, see :class:`~airflow_respan.submission.input.CheckedInput`
        :raises RespanStorageError: if the file cannot be read, or has another size
        :raises RespanInputChangedError: if an earlier attempt created a batch of another input
        :raises RespanError: if the service refuses, or could not be asked about an earlier batch
        :raises ValueError: if the metadata has no room for the identity
        """

        def upload(fingerprint: str) -> str:
            with open_for_reading(uri) as file:
                if (found := file.seek(0, os.SEEK_END)) != size:
                    raise RespanStorageError(
                        f"{uri} has {found:,} bytes instead of {size:,}, so it was changed after it was checked. "
                        "Nothing was created."
                    )
                file.seek(0)
                return self._upload_once(file, size=size, fingerprint=fingerprint)

        return self._find_or_create(digest, upload)

    def _find_or_create(self, content: str, get_file_id: Callable[[str], str]) -> Batch:
        """Return the batch, and push its id.

        :param content: identifies the requests in the fingerprint
        :param get_file_id: returns the id of the input file at the service, given the fingerprint
        """
        fingerprint = compute_fingerprint(
            content=content, endpoint=self._options.endpoint, provider_id=self._options.provider_id
        )
        self.fingerprint = fingerprint
        # Before the search, so that metadata without room for the two pairs fails the task before any request.
        metadata = with_identity(self._options.metadata, key=self.previous_attempts.key, fingerprint=fingerprint)
        batch = self.previous_attempts.reusable_batch(fingerprint)
        if batch is None:
            batch = self._create(get_file_id(fingerprint), fingerprint=fingerprint, metadata=metadata)
        else:
            self.batch_id, self.is_found = batch.id, True
            self._push(input_file_id=batch.input_file_id)
        self._push(batch_id=batch.id)
        return batch

    def _upload_once(self, file: IO[bytes], *, size: int, fingerprint: str) -> str:
        file_id = self.previous_attempts.find_uploaded_file(fingerprint, size=size)
        if file_id is None:
            name = input_file_name(key=self.previous_attempts.key, fingerprint=fingerprint)
            file_id = self._hook.upload_file(file, filename=name, provider_id=self._options.provider_id).id
            log.info("Uploaded the input as %s.", file_id)
        return file_id

    def _create(self, input_file_id: str, *, fingerprint: str, metadata: Mapping[str, str]) -> Batch:
        self._push(input_file_id=input_file_id)
        self.previous_attempts.save_note(fingerprint=fingerprint, input_file_id=input_file_id)
        self._raise_if_killed()
        self.previous_attempts.refuse_if_suspended()
        self.is_create_sent = True
        try:
            batch = self._hook.create_batch(
                input_file_id,
                endpoint=self._options.endpoint,
                completion_window=self._options.completion_window,
                metadata=metadata,
                respan_params=self._options.respan_params,
                provider_id=self._options.provider_id,
                **self._options.tracking,
            )
        except RespanTransientError as error:
            raise RespanTransientError(
                f"{error} The next attempt of this task, a retry or after a clear, searches for the batch.",
                status_code=error.status_code,
                retry_after=error.retry_after,
            ) from None
        # Before everything else, because ``on_kill`` needs the id if the task is killed from here on.
        self.batch_id = batch.id
        log.info("Created batch %s of %s.", batch.id, input_file_id)
        self.previous_attempts.save_note(fingerprint=fingerprint, input_file_id=input_file_id, batch_id=batch.id)
        if batch.metadata is None or not metadata.items() <= batch.metadata.items():
            log.warning(
                "Respan's response does not show the metadata of batch %s. If Respan did not keep it, a retry can find "
                "the batch only by its input file.",
                batch.id,
            )
        return batch


def warn_of_several_models(checked: CheckedInput, *, advice: str) -> None:
    """Log a warning if the requests name several models, which some providers accept.

    :param checked: the requests
    :param advice: what to do if the provider does not accept them
    """
    if len(checked.models) < 2:
        return
    shown = sorted(checked.models.items(), key=lambda item: -item[1])[:MAX_MODELS_SHOWN]
    log.warning(
        "The input names several models (%s%s). OpenAI refuses such a batch, perhaps after hours. If your provider "
        "does, %s.",
        ", ".join(f"{one_line(model, max_length=100)!r}: {count}" for model, count in shown),
        " ..." if len(checked.models) > MAX_MODELS_SHOWN else "",
        advice,
    )


@contextmanager
def _temporary_file() -> Iterator[IO[bytes]]:
    with disk_errors(RespanStorageError, "the input", until="it is uploaded"):
        file = tempfile.TemporaryFile(prefix="respan-")  # noqa: SIM115 (closed below)
    try:
        yield file
    finally:
        with suppress(OSError):  # the error of a full disk comes once more at the close
            file.close()
