"""The operator that writes the results of a batch into a folder: its arguments and their checks.

The landing itself, which is one run of download, check and write, is in ``airflow_respan.results``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from airflow_respan.compat import BaseOperator, push_xcoms
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.landing_options import (
    NOT_FOUND_GRACE_SECONDS,
    Deletable,
    LandingOptions,
    OnBadRows,
    OnMissing,
    parse_delete_files,
)
from airflow_respan.operators.rendered import read_optional_id, read_required
from airflow_respan.waiting.seconds import parse_seconds

if TYPE_CHECKING:
    from airflow_respan.compat import Context
    from airflow_respan.hooks.respan import RespanHook


class RespanBatchResultsOperator(BaseOperator):
    """Write the output and error file of a batch into a folder, after both were downloaded and checked completely.

    The folder gets ``output.jsonl`` and ``errors.jsonl`` byte for byte, ``results.parquet`` if ``parquet`` is set, and
    last ``manifest.json``: a folder with a manifest is complete. The task returns the manifest, and pushes each of its
    keys to XCom. Memory stays constant, because the files go through the worker's temporary directory.

    :param batch_id: the batch, which has ended (templated); or give the ids of its files instead
    :param output_file_id: the file of answers; may be empty if the batch has none (templated)
    :param error_file_id: the file of errors; may be empty if the batch has none (templated)
    :param path: URI of the folder for ``ObjectStoragePath``: ``s3://my_conn@bucket/results/{{ run_id }}`` (templated)
    :param input_path: URI of the JSONL file that the batch was created from, to compare ``custom_id`` values with
        (templated)
    :param input_file_id: the same, as a file at the service (templated)
    :param on_missing: what to do if requests have no row: ``fail``; ``warn``; or ``by_status``, which only warns if the
        batch did not complete, and at least as many rows succeeded as its counts have completed requests
    :param on_bad_rows: what to do if lines are no usable rows: not JSON, without a ``custom_id``, with the
        ``custom_id`` of another row, or with one that is not in the input. ``fail``; ``warn``, which writes all lines
        and these ones also into ``rejected.jsonl``; or ``drop``, which writes these ones into ``rejected.jsonl`` only.
        Lines that are merely unusual are always a warning
    :param not_found_grace: seconds, or a timedelta, since the end of the batch, during which a file may be missing at
        the service. It is looked for again until then. If it is not known when the batch ended, the first try counts
    :param parquet: also write the rows as Parquet; needs the extra ``parquet``
    :param overwrite: replace the results of another batch in the folder
    :param delete_files: what to delete at the service after the landing: any of ``input``, ``output`` and ``error``;
        a deletion that fails is a warning
    :param respan_conn_id: the Airflow connection (templated)
    :param provider_id: the provider that the batch was sent to, or None for the connection's (templated)
    :raises RespanResultsError: if the batch has no results, or they are incomplete or wrong: then nothing was written;
        also if the folder has other results, or cannot be written: then it has no new manifest. Retried by Airflow
    :raises RespanStorageError: if Airflow cannot open the store, or the input cannot be read; retried by Airflow
    :raises RespanError: if the service refuses, or gives no usable response; retried by Airflow
    :raises ValueError: if arguments contradict each other, or an id or path is empty
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
        on_missing: OnMissing = "by_status",
        on_bad_rows: OnBadRows = "fail",
        not_found_grace: timedelta | float = NOT_FOUND_GRACE_SECONDS,
        parquet: bool = False,
        overwrite: bool = False,
        delete_files: Sequence[Deletable] | Deletable = (),
        respan_conn_id: str = DEFAULT_CONN_ID,
        provider_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (batch_id is None) == (output_file_id is None and error_file_id is None):
            raise ValueError("Give batch_id, or output_file_id and error_file_id, but not both")
        if input_path is not None and input_file_id is not None:
            raise ValueError("Give input_path or input_file_id, but not both")
        for name, value, choices in (
            ("on_missing", on_missing, get_args(OnMissing)),
            ("on_bad_rows", on_bad_rows, get_args(OnBadRows)),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose among {', '.join(choices)}")
        # Noted before templates are rendered: an argument that was given must not render to nothing.
        self._given = {
            name
            for name, value in (("batch_id", batch_id), ("input_path", input_path), ("input_file_id", input_file_id))
            if value is not None
        }
        self.delete_files = parse_delete_files(delete_files)
        self.batch_id = batch_id
        self.output_file_id = output_file_id
        self.error_file_id = error_file_id
        self.path = path
        self.input_path = input_path
        self.input_file_id = input_file_id
        self.on_missing: OnMissing = on_missing
        self.on_bad_rows: OnBadRows = on_bad_rows
        self.not_found_grace = parse_seconds("not_found_grace", not_found_grace)
        self.parquet = parquet
        self.overwrite = overwrite
        self.respan_conn_id = respan_conn_id
        self.provider_id = provider_id

    @cached_property
    def hook(self) -> RespanHook:
        """The hook that downloads the files."""
        from airflow_respan.hooks.respan import RespanHook

        return RespanHook(self.respan_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the results into the folder, and return the manifest."""
        from airflow_respan.results.landing import Landing

        manifest = Landing(self._options(), self.hook).run()
        if self.do_xcom_push:
            push_xcoms(context, manifest)
        return manifest

    def _options(self) -> LandingOptions:
        from airflow_respan.results.formats import FORMATS

        output_file_id, error_file_id = read_optional_id(self.output_file_id), read_optional_id(self.error_file_id)
        if "batch_id" not in self._given and not (output_file_id or error_file_id):
            raise ValueError(
                f"output_file_id is {self.output_file_id!r} and error_file_id is {self.error_file_id!r}, "
                "so there are no results to write. Check that the upstream task ran and pushed the ids of a batch's "
                "files."
            )
        return LandingOptions(
            path=read_required("path", self.path),
            output_file_id=output_file_id,
            error_file_id=error_file_id,
            on_missing=self.on_missing,
            on_bad_rows=self.on_bad_rows,
            not_found_grace=self.not_found_grace,
            formats=tuple(name for name in FORMATS if getattr(self, name)),
            overwrite=self.overwrite,
            delete_files=self.delete_files,
            provider_id=self.provider_id,
            allow_no_files=False,
            **{
                name: read_required(name, getattr(self, name)) if name in self._given else None
                for name in ("batch_id", "input_path", "input_file_id")
            },
        )
