"""The service that all triggers poll: batches of Respan, OpenAI and Anthropic, with the latency of a real service.

It is a process of its own, and cheap: HTTP without a library, and responses from templates. It records every request.

python -m dev.benchmark.service --watched 1000

prints its port, and serves until it is ended. The control paths are:

* ``/control/end?number=60&seconds=60`` ends so many batches, spread over so many seconds, and returns when each ends.
* ``/control/all-checked`` returns when every batch had been checked once, or null.
* ``/control/reset`` forgets which batches have been checked.
* ``/control/log`` returns all requests: when, for which batch or the list, the number of the connection, and how many
  watched batches the response has.

Moments are seconds of ``time.monotonic``, which is the same in all processes of a machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dev.benchmark.batches import Batches, is_watched
from dev.settings import CHECKOUT

LATENCY_SECONDS = (0.05, 0.2)
"""Each response takes a random time in this range."""


class Service:
    """The batches, and the requests so far."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.requests: list[tuple[float, str, int, int]] = []
        self.connections = 0

    def control(self, path: str, query: dict[str, list[str]]) -> str:
        """Return the response to a control path."""
        response: Any = {
            "requests": self.requests,
            "connections": self.connections,
            "all_checked_at": self.batches.all_checked_at,
        }
        if path == "/control/end":
            response = self.batches.end(number=int(query["number"][0]), seconds=float(query["seconds"][0]))
        elif path == "/control/reset":
            self.batches.reset_checks()
        elif path == "/control/all-checked":
            response = self.batches.all_checked_at
        return json.dumps(response)


class Connection(asyncio.Protocol):
    """One TCP connection: requests without bodies, one after the other."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.number: int | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for the responses."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (for the type checker)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse requests."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.handle(head.split(b" ", 2)[1].decode())

    def handle(self, target: str) -> None:
        """Record a request, and respond after the latency, with the batches as they are then."""
        url = urlsplit(target)
        query, batch_id = parse_qs(url.query), url.path.rstrip("/").rpartition("/")[2]
        if url.path.startswith("/control/"):
            self.send(self.service.control(url.path, query))
            return
        if self.number is None:
            self.number = self.service.connections = self.service.connections + 1
        is_list = batch_id == "batches"
        ids = self.service.batches.ids_on_page(query) if is_list else [batch_id]
        checks = sum(map(is_watched, ids))
        self.service.requests.append((time.monotonic(), "list" if is_list else batch_id, self.number, checks))

        def respond() -> None:
            if is_list:
                self.send(self.service.batches.page(query))
            elif url.path.startswith("/v1/messages/"):
                self.send(self.service.batches.anthropic(batch_id))
            else:
                self.send(self.service.batches.openai(batch_id))

        asyncio.get_running_loop().call_later(random.uniform(*LATENCY_SECONDS), respond)  # noqa: S311 (keeps no secret)

    def send(self, body: str) -> None:
        """Send a response."""
        if not self.transport.is_closing():
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.transport.write((head + body).encode())


async def serve(service: Service) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=10_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(watched: int) -> Iterator[str]:
    """Run the service as a process of its own, and yield its URL.

    :param watched: the number of batches that triggers wait for
    """
    command = [sys.executable, "-m", "dev.benchmark.service", "--watched", str(watched)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout  # noqa: S101 (for the type checker)
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watched", type=int, required=True, help="the number of batches that triggers wait for")
    asyncio.run(serve(Service(Batches(watched=parser.parse_args().watched))))
