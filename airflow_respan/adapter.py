"""What requests lacks: a limit for the whole of an answer's head, which may come byte by byte.

A socket's own time-out begins anew with each byte, so a watchdog shuts the socket down; the reader then finds it at
its end, as if the service had hung up. Imports requests: only :mod:`airflow_respan.client` imports this, when it is
made.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BaseHTTPResponse


@contextmanager
def watched(seconds: float, shut_down: Callable[[], object]) -> Iterator[None]:
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


def _watched_head(connection: HTTPConnection, read: Callable[[], Any]) -> Any:
    sock, seconds = connection.sock, connection.timeout
    if sock is None or not isinstance(seconds, int | float):
        return read()
    with watched(seconds, lambda: sock.shutdown(socket.SHUT_RDWR)):
        return read()


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        return _watched_head(self, super().getresponse)


class _TLSConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        return _watched_head(self, super().getresponse)


class WatchedAdapter(HTTPAdapter):
    """Requests' adapter, with connections whose answers must begin in time."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Give the pool for a request."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _TLSConnection if pool.scheme == "https" else _Connection
        return pool


def read_within(raw: BaseHTTPResponse, seconds: float, pieces: int) -> Iterator[bytes]:
    """Read a body as it comes, for so long and no longer.

    :param pieces: bytes to take at the most at once
    """
    with watched(seconds, raw.shutdown):
        while piece := raw.read1(pieces, decode_content=True):
            yield piece
