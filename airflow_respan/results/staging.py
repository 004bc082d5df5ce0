"""The files of a batch on the worker's own disk, until they are checked. No Airflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.parquet import ParquetRowWriter
from airflow_respan.results.summary import IdKey, RowSummary, read_requested_ids

Fetch = Callable[[str, IO[bytes]], None]


class Staging:
    """Files without a name, which are gone with the process, however that ends; a context manager.

    :param fetch: downloads the content of a file, told by its id, into an open one
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._stack = ExitStack()
        self.files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Staging:
        """Begin."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Forget all files."""
        with suppress(OSError):  # a disk that is full says so once more
            self._stack.close()

    def download_and_check(
        self,
        ids: Mapping[str, str | None],
        tally: RowSummary,
        *,
        columns: Callable[[IO[bytes]], ParquetRowWriter] | None,
    ) -> None:
        """Download the files that are there, and count their rows.

        :param ids: name -> id of a file, or None
        :param columns: makes what takes the rows as ``parquet``, or None
        :raises RespanResultsError: if there is no room for them
        """
        with _disk_errors():
            for name, file_id in ids.items():
                if file_id:
                    self._fetch(file_id, self._new(name))
            into = columns(self._new("parquet")) if columns else None
            for name, file_id in ids.items():
                if file_id:
                    file = self.files[name]
                    file.seek(0)
                    for row in tally.read(f"file {file_id!r}", file.read):
                        if into:
                            into.add(row)
            if into:
                into.close()

    def requested(self, file_id: str) -> dict[IdKey, int]:
        """Download the input of a batch, and read the ids of its requests.

        :raises RespanResultsError: if there is no room for it, or it is no input
        """
        with _disk_errors(), tempfile.TemporaryFile() as file:
            self._fetch(file_id, file)
            file.seek(0)
            return read_requested_ids(file.read, repr(file_id))

    def _new(self, name: str) -> Any:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the stack closes it)
        self.files[name] = self._stack.enter_context(file)
        return self.files[name]


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Say where it was that a disk was full, which it does not."""
    try:
        yield
    except OSError as error:
        raise RespanResultsError(
            f"The results could not be kept in {tempfile.gettempdir()} until they are checked: {error}. Make room for "
            "all of them there, or name a larger place by the worker's variable TMPDIR, and clear the task."
        ) from error
