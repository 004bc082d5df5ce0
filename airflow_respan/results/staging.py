"""Temporary files on the worker's disk, which hold the results until all of them are checked. No Airflow.

So nothing is written into the folder if a row is wrong or missing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import IO, Any

from airflow_respan import worker_disk
from airflow_respan.exceptions import RespanNotFoundError, RespanResultsError
from airflow_respan.results.downloaded_file import DownloadedFile
from airflow_respan.results.formats import RowWriter
from airflow_respan.results.requested_ids import RequestedIds, read_requested_ids
from airflow_respan.results.summary import RowSummary

Download = Callable[[str, IO[bytes]], None]
OpenWriter = Callable[[IO[bytes]], RowWriter]


class Staging:
    """Temporary files, as a context manager.

    They have no names, so the operating system removes them even if the process is killed.

    :param download: downloads the content of a file, given its id, into an open file
    """

    def __init__(self, download: Download) -> None:
        self._download = download
        self._stack = ExitStack()
        self._downloaded: dict[str, DownloadedFile] = {}
        self.files: dict[str, IO[bytes]] = {}
        """The files, by their keys in the manifest."""
        self.absent_files: dict[str, RespanNotFoundError] = {}
        """The errors of the files that the service does not have, by their keys in the manifest."""

    def __enter__(self) -> Staging:
        """Return this object, still without files."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close all files, which removes them."""
        with suppress(OSError):  # the error of a full disk comes once more at the close
            self._stack.close()

    def download_and_check(
        self, ids: Mapping[str, str | None], summary: RowSummary, *, writers: Mapping[str, OpenWriter]
    ) -> None:
        """Download files, count their rows, and write the rows in further formats.

        A file that the service does not have is put into :attr:`absent_files`, if there is another file.

        :param ids: key of the file -> its id at the service, or None if the batch has no such file
        :param summary: counts the rows
        :param writers: key of a further file -> opens the writer that gets every row
        :raises RespanResultsError: if the disk has no room for them
        :raises RespanNotFoundError: if the service has none of the files
        :raises RespanError: if the service refuses, or gives no usable response
        """
        with disk_errors():
            for name, file_id in ids.items():
                if file_id:
                    self._download_results(name, file_id)
            if self.absent_files and not self._downloaded:
                raise next(iter(self.absent_files.values()))
            opened = [open_writer(self._new_file(name)) for name, open_writer in writers.items()]
            for file in self._downloaded.values():
                for row in summary.read(file):
                    for writer in opened:
                        writer.add(row)
            for writer in opened:
                writer.close()

    def separate_bad_rows(self, *, drop: bool) -> None:
        """Write the lines that are no usable rows into a file of their own, if there are any.

        :param drop: whether to leave them out of the other files
        :raises RespanResultsError: if the disk has no room for it
        """
        with disk_errors():
            for name, file in self._downloaded.items():
                if not file.has_bad_lines:
                    continue
                if "rejected" not in self.files:
                    self._new_file("rejected")
                file.copy_bad_lines(self.files["rejected"])
                if drop:
                    file.copy_good_lines(self._new_file(name))

    def read_requested_ids(self, file_id: str) -> RequestedIds:
        """Download the input of a batch, and return the ids of its requests and their lines.

        :param file_id: the id of the input at the service
        :raises RespanResultsError: if the disk has no room for it, or it is not the input of a batch
        :raises RespanError: if the service refuses, or gives no usable response
        """
        with disk_errors(), tempfile.TemporaryFile() as file:
            self._download(file_id, file)
            file.seek(0)
            return read_requested_ids(file.read, repr(file_id))

    def _download_results(self, name: str, file_id: str) -> None:
        file = self._new_file(name)
        try:
            self._download(file_id, file)
        except RespanNotFoundError as error:
            del self.files[name]
            self.absent_files[name] = error
        else:
            self._downloaded[name] = DownloadedFile(f"file {file_id!r}", file)

    def _new_file(self, name: str) -> Any:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the stack closes it)
        self.files[name] = self._stack.enter_context(file)
        return self.files[name]


def disk_errors() -> AbstractContextManager[None]:
    """Name the worker's temporary folder in every error of a block that writes results into it."""
    return worker_disk.disk_errors(RespanResultsError, "the results", until="they are checked")
