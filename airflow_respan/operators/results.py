"""The operator that lands the results of a batch: whole, checked, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_respan.compat import BaseOperator, push_xcoms
from airflow_respan.get_provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow_respan.compat import Context
    from airflow_respan.hooks.respan import RespanHook
    from airflow_respan.results.landing import LandingOptions

ON_MISSING = ("by_status", "fail", "warn")
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
    :param input_path: URI of the JSONL that the batch was made of, to compare ``custom_id`` values with (templated)
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
    :raises RespanStorageError: if the store is not known to Airflow, or the input cannot be read; retried by Airflow
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
        # An argument that was given and renders to nothing is an error; one that was not given is not wanted.
        self._given = {
            name
            for name, value in (("batch_id", batch_id), ("input_path", input_path), ("input_file_id", input_file_id))
            if value is not None
        }
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
        """Land the results, and return the manifest."""
        from airflow_respan.results.landing import Landing

        manifest = Landing(self._options(), self.hook).run()
        if self.do_xcom_push:
            push_xcoms(context, manifest)
        return manifest

    def _options(self) -> LandingOptions:
        from airflow_respan.results.landing import LandingOptions

        output_file_id, error_file_id = _optional_id(self.output_file_id), _optional_id(self.error_file_id)
        if "batch_id" not in self._given and not (output_file_id or error_file_id):
            raise ValueError(
                f"output_file_id is {self.output_file_id!r} and error_file_id is {self.error_file_id!r}, "
                "so there is nothing to land. Check that the upstream task ran and pushed the ids of a batch's files."
            )
        return LandingOptions(
            path=_required("path", self.path),
            output_file_id=output_file_id,
            error_file_id=error_file_id,
            on_missing=self.on_missing,
            formats=("parquet",) if self.parquet else (),
            overwrite=self.overwrite,
            delete_files=self.delete_files,
            provider_id=self.provider_id,
            **{
                name: _required(name, getattr(self, name)) if name in self._given else None
                for name in ("batch_id", "input_path", "input_file_id")
            },
        )


def _optional_id(file_id: str | None) -> str | None:
    """Read an id that may be missing; a template makes the text ``None`` of a missing one."""
    text = (file_id or "").strip()
    return None if text in ("", "None") else text


def _required(name: str, value: object) -> str:
    text = _optional_id(None if value is None else str(value))
    if text is None:
        raise ValueError(
            f"{name} is {value!r}. Check the argument, and that the upstream task ran and pushed what is asked of it."
        )
    return text
