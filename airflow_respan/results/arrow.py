"""The rows of a landing as an Arrow table, with the columns of the Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_respan.results.landed_rows import find_files, read_rows
from airflow_respan.results.parquet import RowGroup, require_pyarrow, schema

if TYPE_CHECKING:
    import pyarrow as pa


def to_arrow(manifest_or_path: object) -> pa.RecordBatchReader:
    """Return all rows of a landing, answers and errors, as an Arrow stream with the columns of ``results.parquet``.

    Needs pyarrow, which the extra ``parquet`` installs. The rows are read while the stream is: ``.read_all()`` makes a
    table, ``.read_pandas()`` a data frame, and Polars and DuckDB take the stream as it is. A line that is not a row is
    a row with an error and an empty ``custom_id``. The errors are as they stand in the files, while those in
    ``results.parquet`` have no secrets.

    :param manifest_or_path: as for :func:`~airflow_respan.results.answers`
    :raises RespanConfigurationError: if pyarrow cannot be imported
    :raises RespanResultsError: if the folder has no manifest, or cannot be read
    :raises RespanStorageError: if Airflow cannot open the store; or, while the stream is read, a file cannot be read
    :raises ValueError: if there are no results to read
    """
    require_pyarrow()
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(schema(), _read_batches(find_files(manifest_or_path)))


def _read_batches(files: list[str]) -> Iterator[pa.RecordBatch]:
    group = RowGroup(redact=str)  # what is in the files is returned as it is
    for row in read_rows(files):
        group.add(row)
        if group.is_full:
            yield from group.take().to_batches()
    yield from group.take().to_batches()
