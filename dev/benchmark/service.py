"""The service that all contenders poll: Respan's, OpenAI's and Anthropic's batches, late as a real one answers.

A process of its own, and cheap: HTTP by hand, answers from templates. It writes down every request.

python -m dev.benchmark.service --watched 1000

prints its port, and serves until it is ended. ``/control/end?number=60&seconds=60`` lets so many batches end, spread
over so many seconds, and tells when each will; ``/control/told`` tells when somebody had been told of every batch, null
before that; ``/control/begin`` forgets who was told so far; ``/control/log`` tells all requests: when, what for, by
which connection, and how many of the watched batches the answer tells of. Moments are seconds of ``time.monotonic``,
which the processes of a machine share.
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
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dev.benchmark.batches import Batches, is_watched

LATENCY = (0.05, 0.2)
"""Seconds that each answer takes, at random."""


class Service:
    """The batches, and what was asked about them.

    :param batches: the batches
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.requests: list[tuple[float, str, int, int]] = []
        self.connections = 0

    def control(self, path: str, query: dict[str, list[str]]) -> str:
        """Do what the harness says."""
        answer: Any = {
            "requests": self.requests,
            "connections": self.connections,
            "all_told_at": self.batches.all_told_at,
            "cpu": time.process_time(),
        }
        if path == "/control/end":
            answer = self.batches.end(number=int(query["number"][0]), seconds=float(query["seconds"][0]))
        elif path == "/control/begin":
            self.batches.begin()
        elif path == "/control/told":
            answer = self.batches.all_told_at
        return json.dumps(answer)


class Connection(asyncio.Protocol):
    """One TCP connection: requests without bodies, one after the other."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.number: int | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (for the type checker)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take requests."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.asked(head.split(b" ", 2)[1].decode())

    def asked(self, target: str) -> None:
        """Write a request down, and answer it a while later as things are then."""
        url = urlsplit(target)
        query, batch_id = parse_qs(url.query), url.path.rstrip("/").rpartition("/")[2]
        if url.path.startswith("/control/"):
            self.answer(self.service.control(url.path, query))
            return
        if self.number is None:
            self.number = self.service.connections = self.service.connections + 1
        is_list = batch_id == "batches"
        shown = self.service.batches.shown(query) if is_list else [batch_id]
        looks = sum(map(is_watched, shown))
        self.service.requests.append((time.monotonic(), "list" if is_list else batch_id, self.number, looks))

        def late() -> None:
            if is_list:
                self.answer(self.service.batches.page(query))
            elif url.path.startswith("/v1/messages/"):
                self.answer(self.service.batches.anthropic(batch_id))
            else:
                self.answer(self.service.batches.openai(batch_id))

        asyncio.get_running_loop().call_later(random.uniform(*LATENCY), late)  # noqa: S311 (keeps no secret)

    def answer(self, body: str) -> None:
        """Send an answer."""
        if not self.transport.is_closing():
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.transport.write((head + body).encode())


async def serve(service: Service) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=10_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(watched: int, *options: str) -> Iterator[str]:
    """Run the service as a process of its own; gives its address.

    :param watched: how many batches there are to wait for
    :param options: of its command line
    """
    command = [sys.executable, "-m", "dev.benchmark.service", "--watched", str(watched), *options]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout  # noqa: S101 (for the type checker)
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watched", type=int, required=True, help="how many batches there are to wait for")
    parser.add_argument("--lacking", action="store_true", help="items of lists have but few fields")
    parser.add_argument("--stale", type=float, default=0.0, help="seconds by which lists lag behind")
    options = parser.parse_args()
    batches = Batches(watched=options.watched, lacking=options.lacking, stale=options.stale)
    asyncio.run(serve(Service(batches)))
