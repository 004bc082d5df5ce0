"""What requests lacks: time limits, patience with interim responses, and silence about secret URLs.

The time limits are for a proxy's response, for the headers of a response, and for a whole body.

A socket's own timeout starts again with each byte, so a server that sends byte by byte could hold a task for ever.
Here a timer shuts the socket down after the limit, and the reader then finds the end of the stream.

This module imports requests, so :mod:`airflow_respan.api.client` imports it only when a client is created.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BaseHTTPResponse

_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")
_thread = threading.local()

for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(lambda _line: not getattr(_thread, "is_silent", False))


@contextmanager
def without_log_lines() -> Iterator[None]:
    """Log no line of urllib3 in this thread: it logs the URL of each request, which may be secret."""
    _thread.is_silent = True
    try:
        yield
    finally:
        _thread.is_silent = False


@contextmanager
def time_limit(seconds: float, shut_down: Callable[[], object]) -> Iterator[None]:
    """Call ``shut_down`` if the block takes longer than the limit.

    :param seconds: the limit
    :param shut_down: lets the block end early; called in another thread
    :raises TimeoutError: if it was called, even if the block then ended without an error
    """
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        with suppress(OSError, ValueError, RuntimeError):  # the connection may be closed already
            shut_down()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not expired.is_set():
            raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise TimeoutError(f"no complete response within {seconds:.3g} seconds") from None


def _with_time_limit(connection: HTTPConnection, read: Callable[[], Any]) -> Any:
    sock, seconds = connection.sock, connection.timeout
    if sock is None or not isinstance(seconds, int | float):
        return read()
    with time_limit(seconds, lambda: sock.shutdown(socket.SHUT_RDWR)):
        return read()


class _FinalResponse(http.client.HTTPResponse):
    """A response of ``http.client``, which takes an interim response for the answer, unless it is a 100."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # private, the same since Python 2
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _Connection(HTTPConnection):
    response_class = _FinalResponse

    def getresponse(self) -> Any:
        return _with_time_limit(self, super().getresponse)


class _TLSConnection(HTTPSConnection):
    response_class = _FinalResponse

    def connect(self) -> None:
        with ExitStack() as self._connect_stack:
            super().connect()

    def _new_conn(self) -> socket.socket:
        """Open the socket, with a time limit for a proxy's response and for the TLS handshake."""
        sock = super()._new_conn()
        # A duplicate, because TLS replaces the original socket object, which then cannot be shut down.
        duplicate = self._connect_stack.enter_context(sock.dup())
        if isinstance(self.timeout, int | float):
            self._connect_stack.enter_context(time_limit(self.timeout, lambda: duplicate.shutdown(socket.SHUT_RDWR)))
        return sock

    def getresponse(self) -> Any:
        return _with_time_limit(self, super().getresponse)


class TimeLimitedAdapter(HTTPAdapter):
    """The adapter of requests, with connections that limit the time for connecting and for response headers."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the connection pool for a request, with our connection classes."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _TLSConnection if pool.scheme == "https" else _Connection
        return pool


def read_with_time_limit(raw: BaseHTTPResponse, seconds: float, max_bytes: int) -> Iterator[bytes]:
    """Yield the chunks of a body as they arrive, within a limit for the whole body.

    :param seconds: the limit
    :param max_bytes: the maximum size of a chunk
    :raises TimeoutError: if the limit has passed
    """
    with time_limit(seconds, raw.shutdown):
        while chunk := raw.read1(max_bytes, decode_content=True):
            yield chunk


def read_with_idle_limit(raw: BaseHTTPResponse, seconds: float, max_bytes: int) -> Iterator[bytes]:
    """Yield the chunks of a body as they arrive, still encoded, within a limit for each chunk.

    :param seconds: the limit
    :param max_bytes: the maximum size of a chunk
    :raises TimeoutError: if the limit has passed
    """
    while True:
        with time_limit(seconds, raw.shutdown):
            chunk = raw.read1(max_bytes, decode_content=False)
        if not chunk:
            return
        yield chunk
