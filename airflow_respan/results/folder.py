"""A folder in any store that Airflow can open, in which a file is whole or does not exist.

Tasks are killed and disks are full, so a file appears under its name only when all of it is written.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.storage import open_store

PUBLISHED_AT_CLOSE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
"""Stores that show an object only after it was closed. In other stores a file is renamed when it is complete."""

COPY_BYTES = 2**20
UPLOAD_BLOCK_BYTES = 8 * 2**20
"""Bytes that are buffered for an upload to an object store. The store's own default may be 50 MB."""

_PART_PATTERN = r"\.{}\.[0-9a-f]{{32}}\.part"


class Folder:
    """A folder that results are written into.

    :param uri: its URI for ``ObjectStoragePath``: ``s3://my_conn@bucket/folder``, ``/data/folder``
    :raises RespanStorageError: if Airflow cannot open the store
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or uri
        self._fs, self._path = open_store(self.uri)
        protocols = self._fs.protocol
        self._protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        self._is_local = bool(self._protocols & {"file", "local"})

    def uri_of(self, name: str) -> str:
        """Return the URI of a file in the folder, whether it exists or not."""
        return f"{self.uri.rstrip('/')}/{name}"

    def write(self, name: str, content: IO[bytes]) -> int:
        """Write a file, and replace one of the same name; the file is visible only when it is complete.

        :param name: its name in the folder
        :param content: the content, which is read from its beginning
        :return: its size in bytes
        :raises RespanResultsError: if it cannot be written, and then an earlier file of this name is unchanged; or if
            the store then reports another size
        """
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        target = self._path_of(name)
        with self._name_in_errors("write", name):
            if self._protocols & PUBLISHED_AT_CLOSE:
                self._write_object(target, content)
            else:
                self._write_and_rename(name, target, content)
            self._fs.invalidate_cache()
            if (written := self._fs.size(target)) != size:
                raise OSError(f"the store has {written} of {size} bytes")
        return size

    def read(self, name: str, *, max_bytes: int) -> bytes | None:
        """Return the beginning of a file; None if it does not exist.

        :param max_bytes: read at most so many bytes
        :raises RespanResultsError: if it cannot be read
        """
        with self._name_in_errors("read", name):
            try:
                with self._fs.open(self._path_of(name), "rb") as file:
                    content: bytes = file.read(max_bytes)
            except FileNotFoundError:
                return None
        return content

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist.

        :raises RespanResultsError: if the store refuses
        """
        with self._name_in_errors("check", name):
            try:
                return int(self._fs.size(self._path_of(name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file, if it exists.

        :raises RespanResultsError: if the store refuses
        """
        with self._name_in_errors("remove", name), suppress(FileNotFoundError):
            self._fs.rm_file(self._path_of(name))
            self._fs.invalidate_cache()

    def remove_leftovers(self, *names: str) -> None:
        """Remove incomplete files that a killed process has left.

        :param names: the names of the complete files
        :raises RespanResultsError: if the store refuses
        """
        if "s3" in self._protocols:
            self._abort_uploads(*names)
        if self._protocols & PUBLISHED_AT_CLOSE:
            return
        part = re.compile("|".join(_PART_PATTERN.format(re.escape(name)) for name in names))
        with self._name_in_errors("remove incomplete files in", ""), suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            for path in self._fs.ls(self._path, detail=False):
                if part.fullmatch(path.rsplit("/", 1)[-1]):
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(path)

    def _path_of(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _write_object(self, target: str, content: IO[bytes]) -> None:
        # Not in a with statement: that closes the file also after an error, and to close an object publishes it.
        file = self._fs.open(target, "wb", block_size=UPLOAD_BLOCK_BYTES)
        try:
            shutil.copyfileobj(content, file, COPY_BYTES)
            file.close()
        except BaseException:
            _discard(file)
            raise

    def _write_and_rename(self, name: str, target: str, content: IO[bytes]) -> None:
        self._fs.makedirs(self._path, exist_ok=True)
        part = self._path_of(f".{name}.{uuid.uuid4().hex}.part")
        try:
            with self._fs.open(part, "wb") as file:
                shutil.copyfileobj(content, file, COPY_BYTES)
                if self._is_local:
                    file.flush()
                    os.fsync(file.fileno())
            if self._is_local:
                Path(part).replace(target)
            else:
                self._fs.mv(part, target)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(part)
            raise

    def _abort_uploads(self, *names: str) -> None:
        """Abort uploads that were never completed, because S3 bills their parts but does not list them as objects."""
        bucket, folder, _version = self._fs.split_path(self._path)
        keys = {f"{folder.rstrip('/')}/{name}".lstrip("/") for name in names}
        with suppress(Exception):  # not every S3 user may do this, and the results do not depend on it
            for upload in self._fs.list_multipart_uploads(bucket):
                if upload["Key"] in keys:
                    upload_id = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    self._fs.call_s3("abort_multipart_upload", **upload_id)

    @contextmanager
    def _name_in_errors(self, verb: str, name: str) -> Iterator[None]:
        """Name the file in every error, because the error of a full disk does not."""
        try:
            yield
        except Exception as error:
            raise RespanResultsError(
                f"Could not {verb} {self.uri_of(name)}: {type(error).__name__}: {error}. Check free space and "
                "permissions, and clear the task. Results without a manifest.json beside them are not complete."
            ) from error


def _discard(file: Any) -> None:
    """Discard an object that is being written, and mark it as closed, because its finaliser would publish it."""
    with suppress(Exception):
        file.discard()
    with suppress(Exception):
        file.closed = True
