"""A service with several organisations, each with its own batches and list; the sandbox has only one.

The organisation is named by the key, and by the header ``X-Team`` and the provider if they are sent: ``key/team``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import QuietHandler, served

Answer = tuple[int, dict[str, str], Any]


@dataclass
class Organisations:
    """The state of the service.

    :param statuses: organisation -> batch id -> status
    :param instead: returns another response to a request of this organisation and path, or None for the usual one
    :param requests: the organisation and the path of each request
    """

    statuses: dict[str, dict[str, str]] = field(default_factory=dict)
    instead: Callable[[str, str], Answer | None] = lambda _key, _path: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, organisation: str, path: str) -> Answer:
        self.requests.append((organisation, path))
        if other := self.instead(organisation, path):
            return other
        batches = self.statuses.get(organisation)
        if batches is None:
            return 401, {}, {"error": "Invalid API key"}
        items = [{"id": batch_id, "object": "batch", "status": status} for batch_id, status in batches.items()]
        if path == "/api/v1/batches/":
            return 200, {}, {"object": "list", "data": items[:100], "has_more": False}
        batch_id = path.split("/")[4]
        found = [item for item in items if item["id"] == batch_id]
        return (200, {}, found[0]) if found else (404, {}, {"error": {"message": f"No such batch: {batch_id}"}})


@contextmanager
def running(service: Organisations) -> Iterator[Organisations]:
    """Run the service on the loopback address."""

    class Handler(QuietHandler):
        def answer(self) -> None:
            url = urlsplit(self.path)
            key = self.headers["Authorization"].removeprefix("Bearer ")
            names = [key, self.headers.get("X-Team"), *parse_qs(url.query).get("provider_id", [])]
            status, headers, body = service.answer("/".join(filter(None, names)), url.path)
            self.respond(status, body.encode() if isinstance(body, str) else json.dumps(body).encode(), **headers)

    with served(Handler) as service.url:
        yield service
