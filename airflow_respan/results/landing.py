"""What the operator that lands results does when it runs; apart from it, as DAG files are parsed far more often."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_respan.api import failures
from airflow_respan.exceptions import RespanError, RespanNotFoundError, RespanResultsError
from airflow_respan.results.folder import Folder
from airflow_respan.results.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    RESULT_FILES,
    LandingKey,
    make_manifest,
    read_manifest,
)
from airflow_respan.results.parquet import ParquetRowWriter, require_pyarrow
from airflow_respan.results.staging import Staging
from airflow_respan.results.summary import IdKey, RowSummary, batch_label, check_complete, read_requested_ids
from airflow_respan.storage import open_for_reading
from airflow_respan.transfer_progress import format_bytes

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch
    from airflow_respan.operators.results import RespanBatchResultsOperator


class Landing:
    """One run of the task.

    :param task: whose arguments say what is landed where
    """

    def __init__(self, task: RespanBatchResultsOperator) -> None:
        self._task = task

    def run(self) -> dict[str, Any]:
        """Land the results, and give the manifest."""
        batch = self._batch()
        landing = self._landing(batch)
        if landing.parquet:
            require_pyarrow()
        folder = Folder(_named("path", self._task.path))
        manifest = self._landed(landing, folder)
        if manifest is None:
            manifest = self._land(landing, batch, folder)
        self._delete_files(landing, batch)
        return manifest

    def _batch(self) -> Batch | None:
        if not self._task.names_batch:
            return None
        batch = self._task.hook.get_batch(_named("batch_id", self._task.batch_id), provider_id=self._task.provider_id)
        if not batch.is_terminal:
            raise RespanResultsError(
                f"Batch {batch.id} is {batch.status}, so its results are not whole yet. Wait for it by "
                "RespanBatchSensor before they are landed."
            )
        if not (batch.output_file_id or batch.error_file_id):
            raise RespanResultsError(f"Batch {batch.id} is {batch.status} and has left no files to land.")
        return batch

    def _landing(self, batch: Batch | None) -> LandingKey:
        output, error = (
            (batch.output_file_id, batch.error_file_id)
            if batch
            else (_perhaps(self._task.output_file_id), _perhaps(self._task.error_file_id))
        )
        if not (output or error):
            raise ValueError(
                f"output_file_id is {self._task.output_file_id!r} and error_file_id is {self._task.error_file_id!r}, "
                "so there is nothing to land. Check that the upstream task ran and pushed the ids of a batch's files."
            )
        source = None
        if self._task.names_input_path:
            source = _named("input_path", self._task.input_path)
        elif self._task.names_input_file:
            source = _named("input_file_id", self._task.input_file_id)
        return LandingKey(
            batch_id=batch.id if batch else None,
            output_file_id=output,
            error_file_id=error,
            input=source,
            on_missing=self._task.on_missing,
            parquet=self._task.parquet,
        )

    def _landed(self, landing: LandingKey, folder: Folder) -> dict[str, Any] | None:
        """Give the manifest of an earlier attempt that came to its end, or None.

        What the service has deleted after that attempt can be had nowhere else.
        """
        content = folder.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
        manifest = None if content is None else read_manifest(content)
        if manifest and landing.matches(manifest):
            if all(
                folder.size(RESULT_FILES[name]) == size
                for name, size in manifest["bytes"].items()
                if name in RESULT_FILES
            ):
                self._task.log.info("%s has all of this already, landed by an earlier attempt.", folder.uri)
                return manifest
        elif content is not None and not self._task.overwrite and not (manifest and landing.has_same_files(manifest)):
            of = f"of batch {manifest['batch_id']}" if manifest and manifest.get("batch_id") else "of something else"
            raise RespanResultsError(
                f"{folder.uri_of(MANIFEST_NAME)} is the manifest {of}, which would be overwritten. Give each batch a "
                "folder of its own, such as one with {{ run_id }} and {{ ti.map_index }} in its path, or set "
                "overwrite=True."
            )
        return None

    def _land(self, landing: LandingKey, batch: Batch | None, folder: Folder) -> dict[str, Any]:
        connection = self._task.hook.get_conn().connection
        with Staging(partial(self._task.hook.download_into, provider_id=self._task.provider_id)) as spool:
            tally = RowSummary(
                redact=partial(failures.redact_for_display, connection), requested=self._requested(landing, spool)
            )
            spool.download_and_check(
                {"output": landing.output_file_id, "errors": landing.error_file_id},
                tally,
                columns=partial(ParquetRowWriter, redact=connection.redact) if landing.parquet else None,
            )
            warnings = check_complete(tally, batch, on_missing=self._task.on_missing)
            folder.remove_leftovers(*RESULT_FILES.values(), MANIFEST_NAME)
            # From here on the folder is not complete, until its manifest is there again.
            folder.remove(MANIFEST_NAME)
            sizes = {name: folder.write(RESULT_FILES[name], file) for name, file in spool.files.items()}
            for name in RESULT_FILES.keys() - sizes.keys():
                folder.remove(RESULT_FILES[name])
        manifest = make_manifest(landing, batch=batch, tally=tally, path=folder.uri, sizes=sizes, warnings=warnings)
        folder.write(MANIFEST_NAME, io.BytesIO(json.dumps(manifest, indent=2).encode()))
        for warning in warnings:
            self._task.log.warning(warning)
        self._task.log.info(
            "Landed %d rows of %s in %s (%s): %d succeeded, %d failed, %s missing.",
            tally.rows,
            batch_label(batch),
            folder.uri,
            format_bytes(sum(sizes.values())),
            tally.succeeded,
            tally.failed,
            "an unknown number" if manifest["counts"]["missing"] is None else manifest["counts"]["missing"],
        )
        return manifest

    def _requested(self, landing: LandingKey, spool: Staging) -> dict[IdKey, int] | None:
        if landing.input is None:
            return None
        if not self._task.names_input_path:
            return spool.requested(landing.input)
        with open_for_reading(landing.input) as file:
            return read_requested_ids(file.read, repr(landing.input))

    def _delete_files(self, landing: LandingKey, batch: Batch | None) -> None:
        ids = {
            "input": _perhaps(self._task.input_file_id) or (batch.input_file_id if batch else None),
            "output": landing.output_file_id,
            "error": landing.error_file_id,
        }
        for kind in self._task.delete_files:
            if not (file_id := ids[kind]):
                self._task.log.info("There is no %s file to delete, or its id is not known.", kind)
                continue
            try:
                self._task.hook.delete_file(file_id, provider_id=self._task.provider_id)
                self._task.log.info("Deleted the %s file %s at the service.", kind, file_id)
            except RespanNotFoundError:
                self._task.log.info("The %s file %s was deleted already.", kind, file_id)
            except RespanError as error:
                self._task.log.warning("The %s file %s is landed, but was not deleted: %s", kind, file_id, error)


def _perhaps(file_id: str | None) -> str | None:
    """Read an id that may be missing; a template makes a text of None."""
    text = (file_id or "").strip()
    return None if text in ("", "None") else text


def _named(name: str, value: object) -> str:
    text = _perhaps(None if value is None else str(value))
    if text is None:
        raise ValueError(
            f"{name} is {value!r}. Check the argument, and that the upstream task ran and pushed what is asked of it."
        )
    return text
