"""A client over ``aiohttp``, for triggerers: it never blocks their event loop.

``aiohttp`` is imported when a client is opened and not before, because Airflow parses DAG files again and again.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_respan.api import failures, transport
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.exceptions import RespanTransientError
from airflow_respan.api.redirects import MAX_REDIRECTS, redirect_request
from airflow_respan.api.request import Request
from airflow_respan.api.response import parse_response

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
Acquire = Callable[[RespanConnection], Awaitable[None]]

MAX_HEADER_BYTES = 2**16
"""Maximum length of a header line: the same as in the client for workers, and eight times aiohttp's default."""


class AsyncRespanClient:
    """Sends requests from a triggerer. Create it by :meth:`open`, inside the event loop in which it is used.

    :param connection: the settings of the Airflow connection
    :param session: the aiohttp session; :meth:`aclose` closes it
    :param tls: aiohttp's argument ``ssl``: the certificates to trust, or whether to check certificates at all
    :param proxy: the URL of the proxy, or None
    :param acquire: awaited before each HTTP request, retries and redirects included; applies a rate limit
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
        self._calls = 0
        self._is_retired = False

    @classmethod
    async def open(cls, connection: RespanConnection, *, acquire: Acquire | None = None) -> AsyncRespanClient:
        """Create a client. Imports and certificates are loaded in a thread, so the event loop is not blocked.

        :param connection: the settings of the Airflow connection
        :param acquire: see the class
        :raises RespanConfigurationError: if the CA bundle or the proxy cannot be used
        """
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        tls, proxy = await asyncio.to_thread(_tls_and_proxy, connection)
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        # aiohttp would retry some requests by itself, in addition to our one retry.
        session._retry_connection = False
        return cls(connection, session, tls, proxy, acquire)

    async def aclose(self) -> None:
        """Close the session and its connections. The client cannot be used afterwards."""
        await self._session.close()

    async def retire(self) -> None:
        """Close the client after the calls that are under way."""
        self._is_retired = True
        if not self._calls:
            await self.aclose()

    async def send(self, request: Request[T]) -> T:
        """Send a request and return its result; the same as :meth:`RespanClient.send`, with one difference.

        A call that has used up its time is not sent again: the wait checks again anyway.
        """
        self._calls += 1
        try:
            started_at = self.loop.time()
            try:
                return await self._send_once(request)
            except RespanTransientError as error:
                if self.loop.time() - started_at >= _time_limit(request):
                    raise
                await asyncio.sleep(transport.retry_pause_seconds(request, error))
            return await self._send_once(request)
        finally:
            self._calls -= 1
            if self._is_retired and not self._calls:
                await self.aclose()

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
                    headers=transport.headers_of(request),
                    json=request.json,
                    proxy=self._proxy,
                    ssl=self._tls,
                    timeout=_timeout(request),
                    allow_redirects=False,
                ) as received:
                    head = transport.make_response(received.status, received.headers.items())
                    redirected = redirect_request(request, head)
                    if redirected is None:
                        body = bytearray()
                        async for chunk in received.content.iter_any():
                            transport.append_limited(body, chunk, request)
                        return parse_response(request, replace(head, body=bytes(body)))
            except (aiohttp.InvalidURL, UnicodeError) as error:  # UnicodeError: a proxy with an invalid host name
                raise failures.cannot_send(request, error) from None
            except (aiohttp.ClientError, OSError) as error:
                raise failures.no_response(request, error) from None
            request = redirected
        raise failures.too_many_redirects(request)


def _time_limit(request: Request[Any]) -> float:
    return min(request.connection.timeout, request.max_timeout)


def _timeout(request: Request[Any]) -> aiohttp.ClientTimeout:
    import aiohttp

    seconds = _time_limit(request)
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(transport.CONNECT_TIMEOUT_SECONDS, seconds))


def _tls_and_proxy(connection: RespanConnection) -> tuple[ssl.SSLContext | bool, str | None]:
    """Return the certificates to trust and the proxy to use. Slow: it imports modules and loads certificates."""
    proxy = transport.proxy_for(connection)
    trusted = transport.ca_bundle(connection)
    if trusted is False or connection.base_url.startswith("http:"):
        return trusted is not False, proxy
    import certifi

    return transport.tls_context(connection, certifi.where() if trusted is True else str(trusted)), proxy
