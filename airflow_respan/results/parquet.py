"""The rows of a batch as Parquet, written in constant memory, with the same columns for every batch.

Needs pyarrow, which the extra ``parquet`` installs. It is imported only when it is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.exceptions import RespanConfigurationError
from airflow_respan.results.row import Row, Usage

if TYPE_CHECKING:
    import pyarrow as pa

MAX_GROUP_ROWS = 5_000
"""Rows after which a row group is written."""

MAX_GROUP_CHARACTERS = 4 * 2**20
"""Characters of text after which a row group is written."""

_NO_USAGE = Usage()


def require_pyarrow() -> None:
    """Check that pyarrow can be imported.

    :raises RespanConfigurationError: if it cannot; the message names the extra
    """
    try:
        import pyarrow.parquet  # noqa: F401 (imported to see whether it works)
    except ImportError as error:
        raise RespanConfigurationError(
            f"Results as Parquet need pyarrow, which cannot be imported ({error}). Install it where the task runs: "
            "pip install 'airflow-respan[parquet]'"
        ) from None


def schema() -> pa.Schema:
    """Return the columns, which are the same for every batch."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("custom_id", pa.string(), nullable=False),
            pa.field("succeeded", pa.bool_(), nullable=False),
            ("status_code", pa.int32()),
            ("request_id", pa.string()),
            ("model", pa.string()),
            ("content", pa.string()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("total_tokens", pa.int64()),
            ("cached_tokens", pa.int64()),
            ("reasoning_tokens", pa.int64()),
            ("error_code", pa.string()),
            ("error_message", pa.string()),
            ("response", pa.string()),
        ]
    )


class ParquetRowWriter:
    """A writer of rows into a Parquet file, one row group at a time; the file is complete after :meth:`close`.

    :param file: open for writing
    :param redact: removes secrets from the errors
    """

    def __init__(self, file: IO[bytes], redact: Callable[[str], str]) -> None:
        import pyarrow.parquet as pq

        self._group = RowGroup(redact)
        self._writer = pq.ParquetWriter(file, schema(), compression="zstd")

    def add(self, row: Row) -> None:
        """Add a row, and write the row group if it is full."""
        self._group.add(row)
        if self._group.is_full:
            self._writer.write_table(self._group.take())

    def close(self) -> None:
        """Write the last row group and the footer of the file."""
        if len(self._group):
            self._writer.write_table(self._group.take())
        self._writer.close()


class RowGroup:
    """Some rows in memory, as many as are written or read together.

    :param redact: removes secrets from the errors
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._schema = schema()
        self._records: list[dict[str, Any]] = []
        self._characters = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, row: Row) -> None:
        """Add a row."""
        record = self._record(row)
        self._records.append(record)
        self._characters += sum(len(value) for value in record.values() if isinstance(value, str))

    @property
    def is_full(self) -> bool:
        """Whether to take the rows before more are added."""
        return len(self._records) >= MAX_GROUP_ROWS or self._characters >= MAX_GROUP_CHARACTERS

    def take(self) -> pa.Table:
        """Remove all rows, and return them as a table."""
        import pyarrow as pa

        records, self._records, self._characters = self._records, [], 0
        return pa.Table.from_pylist(records, schema=self._schema)

    def _record(self, row: Row) -> dict[str, Any]:
        usage = {name: getattr(row.usage, name, None) for name in _NO_USAGE.__slots__}
        status = row.status_code
        texts = {
            "custom_id": row.custom_id,
            "request_id": row.request_id,
            "model": row.model,
            "content": row.content,
            "error_code": self._redact(row.error.code) if row.error else None,
            "error_message": self._redact(row.error.message) if row.error else None,
        }
        return {
            **{name: _encodable(text) for name, text in texts.items()},
            **usage,
            "succeeded": row.succeeded,
            "status_code": status if status is not None and status < 1000 else None,
            "response": None if row.response is None else _as_json(row.response),
        }


def _encodable(text: str | None) -> str | None:
    """Replace lone surrogates, which UTF-8 cannot encode, and so no column can hold."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _as_json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON in ASCII can escape
        return json.dumps(value)
    # JSON has no NaN and no infinite number, as 1e999 becomes one; and what could be read may be too deep to write.
    except (ValueError, RecursionError):
        return json.dumps(sanitize_json(value))
    return text
