"""One landing: retrieve the batch, download and check its files, write them, and describe them in a manifest.

It is not part of the operator, because DAG files, which import the operator, are parsed far more often than tasks run.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import IO, Any

from airflow_respan.api import failures
from airflow_respan.api.batch import Batch
from airflow_respan.api.transfer_progress import format_bytes
from airflow_respan.exceptions import RespanError, RespanNotFoundError, RespanResultsError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.landing_options import LandingOptions
from airflow_respan.results.completeness import RowsMissingError, batch_label, check_complete
from airflow_respan.results.destination import Destination
from airflow_respan.results.folder import Folder
from airflow_respan.results.formats import FORMATS
from airflow_respan.results.manifest import LandingKey, make_manifest
from airflow_respan.results.requested_ids import RequestedIds, read_requested_ids
from airflow_respan.results.source import ResultSource, is_expected_empty, lacks_error_file
from airflow_respan.results.staging import Staging
from airflow_respan.results.summary import RowSummary
from airflow_respan.storage import open_for_reading
from airflow_respan.waiting.outcome import describe_batch

log = logging.getLogger(__name__)


class Landing:
    """One landing: the files of one batch are checked and written into one folder.

    :param options: what is written where
    :param hook: sends the requests
    """

    def __init__(self, options: LandingOptions, hook: RespanHook) -> None:
        self._options = options
        self._hook = hook
        self._source = ResultSource(
            hook,
            batch_id=options.batch_id,
            provider_id=options.provider_id,
            not_found_grace=options.not_found_grace,
        )

    def run(self) -> dict[str, Any]:
        """Write the results into the folder, and return the manifest.

        If an earlier attempt completed the same landing, return its manifest and download nothing.

        :raises RespanResultsError: if the batch has no results, they are incomplete or wrong, the folder has other
            results, or it cannot be written
        :raises RespanStorageError: if the store or the input cannot be opened
        :raises RespanConfigurationError: if a package for a format is missing
        :raises RespanError: if the service refuses, or gives no usable response
        """
        batch = self._source.get_batch()
        try:
            return self._land_batch(batch)
        except RowsMissingError:
            if not batch or not lacks_error_file(batch):
                raise
            changed = self._source.get_changed_batch(batch, f"Batch {batch.id} has failed requests, but no error file")
            if changed is batch:
                raise
        return self._land_batch(changed)

    def _land_batch(self, batch: Batch | None) -> dict[str, Any]:
        if batch and not (batch.output_file_id or batch.error_file_id or self._options.allow_no_files):
            raise RespanResultsError(
                f"{describe_batch(batch)} Without an output file and an error file there are no results to write."
            )
        key = self._make_key(batch)
        for name in key.formats:
            FORMATS[name].check_installed()
        destination = Destination(Folder(self._options.path), key, overwrite=self._options.overwrite)
        manifest = destination.find_manifest() or self._land(key, batch, destination)
        self._delete_files(key, batch)
        return manifest

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
            with Staging(partial(self._download, key, batch, destination)) as staging:
                redact = partial(failures.redact_for_display, connection)
                summary = RowSummary(redact=redact, requested=self._read_requested_ids(staging))
                staging.download_and_check(
                    {"output": key.output_file_id, "errors": key.error_file_id},
                    summary,
                    writers={
                        name: partial(FORMATS[name].open_writer, redact=connection.redact) for name in key.formats
                    },
                )
                warnings = _check_absent_files(staging, summary, batch)
                warnings += check_complete(
                    summary, batch, on_missing=self._options.on_missing, on_bad_rows=self._options.on_bad_rows
                )
                staging.separate_bad_rows(drop=self._options.on_bad_rows == "drop")
                describe = partial(
                    make_manifest,
                    key,
                    batch=batch,
                    summary=summary,
                    path=folder.uri,
                    absent_files=staging.absent_files,
                    warnings=warnings,
                )
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

    def _download(
        self, key: LandingKey, batch: Batch | None, destination: Destination, file_id: str, file: IO[bytes]
    ) -> None:
        name = {key.output_file_id: "output", key.error_file_id: "errors"}.get(file_id)

        def may_come() -> bool:
            # Another attempt of this landing may have completed it, and deleted the file.
            return name is not None and not is_expected_empty(name, batch) and not destination.find_manifest()

        self._source.download(file_id, file, may_come=may_come)

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


def _check_absent_files(staging: Staging, summary: RowSummary, batch: Batch | None) -> list[str]:
    """Return a warning for each file that the batch names, but the service does not have.

    :raises RespanNotFoundError: if rows may be lost by that
    """
    for name, error in staging.absent_files.items():
        if not is_expected_empty(name, batch) and summary.missing(batch) != 0:
            raise error
    return [f"A file of the batch does not exist, but it would have no row: {e}" for e in staging.absent_files.values()]
