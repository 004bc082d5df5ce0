"""A folder in any store that Airflow knows, in which a file is there whole or not at all."""

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
"""Stores in which an object can be seen when it has been closed, and not before; elsewhere it gets its name then."""

COPY_BYTES = 2**20
UPLOAD_BLOCK_BYTES = 8 * 2**20
"""Bytes that are held before they are sent to an object store, whose own default may be 50 MB."""

_PART = r"\.{}\.[0-9a-f]{{32}}\.part"


class Folder:
    """A folder that results are landed in.

    :param uri: where it is, as ``ObjectStoragePath`` has it: ``s3://my_conn@bucket/folder``, ``/data/folder``
    :raises RespanStorageError: if Airflow knows no such store
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or uri
        self._fs, self._path = open_store(self.uri)
        protocols = self._fs.protocol
        self._protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        self._is_local = bool(self._protocols & {"file", "local"})

    def uri_of(self, name: str) -> str:
        """Give the URI of a file in the folder, whether it is there or not."""
        return f"{self.uri.rstrip('/')}/{name}"

    def write(self, name: str, content: IO[bytes]) -> int:
        """Write a file, replacing one of that name; until it is whole, nobody sees anything of it.

        :param content: what to write, from its beginning
        :return: its size in bytes
        :raises RespanResultsError: if that failed; what was there before is as it was
        """
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        target = self._path_of(name)
        with self._errors("write", name):
            if self._protocols & PUBLISHED_AT_CLOSE:
                self._write_object(target, content)
            else:
                self._write_and_rename(name, target, content)
            self._fs.invalidate_cache()
            if (found := self._fs.size(target)) != size:
                raise OSError(f"{found} bytes of {size} arrived")
        return size

    def read(self, name: str, most: int) -> bytes | None:
        """Read the beginning of a file; None if it is not there."""
        with self._errors("read", name):
            try:
                with self._fs.open(self._path_of(name), "rb") as file:
                    content: bytes = file.read(most)
            except FileNotFoundError:
                return None
        return content

    def size(self, name: str) -> int | None:
        """Give the size of a file in bytes; None if it is not there."""
        with self._errors("look at", name):
            try:
                return int(self._fs.size(self._path_of(name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._errors("remove", name), suppress(FileNotFoundError):
            self._fs.rm_file(self._path_of(name))
            self._fs.invalidate_cache()

    def remove_leftovers(self, *names: str) -> None:
        """Remove the parts of files of these names that a process which was killed has left."""
        if "s3" in self._protocols:
            self._sweep_uploads(*names)
        if self._protocols & PUBLISHED_AT_CLOSE:
            return
        is_part = re.compile("|".join(_PART.format(re.escape(name)) for name in names))
        with self._errors("look for remains in", ""), suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            for found in self._fs.ls(self._path, detail=False):
                if is_part.fullmatch(found.rsplit("/", 1)[-1]):
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(found)

    def _path_of(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    def _write_object(self, target: str, content: IO[bytes]) -> None:
        # Not in a with statement, which closes even after an error; and to close is to publish.
        file = self._fs.open(target, "wb", block_size=UPLOAD_BLOCK_BYTES)
        try:
            shutil.copyfileobj(content, file, COPY_BYTES)
            file.close()
        except BaseException:
            _abandon(file)
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

    def _sweep_uploads(self, *names: str) -> None:
        """Give up what was uploaded of an object that never came to be: S3 bills it, and shows it to nobody."""
        bucket, folder, _version = self._fs.split_path(self._path)
        keys = {f"{folder.rstrip('/')}/{name}".lstrip("/") for name in names}
        with suppress(Exception):  # not every key may do that, and the results do not depend on it
            for upload in self._fs.list_multipart_uploads(bucket):
                if upload["Key"] in keys:
                    which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    self._fs.call_s3("abort_multipart_upload", **which)

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        """Say which file of which folder it was; a disk that is full does not."""
        try:
            yield
        except Exception as error:
            raise RespanResultsError(
                f"Could not {verb} {self.uri_of(name)}: {type(error).__name__}: {error}. See that there is room and "
                "the right to do so, and clear the task; whatever has no manifest.json beside it is not whole."
            ) from error


def _abandon(file: Any) -> None:
    """Give up an object that is being written; even its finaliser would publish it."""
    with suppress(Exception):
        file.discard()
    with suppress(Exception):
        file.closed = True
