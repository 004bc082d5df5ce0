"""The faults of a service that a test can inject: errors, cut connections, delays, and wrong downloads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from airflow_respan.sandbox.content import Content
from airflow_respan.sandbox.downloads import Download

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of the service.

    The class methods create the usual faults. ``Fault(status=..., body=...)`` is any other response, and
    ``Fault(download=...)`` any other way to send the content of a file.

    :param status: the HTTP status
    :param body: the body; a mapping is sent as JSON
    :param headers: further headers
    :param delay: seconds before the request is processed; without ``status`` the usual response follows
    :param cut_after: close the connection after so many bytes of the body; 0 sends nothing, not even headers
    :param pause: seconds between two bytes of the body
    :param late: seconds between the processing of the request and its response
    :param lost: process the request, and then close the connection without a response
    :param download: how the content of a file is sent; other requests do not get this fault
    """

    status: int | None = None
    body: str | Mapping[str, Any] = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_after: int | None = None
    pause: float = 0.0
    late: float = 0.0
    lost: bool = False
    download: Download | None = None

    @classmethod
    def rate_limit(cls, *, retry_after: float | None = 30, header: str | None = None) -> Fault:
        """Return the fault of a rate limit: 429, with ``retry_after`` in the body or with the header ``Retry-After``.

        :param retry_after: seconds, in the body, where Respan sends them; None leaves them out
        :param header: the value of ``Retry-After``, instead of ``retry_after``
        """
        body = {"detail": "Rate limit exceeded", "retry_after": retry_after}
        if retry_after is None or header is not None:
            del body["retry_after"]
        return cls(status=429, body=body, headers={} if header is None else {"Retry-After": header})

    @classmethod
    def error(cls, status: int, message: str = "The sandbox was told to fail.") -> Fault:
        """Return the fault of a response with this status and the usual error body."""
        return cls(status=status, body={"error": {"message": message, "type": "server_error"}})

    @classmethod
    def html(cls, status: int = 502) -> Fault:
        """Return the fault of a proxy that sends an HTML page; with the status 200 it looks like success."""
        return cls(status=status, body=HTML, headers={"Content-Type": "text/html"})

    @classmethod
    def cut(cls, after: int = 0) -> Fault:
        """Return the fault of a connection that is closed after so many bytes, although the headers announce more."""
        return cls(status=200, body='{"id": "batch_', headers={"Content-Length": "1000"}, cut_after=after)

    @classmethod
    def slow(cls, seconds: float) -> Fault:
        """Return the fault of a request that is processed only after so many seconds."""
        return cls(delay=seconds)

    @classmethod
    def drip(cls, *, pause: float) -> Fault:
        """Return the fault of a response that is sent byte by byte.

        :param pause: seconds between two bytes
        """
        return cls(status=200, body="{" + " " * 10_000 + "}", pause=pause)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Fault:
        """Return the fault of a redirect."""
        return cls(status=status, headers={"Location": location})

    @classmethod
    def late_answer(cls, seconds: float) -> Fault:
        """Return the fault of a response that comes so many seconds after the request was processed."""
        return cls(late=seconds)

    @classmethod
    def lost_answer(cls) -> Fault:
        """Return the fault of a request that is processed, but gets no response: a batch is created nevertheless."""
        return cls(lost=True)

    @classmethod
    def cut_download(cls, after: int, *, framing: Literal["length", "chunked", "close"] = "length") -> Fault:
        """Return the fault of a download that is cut after so many bytes.

        :param framing: ``length``, ``chunked``, or ``close``, where the client cannot distinguish the cut from the end
        """
        return cls(download=Download(cut_after=after, framing=framing))

    @classmethod
    def slow_download(cls, bytes_per_second: float) -> Fault:
        """Return the fault of a download with a limited speed."""
        return cls(download=Download(bytes_per_second=bytes_per_second))

    @classmethod
    def no_ranges(cls) -> Fault:
        """Return the fault of a whole download, with the status 200, although a ``Range`` was requested."""
        return cls(download=Download(ranges=False))

    @classmethod
    def missing_row(cls, number: int) -> Fault:
        """Return the fault of a download without this row (counted from 1)."""
        return cls(download=Download(missing_row=number))

    @classmethod
    def doubled_row(cls, number: int) -> Fault:
        """Return the fault of a download with this row twice (counted from 1)."""
        return cls(download=Download(doubled_row=number))

    @classmethod
    def broken_row(cls, number: int) -> Fault:
        """Return the fault of a download in which this row (counted from 1) is not JSON."""
        return cls(download=Download(broken_row=number))

    async def play(self, request: web.Request) -> web.StreamResponse | None:
        """Apply the part of the fault before the request is processed.

        :return: the response to send instead, or None if the request is to be processed
        """
        await asyncio.sleep(self.delay)
        if self.status is None:
            return None
        data = (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()
        if self.cut_after is None and not self.pause:
            kind = "text/plain" if isinstance(self.body, str) else "application/json"
            return web.Response(status=self.status, body=data, headers={"Content-Type": kind, **self.headers})
        response = web.StreamResponse(status=self.status, headers=self.headers)
        if self.cut_after != 0:
            await response.prepare(request)
            for position in range(len(data[: self.cut_after])):
                await response.write(data[position : position + 1])
                await asyncio.sleep(self.pause)
        if self.cut_after is not None and request.transport is not None:
            request.transport.abort()
        return response

    async def spoil(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Apply the part of the fault after the request was processed.

        :return: the response to send
        """
        await asyncio.sleep(self.late)
        if self.lost and request.transport is not None:
            request.transport.abort()
        if self.download and isinstance(response, Content):
            return await self.download.send(request, response)
        return response
