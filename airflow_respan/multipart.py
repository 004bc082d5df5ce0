"""A file as a multipart body that is read while it is sent (RFC 7578); requests' own holds it all in memory."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from functools import partial

from airflow_respan.request import Upload

CHUNK = 2**16


class FileBody:
    """An iterable of bytes whose length is known, so that it need not be sent chunked.

    :param upload: the file, its name and the form's other fields
    """

    def __init__(self, upload: Upload) -> None:
        boundary = uuid.uuid4().hex
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._head = _head(upload, boundary)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = upload.file
        self._start = self._file.tell()
        self._size = self._file.seek(0, os.SEEK_END) - self._start
        self.rewind()

    def rewind(self) -> None:
        """Put the file back to where it was, so that the same upload can be made again."""
        self._file.seek(self._start)

    def __len__(self) -> int:
        """Give the length in bytes, which becomes the header ``Content-Length``."""
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Read the body from its beginning."""
        self.rewind()
        yield self._head
        yield from iter(partial(self._file.read, CHUNK), b"")
        yield self._tail


def _head(upload: Upload, boundary: str) -> bytes:
    filename = "".join("_" if char in '"\\\r\n' else char for char in upload.filename)
    parts = [f'"{name}"\r\n\r\n{value}' for name, value in upload.fields.items()]
    parts.append(f'"file"; filename="{filename}"\r\nContent-Type: application/jsonl\r\n\r\n')
    separator = f"--{boundary}\r\nContent-Disposition: form-data; name="
    return (separator + f"\r\n{separator}".join(parts)).encode()
