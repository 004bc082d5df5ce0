"""What can go wrong with a service, on request."""

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
    """One way to misbehave, instead of answering or in doing so.

    Make it by the class methods; ``Fault(status=..., body=...)`` is any other answer, ``Fault(download=...)`` any other
    way to send a file's content.

    :param status: the HTTP status
    :param body: the body; a mapping is sent as JSON
    :param headers: further headers
    :param delay: seconds before anything is sent; alone, the true answer follows
    :param cut_after: close the connection after so many bytes of the body; 0 sends nothing at all
    :param pause: seconds between two bytes of the body
    :param late: seconds between a request's being carried out and its true answer
    :param lost: carry the request out, and close the connection instead of answering
    :param download: how a file's content is sent; only downloads meet it
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
        """Make a 429 with ``retry_after`` in the body, as Respan does it, or in the header ``Retry-After``."""
        body = {"detail": "Rate limit exceeded", "retry_after": retry_after}
        if retry_after is None or header is not None:
            del body["retry_after"]
        return cls(status=429, body=body, headers={} if header is None else {"Retry-After": header})

    @classmethod
    def error(cls, status: int, message: str = "The sandbox was told to fail.") -> Fault:
        """Make an answer of any status with the usual error body."""
        return cls(status=status, body={"error": {"message": message, "type": "server_error"}})

    @classmethod
    def html(cls, status: int = 502) -> Fault:
        """Make a page of a proxy in between; with 200 it even looks like success."""
        return cls(status=status, body=HTML, headers={"Content-Type": "text/html"})

    @classmethod
    def cut(cls, after: int = 0) -> Fault:
        """Make a connection that is closed after so many bytes of an answer that promised more."""
        return cls(status=200, body='{"id": "batch_', headers={"Content-Length": "1000"}, cut_after=after)

    @classmethod
    def slow(cls, seconds: float) -> Fault:
        """Make the true answer late."""
        return cls(delay=seconds)

    @classmethod
    def drip(cls, *, pause: float) -> Fault:
        """Make an answer that comes byte by byte."""
        return cls(status=200, body="{" + " " * 10_000 + "}", pause=pause)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Fault:
        """Make a redirect."""
        return cls(status=status, headers={"Location": location})

    @classmethod
    def late_answer(cls, seconds: float) -> Fault:
        """Make a true answer that comes long after the request has been carried out."""
        return cls(late=seconds)

    @classmethod
    def lost_answer(cls) -> Fault:
        """Make a connection that breaks when the request has been carried out: a batch is made, and nobody told."""
        return cls(lost=True)

    @classmethod
    def cut_download(cls, after: int, *, framing: Literal["length", "chunked", "close"] = "length") -> Fault:
        """Make a content that ends after so many bytes; framed by ``close``, nothing tells that it was cut."""
        return cls(download=Download(cut_after=after, framing=framing))

    @classmethod
    def slow_download(cls, bytes_per_second: float) -> Fault:
        """Make a content that comes no faster than this."""
        return cls(download=Download(bytes_per_second=bytes_per_second))

    @classmethod
    def no_ranges(cls) -> Fault:
        """Make a download whole, with 200, though a part was asked for."""
        return cls(download=Download(ranges=False))

    @classmethod
    def missing_row(cls, number: int) -> Fault:
        """Make a content without this row."""
        return cls(download=Download(missing_row=number))

    @classmethod
    def doubled_row(cls, number: int) -> Fault:
        """Make a content that has this row twice."""
        return cls(download=Download(doubled_row=number))

    @classmethod
    def broken_row(cls, number: int) -> Fault:
        """Make a content in which this row is no JSON."""
        return cls(download=Download(broken_row=number))

    async def play(self, request: web.Request) -> web.StreamResponse | None:
        """Misbehave before the request is carried out; None if it is to be."""
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
        """Misbehave after the request has been carried out; gives what is to be sent."""
        await asyncio.sleep(self.late)
        if self.lost and request.transport is not None:
            request.transport.abort()
        if self.download and isinstance(response, Content):
            return await self.download.send(request, response)
        return response
