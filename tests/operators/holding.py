"""A proxy before the sandbox that holds a request back, or its answer: the moments at which a task can be killed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.http_server import QuietHandler, served


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

    class Handler(QuietHandler):
        def answer(self) -> None:
            body = self.read_body()
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
                self.respond(response.status, data)

    with served(Handler) as url:
        try:
            yield url
        finally:
            hold.released.set()
