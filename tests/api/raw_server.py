"""A server that sends any bytes, also invalid HTTP, which the sandbox cannot do."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def raw_server(
    start: bytes | Callable[[bytes], bytes],
    repeated: bytes = b"",
    *,
    pause_seconds: float = 0.0,
    requests: list[bytes] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Respond to each connection with bytes, and yield the server's URL.

    :param start: the bytes to send once, or a function of the request that returns them
    :param repeated: the bytes to send afterwards again and again; if empty, the connection is closed
    :param pause_seconds: the pause before each repetition
    :param requests: a list to which each request is appended
    :param tls: the server's TLS context; None for plain HTTP
    """
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def respond(accepted: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(accepted, server_side=True) if tls else accepted as peer:
            request = peer.recv(65536)
            if request and requests is not None:
                requests.append(request)
            peer.sendall(start if isinstance(start, bytes) else start(request))
            while repeated and not stopped.wait(pause_seconds):
                peer.sendall(repeated)

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _address = listener.accept()
                threading.Thread(target=respond, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
