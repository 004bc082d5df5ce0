"""A service that sends any bytes whatever: what the sandbox, which speaks HTTP, cannot do."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def raw_server(
    begin: bytes | Callable[[bytes], bytes],
    drop: bytes = b"",
    *,
    pause: float = 0.0,
    seen: list[bytes] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Answer each connection with bytes: the beginning once, then the drop again and again; without a drop, hang up.

    A beginning may be a function of the request.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(accepted: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(accepted, server_side=True) if tls else accepted as peer:
            request = peer.recv(65536)
            if request and seen is not None:
                seen.append(request)
            peer.sendall(begin if isinstance(begin, bytes) else begin(request))
            while drop and not over.wait(pause):
                peer.sendall(drop)

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _address = listener.accept()
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
