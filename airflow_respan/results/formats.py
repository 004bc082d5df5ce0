"""The formats in which rows are landed besides JSONL: one entry for each.

A format's name is the argument of the operator that asks for it, and its key in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from airflow_respan.results.parquet import ParquetRowWriter, require_pyarrow
from airflow_respan.results.row import Row


class RowWriter(Protocol):
    """Writes rows into an open file."""

    def add(self, row: Row) -> None:
        """Write a row."""

    def close(self) -> None:
        """Complete the file, and leave it open."""


@dataclass(frozen=True, kw_only=True)
class ResultFormat:
    """How rows are written in one format.

    :param file_name: the name in the folder
    :param open_writer: returns the writer for an open file (bytes); its keyword ``redact`` removes secrets from errors
    :param check_installed: raises RespanConfigurationError if a package for this format is missing
    """

    file_name: str
    open_writer: Callable[..., RowWriter]
    check_installed: Callable[[], None]


FORMATS = {
    "parquet": ResultFormat(file_name="results.parquet", open_writer=ParquetRowWriter, check_installed=require_pyarrow),
}
