"""What can go wrong with a service, on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to misbehave, instead of answering.

    Make it by the class methods; ``Fault(status=..., body=...)`` is any other answer.

    :param status: the HTTP status
    :param body: the body; a mapping is sent as JSON
    :param headers: further headers
    :param delay: seconds before anything is sent; alone, the true answer follows
    :param cut_after: close the connection after so many bytes of the body; 0 sends nothing at all
    :param pause: seconds between two bytes of the body
    """

    status: int | None = None
    body: str | Mapping[str, Any] = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_after: int | None = None
    pause: float = 0.0

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

    async def play(self, request: web.Request) -> web.StreamResponse | None:
        """Misbehave; None if the true answer is to follow."""
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
