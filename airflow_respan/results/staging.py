"""The files of a batch on the worker's own disk, until they are checked. No Airflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.formats import RowWriter
from airflow_respan.results.summary import IdKey, RowSummary, read_requested_ids

Fetch = Callable[[str, IO[bytes]], None]
OpenWriter = Callable[[IO[bytes]], RowWriter]


class Staging:
    """Temporary files without a name, which the operating system removes with the process; a context manager.

    :param fetch: downloads the content of a file, given its id, into an open file
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._stack = ExitStack()
        self.files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Staging:
        """Return the staging area, which is empty."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close and so remove all files."""
        with suppress(OSError):  # a full disk fails once more at the close
            self._stack.close()

    def download_and_check(
        self, ids: Mapping[str, str | None], summary: RowSummary, *, writers: Mapping[str, OpenWriter]
    ) -> None:
        """Download files, and count and convert their rows.

        :param ids: name of the file -> its id at the service, or None if the batch has no such file
        :param summary: counts the rows
        :param writers: name of a further file -> opens the writer that gets every row
        :raises RespanResultsError: if the disk has no room for them
        """
        with _disk_errors():
            for name, file_id in ids.items():
                if file_id:
                    self._fetch(file_id, self._new(name))
            opened = [open_writer(self._new(name)) for name, open_writer in writers.items()]
            for name, file_id in ids.items():
                if file_id:
                    file = self.files[name]
                    file.seek(0)
                    for row in summary.read(f"file {file_id!r}", file.read):
                        for writer in opened:
                            writer.add(row)
            for writer in opened:
                writer.close()

    def requested(self, file_id: str) -> dict[IdKey, int]:
        """Download the input of a batch, and return the ids of its requests and their lines.

        :raises RespanResultsError: if the disk has no room for it, or it is not the input of a batch
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
    """Name the folder that has no room: the error of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise RespanResultsError(
            f"The results could not be kept in {tempfile.gettempdir()} until they are checked: {error}. Make room for "
            "all of them there, or name a larger place by the worker's variable TMPDIR, and clear the task."
        ) from error
