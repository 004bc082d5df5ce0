"""Carries requests over ``aiohttp``: for triggerers, and never blocks their event loop.

``aiohttp`` is imported when a client is opened, never before: DAG files are parsed again and again.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_respan import answers, carrying, failures
from airflow_respan.connection import RespanConnection
from airflow_respan.request import Request

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")


class AsyncRespanClient:
    """Carries requests for triggerers; made by :meth:`open`, inside the event loop that it is used in.

    :param connection: whom to talk to
    :param session: the session that carries, closed by :meth:`aclose`
    :param tls: what the session trusts
    """

    def __init__(
        self, connection: RespanConnection, session: aiohttp.ClientSession, tls: ssl.SSLContext | bool
    ) -> None:
        self.connection = connection
        self._session = session
        self._tls = tls

    @classmethod
    async def open(cls, connection: RespanConnection) -> AsyncRespanClient:
        """Make a client without blocking the event loop for the time that imports and certificates take."""
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        tls = await asyncio.to_thread(_tls, connection)
        timeout = aiohttp.ClientTimeout(
            total=connection.timeout, sock_connect=min(carrying.CONNECT_TIMEOUT, connection.timeout)
        )
        session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return cls(connection, session, tls)

    async def aclose(self) -> None:
        """Close the connections for good."""
        await self._session.close()

    async def send(self, request: Request[T]) -> T:
        """Carry a request and give its result; the same as :meth:`RespanClient.send`."""
        from tenacity import AsyncRetrying

        return await AsyncRetrying(**carrying.retry_options(request))(self._send_once, request)

    async def _send_once(self, request: Request[T]) -> T:
        import aiohttp
        from yarl import URL

        for _hop in range(answers.MOST_REDIRECTS + 1):
            try:
                async with self._session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers={**request.headers, "Authorization": carrying.bearer(request.connection)},
                    json=request.json,
                    proxy=_proxy(request),
                    ssl=self._tls,
                    allow_redirects=False,
                ) as response:
                    following = answers.redirected(request, carrying.head(response.status, response.headers))
                    if following is None:
                        body = bytearray()
                        async for piece in response.content.iter_any():
                            carrying.grow(body, piece, request)
                        answer = carrying.head(response.status, response.headers, bytes(body))
                        return answers.read_answer(request, answer)
            except aiohttp.InvalidURL as error:
                raise failures.unsendable(request, error) from None
            except (aiohttp.ClientError, OSError) as error:
                raise failures.unanswered(request, error) from None
            request = following
        raise failures.redirected_in_circles(request)


def _tls(connection: RespanConnection) -> ssl.SSLContext | bool:
    trusted = carrying.trusted(connection)
    if trusted is False or connection.base_url.startswith("http:"):
        return trusted is not False
    import certifi

    path = certifi.where() if trusted is True else trusted
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _proxy(request: Request[Any]) -> str | None:
    """Choose the proxy as requests does; aiohttp's own reading of the environment brings ~/.netrc with it."""
    parts = urlsplit(request.url)
    chosen = request.connection.proxies.get(parts.scheme) or request.connection.proxies.get("all")
    if chosen or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return chosen
    return urllib.request.getproxies().get(parts.scheme) or urllib.request.getproxies().get("all")
