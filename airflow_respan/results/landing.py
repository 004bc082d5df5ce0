"""One landing: retrieve the batch, download and check its files, write them, and describe them in a manifest.

It is not part of the operator, because DAG files, which import the operator, are parsed far more often than tasks run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_respan.api import failures
from airflow_respan.api.batch import Batch
from airflow_respan.api.transfer_progress import format_bytes
from airflow_respan.exceptions import RespanError, RespanNotFoundError, RespanResultsError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.landing_options import Deletable, OnBadRows, OnMissing
from airflow_respan.results.completeness import batch_label, check_complete
from airflow_respan.results.destination import Destination
from airflow_respan.results.folder import Folder
from airflow_respan.results.formats import FORMATS
from airflow_respan.results.manifest import LandingKey, make_manifest
from airflow_respan.results.requested_ids import RequestedIds, read_requested_ids
from airflow_respan.results.staging import Staging
from airflow_respan.results.summary import RowSummary
from airflow_respan.storage import open_for_reading

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LandingOptions:
    """What is written where: the arguments of the operator, with templates rendered.

    :param path: URI of the folder
    :param batch_id: the batch; None if its files are given instead
    :param output_file_id: the file of answers, if there is no ``batch_id``
    :param error_file_id: the file of errors, if there is no ``batch_id``
    :param input_path: URI of the batch's input, to compare ids with
    :param input_file_id: the same as a file at the service
    :param on_missing: what requests without a row do
    :param formats: names of the formats besides JSONL
    :param overwrite: whether to replace the results of another batch
    :param delete_files: what to delete at the service afterwards
    :param provider_id: the provider that the batch was sent to, or None for the connection's
    :param allow_no_files: whether a batch without files gives a manifest that says so, instead of an error
    :param on_bad_rows: what lines do that are no usable rows
    """

    path: str
    batch_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    input_path: str | None
    input_file_id: str | None
    on_missing: OnMissing
    formats: tuple[str, ...]
    overwrite: bool
    delete_files: Sequence[Deletable]
    provider_id: str | None
    allow_no_files: bool
    on_bad_rows: OnBadRows = "fail"


class Landing:
    """One landing: the files of one batch are checked and written into one folder.

    :param options: what is written where
    :param hook: sends the requests
    """

    def __init__(self, options: LandingOptions, hook: RespanHook) -> None:
        self._options = options
        self._hook = hook

    def run(self) -> dict[str, Any]:
        """Write the results into the folder, and return the manifest.

        If an earlier attempt completed the same landing, return its manifest and download nothing.

        :raises RespanResultsError: if the batch has no results, they are incomplete or wrong, the folder has other
            results, or it cannot be written
        :raises RespanStorageError: if the store or the input cannot be opened
        :raises RespanConfigurationError: if a package for a format is missing
        :raises RespanError: if the service refuses, or gives no usable response
        """
        batch = self._get_terminal_batch()
        key = self._make_key(batch)
        for name in key.formats:
            FORMATS[name].check_installed()
        destination = Destination(Folder(self._options.path), key, overwrite=self._options.overwrite)
        manifest = destination.find_manifest() or self._land(key, batch, destination)
        self._delete_files(key, batch)
        return manifest

    def _get_terminal_batch(self) -> Batch | None:
        if self._options.batch_id is None:
            return None
        batch = self._hook.get_batch(self._options.batch_id, provider_id=self._options.provider_id)
        if not batch.is_terminal:
            raise RespanResultsError(
                f"Batch {batch.id} is {batch.status}, so its results are not complete yet. Wait for it with "
                "RespanBatchSensor before this task."
            )
        if not (batch.output_file_id or batch.error_file_id or self._options.allow_no_files):
            raise RespanResultsError(f"Batch {batch.id} is {batch.status} and has left no files to land.")
        return batch

    def _make_key(self, batch: Batch | None) -> LandingKey:
        files = batch or self._options
        return LandingKey(
            batch_id=batch.id if batch else None,
            output_file_id=files.output_file_id,
            error_file_id=files.error_file_id,
            input=self._options.input_path or self._options.input_file_id,
            on_missing=self._options.on_missing,
            formats=self._options.formats,
            on_bad_rows=self._options.on_bad_rows,
        )

    def _land(self, key: LandingKey, batch: Batch | None, destination: Destination) -> dict[str, Any]:
        connection = self._hook.get_conn().connection
        folder = destination.folder
        try:
            with Staging(partial(self._hook.download_into, provider_id=self._options.provider_id)) as staging:
                redact = partial(failures.redact_for_display, connection)
                summary = RowSummary(redact=redact, requested=self._read_requested_ids(staging))
                staging.download_and_check(
                    {"output": key.output_file_id, "errors": key.error_file_id},
                    summary,
                    writers={
                        name: partial(FORMATS[name].open_writer, redact=connection.redact) for name in key.formats
                    },
                )
                warnings = check_complete(
                    summary, batch, on_missing=self._options.on_missing, on_bad_rows=self._options.on_bad_rows
                )
                staging.separate_bad_rows(drop=self._options.on_bad_rows == "drop")
                describe = partial(make_manifest, key, batch=batch, summary=summary, path=folder.uri, warnings=warnings)
                manifest, is_written = destination.write(staging.files, describe)
        except RespanNotFoundError:
            # Another attempt of this landing may have completed it meanwhile, and deleted the files at the service.
            if found := destination.find_manifest():
                return found
            raise
        if not is_written:
            return manifest
        for warning in manifest["warnings"]:
            log.warning(warning)
        missing = manifest["counts"]["missing"]
        log.info(
            "Wrote %d rows of %s into %s (%s): %d succeeded, %d failed, %s missing.",
            summary.rows,
            batch_label(batch),
            folder.uri,
            format_bytes(sum(manifest["bytes"].values())),
            summary.succeeded,
            summary.failed,
            "an unknown number" if missing is None else missing,
        )
        return manifest

    def _read_requested_ids(self, staging: Staging) -> RequestedIds | None:
        if self._options.input_path is not None:
            with open_for_reading(self._options.input_path) as file:
                return read_requested_ids(file.read, repr(self._options.input_path))
        return staging.read_requested_ids(self._options.input_file_id) if self._options.input_file_id else None

    def _delete_files(self, key: LandingKey, batch: Batch | None) -> None:
        ids = {
            "input": self._options.input_file_id or (batch.input_file_id if batch else None),
            "output": key.output_file_id,
            "error": key.error_file_id,
        }
        for kind in self._options.delete_files:
            if not (file_id := ids[kind]):
                log.info("There is no %s file to delete, or its id is not known.", kind)
                continue
            try:
                self._hook.delete_file(file_id, provider_id=self._options.provider_id)
                log.info("Deleted the %s file %s at the service.", kind, file_id)
            except RespanNotFoundError:
                log.info("The %s file %s was deleted already.", kind, file_id)
            except RespanError as error:
                log.warning(
                    "The results are written, but the %s file %s could not be deleted: %s", kind, file_id, error
                )
