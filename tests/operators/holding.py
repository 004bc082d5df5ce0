"""A proxy before the sandbox that holds a request back, or its answer: the moments at which a task can be killed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Hold:
    """What to hold, once: ``("POST", "/api/v1/batches/")`` before the service sees it, or after it has answered."""

    method: str
    path: str
    after: bool
    holding: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def at(self, method: str, path: str, *, after: bool) -> None:
        if (method, path, after) == (self.method, self.path, self.after) and not self.holding.is_set():
            self.holding.set()
            self.released.wait()


@contextmanager
def holding_proxy(upstream: str, hold: Hold) -> Iterator[str]:
    """Pass requests on, but for the one to be held; what was held before it was passed on never arrives."""
    target = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            held = hold.holding.is_set()
            hold.at(self.command, path, after=False)
            if not held and hold.holding.is_set() and not hold.after and hold.path == path:
                self.close_connection = True
                return
            connection = http.client.HTTPConnection(target)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            data = response.read()
            connection.close()
            hold.at(self.command, path, after=True)
            with suppress(OSError):  # whoever asked may have been killed
                self.send_response(response.status)
                self.send_header("Content-Type", response.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_DELETE = do_GET  # noqa: N815 (as http.server has it)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        hold.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
