"""A folder in any store that Airflow can open, in which a file is whole or does not exist.

Tasks are killed and disks are full, so a file appears under its name only when all of it is written.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from airflow_respan.api.foreign_text import describe_cause
from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.local_files import Check, LocalFiles
from airflow_respan.results.remote_files import RemoteFiles
from airflow_respan.results.store_errors import advice_for
from airflow_respan.storage import open_store


class Folder:
    """A folder that results are written into.

    Several processes may have the same folder. ``check`` in some methods raises an error if the folder belongs to
    another process now. Then nothing is changed. Only in a store that is not local, a change may remain that another
    process made its own during the very last request.

    :param uri: its URI for ``ObjectStoragePath``: ``s3://my_conn@bucket/folder``, ``/data/folder``
    :raises RespanStorageError: if Airflow cannot open the store
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or uri
        self._store, self._path = open_store(self.uri)
        names = self._store.protocol
        protocols = frozenset({names} if isinstance(names, str) else names)
        is_local = bool(protocols & {"file", "local"})
        self._files = LocalFiles(Path(self._path)) if is_local else RemoteFiles(self._store, self._path, protocols)

    def uri_of(self, name: str) -> str:
        """Return the URI of a file in the folder, whether it exists or not."""
        return f"{self.uri.rstrip('/')}/{name}"

    def write(self, name: str, content: IO[bytes], *, check: Check) -> int:
        """Write a file, and replace one of the same name; the file is visible only when it is complete.

        :param name: its name in the folder
        :param content: the content, which is read from its beginning
        :param check: see the class
        :return: its size in bytes
        :raises RespanResultsError: if it cannot be written, and then an earlier file of this name is unchanged; or if
            the store then reports another size; or what ``check`` raises
        """
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        with self._name_in_errors("write", name, check=check):
            self._files.write(name, content, check)
            if (written := self._size(name)) != size:
                raise OSError(f"the store has {written} of {size} bytes")
        check()
        return size

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file, unless there is one of the same name; return whether it was written.

        If two processes do this at the same time, one of them gets True: always in a local folder, and in an object
        store if it has conditional writes. In other stores the file is read before and after.

        :param name: its name in the folder
        :param content: its content, which no other process writes
        :raises RespanResultsError: if it cannot be written
        """
        with self._name_in_errors("write", name):
            return self._files.create(name, io.BytesIO(content))

    def read(self, name: str, *, max_bytes: int) -> bytes | None:
        """Return the beginning of a file; None if it does not exist.

        :param max_bytes: read at most so many bytes
        :raises RespanResultsError: if it cannot be read
        """
        with self._name_in_errors("read", name):
            self._store.invalidate_cache()  # another process may have written it
            try:
                with self._store.open(self._path_of(name), "rb") as file:
                    content: bytes = file.read(max_bytes)
            except FileNotFoundError:
                return None
        return content

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist.

        :raises RespanResultsError: if the store refuses
        """
        with self._name_in_errors("check", name):
            return self._size(name)

    def remove(self, name: str, *, check: Check) -> None:
        """Remove a file, if it exists.

        :param check: see the class
        :raises RespanResultsError: if the store refuses, or what ``check`` raises
        """
        with self._name_in_errors("remove", name, check=check):
            self._files.remove(name, check)

    def remove_if(self, name: str, content: bytes) -> None:
        """Remove a small file, if it exists and has exactly this content.

        Between the comparison and the removal another process may replace the file, which is then removed.

        :raises RespanResultsError: if the store refuses
        """
        with self._name_in_errors("remove", name):
            self._files.remove_if(name, content)

    def remove_leftovers(self, *names: str, check: Check) -> None:
        """Remove incomplete files that a killed process has left.

        :param names: the names of the complete files
        :param check: see the class
        :raises RespanResultsError: if the store refuses
        """
        with self._name_in_errors("remove incomplete files in", ""):
            self._files.remove_leftovers(*names, check=check)

    def _path_of(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _size(self, name: str) -> int | None:
        self._store.invalidate_cache()
        try:
            return int(self._store.size(self._path_of(name)))
        except FileNotFoundError:
            return None

    @contextmanager
    def _name_in_errors(self, verb: str, name: str, *, check: Check | None = None) -> Iterator[None]:
        """Name the file in every error, because the error of a full disk does not."""
        try:
            yield
        except RespanResultsError:
            raise
        except Exception as error:
            if check:
                check()  # the process that has the folder now may have removed our file: no error of the store
            raise RespanResultsError(
                f"{describe_cause(error)} (could not {verb} {self.uri_of(name)}). {advice_for(error)} Results without "
                "a manifest.json beside them are not complete."
            ) from error
