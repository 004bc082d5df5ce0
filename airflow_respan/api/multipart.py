"""A multipart body (RFC 7578) that reads its file while it is sent; requests would load the whole file into memory."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

from airflow_respan.api.request import Upload

CHUNK_BYTES = 2**16


class MultipartBody:
    """An iterable of bytes with a known length, so it can be sent with ``Content-Length`` instead of in chunks.

    :param upload: the file, its name and the other fields of the form
    :param on_progress: called after each chunk with the number of bytes of the body that were sent so far
    :raises ValueError: if the file is open in text mode
    """

    def __init__(self, upload: Upload, *, on_progress: Callable[[int], object] = lambda _sent: None) -> None:
        boundary = uuid.uuid4().hex
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._before_file = _before_file(upload, boundary)
        self._after_file = f"\r\n--{boundary}--\r\n".encode()
        self._file = upload.file
        self._on_progress = on_progress
        if not isinstance(self._file.read(0), bytes):
            raise ValueError(f"{upload.filename!r} is open as text; open it in binary mode ('rb') to upload it")
        self._start = self._file.tell()
        self._size = self._file.seek(0, os.SEEK_END) - self._start
        self.rewind()

    def rewind(self) -> None:
        """Set the file to its original position, so that the upload can be sent again."""
        self._file.seek(self._start)

    def __len__(self) -> int:
        """Return the length in bytes, which becomes the header ``Content-Length``."""
        return len(self._before_file) + self._size + len(self._after_file)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body from its beginning, with exactly the measured length, even if the file grows meanwhile.

        :raises ValueError: if the file has become shorter
        """
        self.rewind()
        yield self._before_file
        remaining = self._size
        while remaining:
            chunk = self._file.read(min(CHUNK_BYTES, remaining))
            if not chunk:
                raise ValueError(f"The file became {remaining} bytes shorter while it was uploaded")
            remaining -= len(chunk)
            yield chunk
            self._on_progress(len(self._before_file) + self._size - remaining)
        yield self._after_file


def _before_file(upload: Upload, boundary: str) -> bytes:
    # In a file name that is not UTF-8, Python has lone surrogates, which are not printable either.
    filename = "".join(char if char.isprintable() and char not in '"\\' else "_" for char in upload.filename)
    parts = [f'"{name}"\r\n\r\n{value}' for name, value in upload.fields.items()]
    parts.append(f'"file"; filename="{filename}"\r\nContent-Type: application/jsonl\r\n\r\n')
    separator = f"--{boundary}\r\nContent-Disposition: form-data; name="
    return (separator + f"\r\n{separator}".join(parts)).encode()
