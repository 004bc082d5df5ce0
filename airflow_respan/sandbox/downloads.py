"""A file's content as a bad service would send it: cut off, slow, deaf to ``Range``, with rows that are wrong."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiohttp import web

from airflow_respan.sandbox.content import Content

PIECE = 2**16


class _Unframed(web.StreamResponse):
    """An answer with neither a length nor chunks: its end is the connection's, so that a cut looks like the end."""

    _length_check = False  # as aiohttp's own WebSocketResponse has it; there is no public way


@dataclass(frozen=True, kw_only=True)
class Download:
    """How the content of a file is sent: as it is, unless told otherwise.

    Rows count from 1, as a batch's ``errors`` do.

    :param cut_after: close the connection after so many bytes of what was asked for
    :param framing: how the end is told: by ``Content-Length``, by the last of the chunks, or, with neither, by the
        connection's being closed, when a cut cannot be told from the end
    :param bytes_per_second: send no faster
    :param ranges: whether ``Range`` is honoured; else the whole content is sent, whatever was asked for
    :param missing_row: leave this row out
    :param doubled_row: send this row twice
    :param broken_row: send only the first half of this row, which is no JSON then
    """

    cut_after: int | None = None
    framing: Literal["length", "chunked", "close"] = "length"
    bytes_per_second: float | None = None
    ranges: bool = True
    missing_row: int | None = None
    doubled_row: int | None = None
    broken_row: int | None = None

    async def send(self, request: web.Request, content: Content) -> web.StreamResponse:
        """Send a file's content so."""
        path = content.path
        row = self.missing_row or self.doubled_row or self.broken_row
        if row is None:
            return await self._send(request, content, path)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            changed = Path(folder) / path.name
            rows = await asyncio.to_thread(self._change, path, changed)
            if rows < row:
                message = f"The sandbox was told to spoil row {row} of a file that has {rows}."
                return web.json_response({"error": {"message": message, "type": "server_error"}}, status=500)
            return await self._send(request, content, changed)

    def _change(self, path: Path, changed: Path) -> int:
        """Copy a file with the row that is wrong; returns how many rows there are."""
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
        size = path.stat().st_size  # noqa: ASYNC240 (a moment, on a local disk)
        asked = request.http_range if self.ranges else slice(None)
        start, stop, _step = asked.indices(size)
        whole = asked.start is asked.stop is None
        if start >= stop and not whole:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        response = (_Unframed if self.framing == "close" else web.StreamResponse)(status=200 if whole else 206)
        response.content_type = "application/octet-stream"
        if not whole:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if self.framing == "length":
            response.content_length = stop - start
        elif self.framing == "close":
            response.force_close()
        end = stop if self.cut_after is None else min(stop, start + self.cut_after)
        if end == stop:
            content.note(response.status)
        await response.prepare(request)
        for piece in self._pieces(path, start, end):
            await response.write(piece)
            await asyncio.sleep(len(piece) / self.bytes_per_second if self.bytes_per_second else 0)
        if end < stop and request.transport is not None:
            request.transport.close()  # what was written is still sent
        return response

    def _pieces(self, path: Path, start: int, end: int) -> Iterator[bytes]:
        most = min(PIECE, max(1, int(self.bytes_per_second / 20))) if self.bytes_per_second else PIECE
        with path.open("rb") as file:
            file.seek(start)
            for position in range(start, end, most):
                yield file.read(min(most, end - position))
