"""What requests lacks: a limit for the whole of what may come byte by byte: a proxy's answer, an answer's head.

A socket's own time-out begins anew with each byte, so a watchdog shuts the socket down; the reader then finds it at
its end, as if the service had hung up. Imports requests: only :mod:`airflow_respan.api.client` imports this, when it is
made.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BaseHTTPResponse


@contextmanager
def time_limit(seconds: float, shut_down: Callable[[], object]) -> Iterator[None]:
    """Call ``shut_down`` if the block takes longer.

    :raises TimeoutError: if it was called, whatever the block made of that
    """
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(OSError, ValueError, RuntimeError):  # it has ended by itself meanwhile
            shut_down()

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception:
        if not over.is_set():
            raise
    finally:
        watchdog.cancel()
    if over.is_set():
        raise TimeoutError(f"no whole answer within {seconds:.3g} seconds") from None


def _with_time_limit(connection: HTTPConnection, read: Callable[[], Any]) -> Any:
    sock, seconds = connection.sock, connection.timeout
    if sock is None or not isinstance(seconds, int | float):
        return read()
    with time_limit(seconds, lambda: sock.shutdown(socket.SHUT_RDWR)):
        return read()


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        return _with_time_limit(self, super().getresponse)


class _TLSConnection(HTTPSConnection):
    def connect(self) -> None:
        with ExitStack() as self._opening:
            super().connect()

    def _new_conn(self) -> socket.socket:
        """Open the socket, and watch what a proxy answers on it before TLS begins."""
        sock = super()._new_conn()
        # A duplicate, as TLS takes the socket over and leaves nothing of it to shut down.
        handle = self._opening.enter_context(sock.dup())
        if isinstance(self.timeout, int | float):
            self._opening.enter_context(time_limit(self.timeout, lambda: handle.shutdown(socket.SHUT_RDWR)))
        return sock

    def getresponse(self) -> Any:
        return _with_time_limit(self, super().getresponse)


class TimeLimitedAdapter(HTTPAdapter):
    """Requests' adapter, with connections whose answers must begin in time."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Give the pool for a request."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _TLSConnection if pool.scheme == "https" else _Connection
        return pool


def read_with_time_limit(raw: BaseHTTPResponse, seconds: float, pieces: int) -> Iterator[bytes]:
    """Read a body as it comes, for so long and no longer.

    :param pieces: bytes to take at the most at once
    """
    with time_limit(seconds, raw.shutdown):
        while piece := raw.read1(pieces, decode_content=True):
            yield piece


def read_with_idle_limit(raw: BaseHTTPResponse, seconds: float, pieces: int) -> Iterator[bytes]:
    """Read a body of any length as it comes, as long as there is a next piece within so many seconds.

    :param pieces: bytes to take at the most at once
    """
    while True:
        with time_limit(seconds, raw.shutdown):
            piece = raw.read1(pieces, decode_content=True)
        if not piece:
            return
        yield piece
