"""The files of a folder in any other store: objects, or files that are renamed when they are complete."""

from __future__ import annotations

import io
import re
import shutil
import uuid
from contextlib import suppress
from typing import IO, Any

from airflow_respan.results.local_files import COPY_BYTES, Check

PUBLISHED_AT_CLOSE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
"""Stores that show an object only after it was closed. In other stores a file is renamed when it is complete."""

UPLOAD_BLOCK_BYTES = 8 * 2**20
"""Bytes that are buffered for an upload to an object store. The store's own default may be 50 MB."""

MAX_CREATED_BYTES = 2**20
"""An object up to this size, such as every manifest, is created in one request that does not replace another object."""

MAX_CREATE_ATTEMPTS = 100


class RemoteFiles:
    """The files of a folder in a store.

    No store can undo a change. So the owner of the folder is checked just before each request that makes a change
    visible.

    :param store: the fsspec file system
    :param folder: the path in it
    :param protocols: the names of the store
    """

    def __init__(self, store: Any, folder: str, protocols: frozenset[str]) -> None:
        self._store = store
        self._folder = folder
        self._is_s3 = "s3" in protocols
        self._has_objects = bool(protocols & PUBLISHED_AT_CLOSE)
        self._creates_whole_files = self._has_objects or "memory" in protocols

    def write(self, name: str, content: IO[bytes], check: Check) -> None:
        """Write a file, and replace one of the same name.

        :param check: raises an error if the folder belongs to another process now; then nothing is changed
        """
        if not self._has_objects:
            self._write_and_rename(name, content, check)
        elif content.seek(0, io.SEEK_END) > MAX_CREATED_BYTES:
            self._write_object(name, content, check)
        else:
            self._write_small_object(name, content, check)

    def create(self, name: str, content: IO[bytes]) -> bool:
        """Write a small file, unless there is one of the same name; return whether it was written.

        :param content: its content, which no other process writes
        """
        path, data = self._path_of(name), content.read()
        if not self._exists(path):
            if self._creates_whole_files:
                self._create(path, data)
            else:
                self._write_and_rename(name, io.BytesIO(data), lambda: None)
        return self._read(path, len(data)) == data

    def remove(self, name: str, check: Check) -> None:
        """Remove a file, if it exists.

        :param check: raises an error if the folder belongs to another process now; then the file is kept
        """
        if self._exists(self._path_of(name)):
            check()
            self._remove(name)

    def remove_if(self, name: str, content: bytes) -> None:
        """Remove a small file, if it exists and has exactly this content."""
        if self._read(self._path_of(name), len(content)) == content:
            self._remove(name)

    def remove_leftovers(self, *names: str, check: Check) -> None:
        """Remove incomplete files that a killed process has left.

        :param names: the names of the complete files
        :param check: raises an error if the folder belongs to another process now; then the others are kept
        """
        if self._is_s3:
            check()
            self._abort_uploads(*names)
        if self._has_objects:
            return
        part = re.compile("|".join(rf"\.{re.escape(name)}\.[0-9a-f]{{32}}\.part" for name in names))
        with suppress(FileNotFoundError):
            self._store.invalidate_cache()
            for path in self._store.ls(self._folder, detail=False):
                if part.fullmatch(path.rsplit("/", 1)[-1]):
                    check()
                    with suppress(FileNotFoundError):
                        self._store.rm_file(path)

    def _path_of(self, name: str) -> str:
        return f"{self._folder.rstrip('/')}/{name}"

    def _exists(self, path: str) -> bool:
        self._store.invalidate_cache()  # another process may have written it
        try:
            self._store.info(path)  # not exists(), which takes every error of a store for "no"
        except FileNotFoundError:
            return False
        return True

    def _read(self, path: str, max_bytes: int) -> bytes | None:
        """Return the beginning of a file, and one byte more if it is longer than the maximum; None if there is none."""
        self._store.invalidate_cache()
        try:
            with self._store.open(path, "rb") as file:
                content: bytes = file.read(max_bytes + 1)
        except FileNotFoundError:
            return None
        return content

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._store.rm_file(self._path_of(name))
        self._store.invalidate_cache()

    def _create(self, path: str, data: bytes) -> None:
        try:
            self._store.pipe_file(path, data, mode="create")
        except Exception:  # noqa: BLE001 (each store has its own errors; the next lines find out what it was)
            # Another process was faster, or there is no conditional write: Airflow allows an fsspec without it, and
            # some stores that are like S3 refuse it.
            if not self._exists(path):
                self._store.pipe_file(path, data)

    def _write_small_object(self, name: str, content: IO[bytes], check: Check) -> None:
        for _attempt in range(MAX_CREATE_ATTEMPTS):
            content.seek(0)
            check()
            if self.create(name, content):
                return
            self.remove(name, check)
        raise OSError("the store does not keep this file")

    def _write_object(self, name: str, content: IO[bytes], check: Check) -> None:
        # Not in a with statement: that closes the file also after an error, and to close an object publishes it.
        content.seek(0)
        file = self._store.open(self._path_of(name), "wb", block_size=UPLOAD_BLOCK_BYTES)
        try:
            shutil.copyfileobj(content, file, COPY_BYTES)
            check()
            file.close()
        except BaseException:
            _discard(file)
            raise

    def _write_and_rename(self, name: str, content: IO[bytes], check: Check) -> None:
        self._store.makedirs(self._folder, exist_ok=True)
        part = self._path_of(f".{name}.{uuid.uuid4().hex}.part")
        try:
            with self._store.open(part, "wb") as file:
                shutil.copyfileobj(content, file, COPY_BYTES)
            check()
            self._store.mv(part, self._path_of(name))
        except BaseException:
            with suppress(Exception):
                self._store.rm_file(part)
            raise

    def _abort_uploads(self, *names: str) -> None:
        """Abort uploads that were never completed, because S3 bills their parts but does not list them as objects."""
        bucket, folder, _version = self._store.split_path(self._folder)
        keys = {f"{folder.rstrip('/')}/{name}".lstrip("/") for name in names}
        with suppress(Exception):  # not every S3 user may do this, and the results do not depend on it
            for upload in self._store.list_multipart_uploads(bucket):
                if upload["Key"] in keys:
                    upload_id = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    self._store.call_s3("abort_multipart_upload", **upload_id)


def _discard(file: Any) -> None:
    """Discard an object that is being written, and mark it as closed, because its finaliser would publish it."""
    with suppress(Exception):
        file.discard()
    with suppress(Exception):
        file.closed = True
