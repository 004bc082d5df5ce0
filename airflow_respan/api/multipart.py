"""A file as a multipart body that is read while it is sent (RFC 7578); requests' own holds it all in memory."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

from airflow_respan.api.request import Upload

CHUNK_BYTES = 2**16


class MultipartBody:
    """An iterable of bytes whose length is known, so that it need not be sent chunked.

    :param upload: the file, its name and the form's other fields
    :param on_progress: told, whenever a piece has gone, how many bytes of the body have
    """

    def __init__(self, upload: Upload, *, on_progress: Callable[[int], object] = lambda _sent: None) -> None:
        boundary = uuid.uuid4().hex
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._head = _head(upload, boundary)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = upload.file
        self._on_progress = on_progress
        if not isinstance(self._file.read(0), bytes):
            raise ValueError(f"{upload.filename!r} is open as text; open it in binary mode ('rb') to upload it")
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
        """Read the body from its beginning: as many bytes as were promised, even if the file grows meanwhile."""
        self.rewind()
        yield self._head
        left = self._size
        while left:
            piece = self._file.read(min(CHUNK_BYTES, left))
            if not piece:
                raise ValueError(f"The file became {left} bytes shorter while it was uploaded")
            left -= len(piece)
            yield piece
            self._on_progress(len(self._head) + self._size - left)
        yield self._tail


def _head(upload: Upload, boundary: str) -> bytes:
    # Of a name that is not UTF-8 on the disk, Python makes lone surrogates: not printable either.
    filename = "".join(char if char.isprintable() and char not in '"\\' else "_" for char in upload.filename)
    parts = [f'"{name}"\r\n\r\n{value}' for name, value in upload.fields.items()]
    parts.append(f'"file"; filename="{filename}"\r\nContent-Type: application/jsonl\r\n\r\n')
    separator = f"--{boundary}\r\nContent-Disposition: form-data; name="
    return (separator + f"\r\n{separator}".join(parts)).encode()
