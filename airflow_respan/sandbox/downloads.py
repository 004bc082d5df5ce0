"""The content of a file as a faulty service sends it: cut off, slow, without ``Range``, or with wrong rows."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiohttp import web

from airflow_respan.sandbox.content import Content

PIECE_BYTES = 2**16


class _UnframedResponse(web.StreamResponse):
    """A response without length and without chunks: it ends with the connection, so a cut looks like the end."""

    _length_check = False  # as in aiohttp's own WebSocketResponse; there is no public way


@dataclass(frozen=True, kw_only=True)
class Download:
    """How the content of a file is sent; the defaults send it as it is.

    Rows are counted from 1, as in the ``errors`` of a batch.

    :param cut_after: close the connection after so many bytes of the requested content
    :param framing: how the client finds the end of the content: by ``Content-Length``, by the last chunk, or by the
        end of the connection, where it cannot distinguish a cut from the end
    :param bytes_per_second: the highest speed; None sends without a limit
    :param ranges: whether ``Range`` is supported; False sends the whole content whatever was requested
    :param missing_row: leave this row out
    :param doubled_row: send this row twice
    :param broken_row: send only the first half of this row, which is not JSON
    """

    cut_after: int | None = None
    framing: Literal["length", "chunked", "close"] = "length"
    bytes_per_second: float | None = None
    ranges: bool = True
    missing_row: int | None = None
    doubled_row: int | None = None
    broken_row: int | None = None

    async def send(self, request: web.Request, content: Content) -> web.StreamResponse:
        """Send the content of a file in this way."""
        path = content.path
        row = self.missing_row or self.doubled_row or self.broken_row
        if row is None:
            return await self._send(request, content, path)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            changed = Path(folder) / path.name
            rows = await asyncio.to_thread(self._copy_with_wrong_row, path, changed)
            if rows < row:
                message = f"The injected fault is about row {row}, but the file has {rows} rows."
                return web.json_response({"error": {"message": message, "type": "server_error"}}, status=500)
            return await self._send(request, content, changed)

    def _copy_with_wrong_row(self, path: Path, changed: Path) -> int:
        """Copy a file with the wrong row.

        :return: how many rows the file has
        """
        number = 0
        with path.open("rb") as rows, changed.open("wb") as copy:
            for number, row in enumerate(rows, start=1):
                if number == self.broken_row:
                    copy.write(row[: len(row) // 2] + b"\n")
                elif number != self.missing_row:
                    copy.write(row)
                if number == self.doubled_row:
                    copy.write(row)
        return number

    async def _send(self, request: web.Request, content: Content, path: Path) -> web.StreamResponse:
        size_bytes = path.stat().st_size  # noqa: ASYNC240 (a moment, on a local disk)
        requested = request.http_range if self.ranges else slice(None)
        start, stop, _step = requested.indices(size_bytes)
        is_whole = requested.start is requested.stop is None
        if start >= stop and not is_whole:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size_bytes}"})
        response_type = _UnframedResponse if self.framing == "close" else web.StreamResponse
        response = response_type(status=200 if is_whole else 206)
        response.content_type = "application/octet-stream"
        if not is_whole:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
        if self.framing == "length":
            response.content_length = stop - start
        elif self.framing == "close":
            response.force_close()
        end = stop if self.cut_after is None else min(stop, start + self.cut_after)
        if end == stop:
            content.record_status(response.status)
        await response.prepare(request)
        for piece in self._pieces(path, start, end):
            await response.write(piece)
            await asyncio.sleep(len(piece) / self.bytes_per_second if self.bytes_per_second else 0)
        if end < stop and request.transport is not None:
            request.transport.close()  # not abort: the bytes that were written are still sent
        return response

    def _pieces(self, path: Path, start: int, end: int) -> Iterator[bytes]:
        max_bytes = PIECE_BYTES
        if self.bytes_per_second:
            max_bytes = min(max_bytes, max(1, int(self.bytes_per_second / 20)))
        with path.open("rb") as file:
            file.seek(start)
            for position in range(start, end, max_bytes):
                yield file.read(min(max_bytes, end - position))
