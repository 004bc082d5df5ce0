"""Carries requests over ``aiohttp``: for triggerers, and never blocks their event loop.

``aiohttp`` is imported when a client is opened, never before: DAG files are parsed again and again.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from airflow_respan.api import failures, transport
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.exceptions import RespanConfigurationError, RespanTransientError
from airflow_respan.api.request import Request
from airflow_respan.api.response import MAX_REDIRECTS, parse_response, redirect_request

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
Acquire = Callable[[RespanConnection], Awaitable[None]]

MAX_HEADER_BYTES = 2**16
"""Bytes of a header line: what requests allows, and eight times aiohttp's own limit."""


class AsyncRespanClient:
    """Carries requests for triggerers; made by :meth:`open`, inside the event loop that it is used in.

    :param connection: whom to talk to
    :param session: the session that carries, closed by :meth:`aclose`
    :param tls: what the session trusts
    :param proxy: the proxy to go through, or None
    :param acquire: awaited before each request that goes out, retries and redirects included; None for no such thing
    """

    def __init__(
        self,
        connection: RespanConnection,
        session: aiohttp.ClientSession,
        tls: ssl.SSLContext | bool,
        proxy: str | None,
        acquire: Acquire | None = None,
    ) -> None:
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self._session = session
        self._tls = tls
        self._proxy = proxy
        self._acquire = acquire

    @classmethod
    async def open(cls, connection: RespanConnection, *, acquire: Acquire | None = None) -> AsyncRespanClient:
        """Make a client without blocking the event loop for the time that imports and certificates take."""
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        tls, proxy = await asyncio.to_thread(_tls_and_proxy, connection)
        timeout = aiohttp.ClientTimeout(
            total=connection.timeout, sock_connect=min(transport.CONNECT_TIMEOUT_SECONDS, connection.timeout)
        )
        session = aiohttp.ClientSession(
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        # Else aiohttp sends a request a second time on its own, beside our one retry.
        session._retry_connection = False
        return cls(connection, session, tls, proxy, acquire)

    async def aclose(self) -> None:
        """Close the connections for good."""
        await self._session.close()

    async def send(self, request: Request[T]) -> T:
        """Carry a request and give its result; the same as :meth:`RespanClient.send`."""
        try:
            return await self._send_once(request)
        except RespanTransientError as error:
            await asyncio.sleep(transport.retry_pause_seconds(request, error))
        return await self._send_once(request)

    async def _send_once(self, request: Request[T]) -> T:
        import aiohttp
        from yarl import URL

        for _hop in range(MAX_REDIRECTS + 1):
            if self._acquire:
                await self._acquire(request.connection)
            try:
                async with self._session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers={**request.headers, "Authorization": transport.authorization(request.connection)},
                    json=request.json,
                    proxy=self._proxy,
                    ssl=self._tls,
                    allow_redirects=False,
                ) as response:
                    following = redirect_request(request, transport.make_response(response.status, response.headers))
                    if following is None:
                        body = bytearray()
                        async for piece in response.content.iter_any():
                            transport.append_limited(body, piece, request)
                        answer = transport.make_response(response.status, response.headers, bytes(body))
                        return parse_response(request, answer)
            except (aiohttp.InvalidURL, UnicodeError) as error:  # the latter for a proxy's name that can be none
                raise failures.cannot_send(request, error) from None
            except (aiohttp.ClientError, OSError) as error:
                raise failures.no_response(request, error) from None
            request = following
        raise failures.too_many_redirects(request)


def _tls_and_proxy(connection: RespanConnection) -> tuple[ssl.SSLContext | bool, str | None]:
    """Find what to trust and which proxy to take: slow, with imports and certificates to load."""
    proxy = transport.proxy_for(connection)
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise RespanConfigurationError(
            f"Airflow connection {connection.conn_id!r} has a {urlsplit(proxy).scheme} proxy, which triggerers cannot "
            "use. Name an HTTP proxy in its extra field 'proxies', or wait in another mode than deferrable."
        )
    trusted = transport.ca_bundle(connection)
    if trusted is False or connection.base_url.startswith("http:"):
        return trusted is not False, proxy
    import certifi

    return transport.tls_context(connection, certifi.where() if trusted is True else str(trusted)), proxy
