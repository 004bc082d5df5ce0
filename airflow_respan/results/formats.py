"""The formats besides JSONL in which rows can be written: one entry for each.

The name of a format is also the name of the operator's argument that selects it, and its key in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from airflow_respan.results.parquet import ParquetRowWriter, require_pyarrow
from airflow_respan.results.row import Row


class RowWriter(Protocol):
    """A writer of rows into an open file."""

    def add(self, row: Row) -> None:
        """Add a row; the writer may keep it in memory and write it later."""

    def close(self) -> None:
        """Write the remaining rows, and what the format needs at its end. The file itself stays open."""


@dataclass(frozen=True, kw_only=True)
class ResultFormat:
    """How rows are written in one format.

    :param file_name: the name of the file in the folder
    :param open_writer: returns the writer for an open file (bytes); its keyword ``redact`` removes secrets from errors
    :param check_installed: raises RespanConfigurationError if a package for this format is missing
    """

    file_name: str
    open_writer: Callable[..., RowWriter]
    check_installed: Callable[[], None]


FORMATS = {
    "parquet": ResultFormat(file_name="results.parquet", open_writer=ParquetRowWriter, check_installed=require_pyarrow),
}
