"""The operator that lands the results of a batch: whole, checked, and counted."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_respan import failures
from airflow_respan.columns import Columns, require_pyarrow
from airflow_respan.exceptions import RespanError, RespanNotFoundError, RespanResultsError
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.landing import Folder, opened
from airflow_respan.manifest import FILES, LARGEST_MANIFEST, MANIFEST, Landing, make_manifest, read_manifest
from airflow_respan.progress import megabytes
from airflow_respan.results import ON_MISSING, Key, Tally, judge, name_of, requested_ids
from airflow_respan.spool import Spool

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_respan.batch import Batch
    from airflow_respan.hooks.respan import RespanHook

DELETABLE = ("input", "output", "error")


class RespanBatchResultsOperator(BaseOperator):
    """Lands the output and error file of a batch in a folder, once all of both is there and has been checked.

    Into the folder come ``output.jsonl`` and ``errors.jsonl`` byte for byte, ``results.parquet`` if asked for, and
    at last ``manifest.json``: a folder that has one is complete. Returns the manifest, and pushes each of its keys
    to XCom. Memory stays constant; the files pass through the worker's temporary directory.

    :param batch_id: the batch, which has ended (templated); or else the ids of its files
    :param output_file_id: the file of answers; may be empty where the batch has none (templated)
    :param error_file_id: the file of errors; may be empty where the batch has none (templated)
    :param path: the folder, as ``ObjectStoragePath`` has it: ``s3://my_conn@bucket/results/{{ run_id }}`` (templated)
    :param input_path: URI of the JSONL that the batch was made of, to compare ``custom_id``s with (templated)
    :param input_file_id: the same, as a file of the service's (templated)
    :param on_missing: if there are requests without a row: ``fail``, ``warn``, or ``by_status``, which warns only
        if the batch did not complete, and has a row for each request that it counts as completed
    :param parquet: land the rows in columns, too; needs the extra ``parquet``
    :param overwrite: replace the results of another batch that are in the folder
    :param delete_files: what to delete at the service after all has been landed: any of ``input``, ``output``
        and ``error``; a deletion that fails is a warning
    :param respan_conn_id: the Airflow connection (templated)
    :param provider_id: the provider that the batch went to, or None for the connection's (templated)
    :raises RespanResultsError: if the results are not what the batch should have left, or cannot be written;
        retried by Airflow, and nothing of them has been landed
    :raises RespanAPIError: if the service refuses to give them; retried by Airflow
    :raises ValueError: if the ids are empty
    """

    template_fields: Sequence[str] = (
        "batch_id",
        "output_file_id",
        "error_file_id",
        "path",
        "input_path",
        "input_file_id",
        "respan_conn_id",
        "provider_id",
    )
    ui_color = "#e4e0f5"

    def __init__(
        self,
        *,
        path: str,
        batch_id: str | None = None,
        output_file_id: str | None = None,
        error_file_id: str | None = None,
        input_path: str | None = None,
        input_file_id: str | None = None,
        on_missing: str = "by_status",
        parquet: bool = False,
        overwrite: bool = False,
        delete_files: Sequence[str] = (),
        respan_conn_id: str = DEFAULT_CONN_ID,
        provider_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (batch_id is None) == (output_file_id is None and error_file_id is None):
            raise ValueError("Name the results by batch_id, or by output_file_id and error_file_id, and not by both")
        if input_path is not None and input_file_id is not None:
            raise ValueError("Name the input by input_path or by input_file_id, and not by both")
        if on_missing not in ON_MISSING:
            raise ValueError(f"on_missing is {on_missing!r}; choose among {', '.join(ON_MISSING)}")
        # What was named here and is rendered to nothing later is an error; what was not is not wanted.
        self._names_batch = batch_id is not None
        self._names_input_path = input_path is not None
        self._names_input_file = input_file_id is not None
        self.delete_files = (delete_files,) if isinstance(delete_files, str) else tuple(delete_files)
        if not set(self.delete_files) <= set(DELETABLE):
            raise ValueError(f"delete_files is {delete_files!r}; choose among {', '.join(DELETABLE)}")
        self.batch_id = batch_id
        self.output_file_id = output_file_id
        self.error_file_id = error_file_id
        self.path = path
        self.input_path = input_path
        self.input_file_id = input_file_id
        self.on_missing = on_missing
        self.parquet = parquet
        self.overwrite = overwrite
        self.respan_conn_id = respan_conn_id
        self.provider_id = provider_id

    @cached_property
    def hook(self) -> RespanHook:
        """The hook that fetches the files."""
        from airflow_respan.hooks.respan import RespanHook

        return RespanHook(self.respan_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Land the results, and give the manifest."""
        batch = self._batch()
        landing = self._landing(batch)
        if self.parquet:
            require_pyarrow()
        folder = Folder(_named("path", self.path))
        manifest = self._landed(landing, folder)
        if manifest is None:
            manifest = self._land(landing, batch, folder)
        self._delete_files(landing, batch)
        if self.do_xcom_push:
            for key, value in manifest.items():
                if value is not None:  # Airflow 3.0 refuses to push it
                    context["ti"].xcom_push(key=key, value=value)
        return manifest

    def _batch(self) -> Batch | None:
        if not self._names_batch:
            return None
        batch = self.hook.get_batch(_named("batch_id", self.batch_id), provider_id=self.provider_id)
        if not batch.is_terminal:
            raise RespanResultsError(
                f"Batch {batch.id} is {batch.status}, so its results are not whole yet. Wait for it by "
                "RespanBatchSensor before they are landed."
            )
        if not (batch.output_file_id or batch.error_file_id):
            raise RespanResultsError(f"Batch {batch.id} is {batch.status} and has left no files to land.")
        return batch

    def _landing(self, batch: Batch | None) -> Landing:
        output, error = (
            (batch.output_file_id, batch.error_file_id)
            if batch
            else (_perhaps(self.output_file_id), _perhaps(self.error_file_id))
        )
        if not (output or error):
            raise ValueError(
                f"output_file_id is {self.output_file_id!r} and error_file_id is {self.error_file_id!r}, so there is "
                "nothing to land. Check that the upstream task ran and pushed the ids of a batch's files."
            )
        source = None
        if self._names_input_path:
            source = _named("input_path", self.input_path)
        elif self._names_input_file:
            source = _named("input_file_id", self.input_file_id)
        return Landing(
            batch_id=batch.id if batch else None,
            output_file_id=output,
            error_file_id=error,
            input=source,
            on_missing=self.on_missing,
            parquet=self.parquet,
        )

    def _landed(self, landing: Landing, folder: Folder) -> dict[str, Any] | None:
        """Give the manifest of an earlier attempt that came to its end, or None.

        What the service has deleted after that attempt can be had nowhere else.
        """
        content = folder.read(MANIFEST, LARGEST_MANIFEST)
        manifest = None if content is None else read_manifest(content)
        if manifest and landing.is_done_by(manifest):
            if all(folder.size(FILES[name]) == size for name, size in manifest["bytes"].items() if name in FILES):
                self.log.info("%s has all of this already, landed by an earlier attempt.", folder.uri)
                return manifest
        elif content is not None and not self.overwrite and not (manifest and landing.has_the_files_of(manifest)):
            of = f"of batch {manifest['batch_id']}" if manifest and manifest.get("batch_id") else "of something else"
            raise RespanResultsError(
                f"{folder.uri_of(MANIFEST)} is the manifest {of}, which would be overwritten. Give each batch a folder "
                "of its own, such as one with {{ run_id }} and {{ ti.map_index }} in its path, or set overwrite=True."
            )
        return None

    def _land(self, landing: Landing, batch: Batch | None, folder: Folder) -> dict[str, Any]:
        connection = self.hook.get_conn().connection
        with Spool(partial(self.hook.download_into, provider_id=self.provider_id)) as spool:
            tally = Tally(shown=partial(failures.shown, connection), requested=self._requested(landing, spool))
            spool.fill(
                {"output": landing.output_file_id, "errors": landing.error_file_id},
                tally,
                columns=partial(Columns, redact=connection.redact) if landing.parquet else None,
            )
            warnings = judge(tally, batch, on_missing=self.on_missing)
            folder.sweep(*FILES.values(), MANIFEST)
            # From here on the folder is not complete, until its manifest is there again.
            folder.remove(MANIFEST)
            sizes = {name: folder.write(FILES[name], file) for name, file in spool.files.items()}
            for name in FILES.keys() - sizes.keys():
                folder.remove(FILES[name])
        manifest = make_manifest(landing, batch=batch, tally=tally, path=folder.uri, sizes=sizes, warnings=warnings)
        folder.write(MANIFEST, io.BytesIO(json.dumps(manifest, indent=2).encode()))
        for warning in warnings:
            self.log.warning(warning)
        self.log.info(
            "Landed %d rows of %s in %s (%s): %d succeeded, %d failed, %s missing.",
            tally.rows,
            name_of(batch),
            folder.uri,
            megabytes(sum(sizes.values())),
            tally.succeeded,
            tally.failed,
            "an unknown number" if manifest["counts"]["missing"] is None else manifest["counts"]["missing"],
        )
        return manifest

    def _requested(self, landing: Landing, spool: Spool) -> dict[Key, int] | None:
        if landing.input is None:
            return None
        if not self._names_input_path:
            return spool.requested(landing.input)
        with opened(landing.input) as file:
            return requested_ids(file.read, repr(landing.input))

    def _delete_files(self, landing: Landing, batch: Batch | None) -> None:
        ids = {
            "input": _perhaps(self.input_file_id) or (batch.input_file_id if batch else None),
            "output": landing.output_file_id,
            "error": landing.error_file_id,
        }
        for kind in self.delete_files:
            if not (file_id := ids[kind]):
                self.log.info("There is no %s file to delete, or its id is not known.", kind)
                continue
            try:
                self.hook.delete_file(file_id, provider_id=self.provider_id)
                self.log.info("Deleted the %s file %s at the service.", kind, file_id)
            except RespanNotFoundError:
                self.log.info("The %s file %s was deleted already.", kind, file_id)
            except RespanError as error:
                self.log.warning("The %s file %s is landed, but was not deleted: %s", kind, file_id, error)


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
