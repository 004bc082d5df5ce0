"""A small service with a list of batches whose form each test chooses; the sandbox sends only the documented form."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import QuietHandler, served

Item = dict[str, Any]


class OddService:
    """Files and batches in memory.

    :ivar batches: all batches, oldest first
    :ivar requests: method and path -> number of requests
    :ivar page_size: the number of items on a page; ``limit`` is ignored
    :ivar order: sorts the batches for the list; newest first by default
    :ivar show: changes an item before it is listed
    :ivar has_more: returns the field ``has_more`` of a page, given whether another page follows
    :ivar hidden: ids that the list does not show
    :ivar odd: id -> HTTP status and body that a retrieve returns instead of the batch
    :ivar ignores_after: whether each page is the first page
    :ivar drops_metadata: whether a create loses the metadata
    :ivar cancel_status: the HTTP status of the response to a cancel
    :ivar clock: the creation times of the batches
    """

    url: str

    def __init__(self) -> None:
        self.batches: list[Item] = []
        self.files: list[Item] = []
        self.requests: Counter[str] = Counter()
        self.page_size = 10
        self.order: Callable[[list[Item]], list[Item]] = lambda batches: batches[::-1]
        self.show: Callable[[Item], Item] = dict
        self.has_more: Callable[[bool], dict[str, Any]] = lambda more: {"has_more": more}
        self.hidden: set[str] = set()
        self.odd: dict[str, tuple[int, Any]] = {}
        self.ignores_after = False
        self.drops_metadata = False
        self.cancel_status = 200
        self.clock = itertools.count(1_800_000_000)

    def add(self, **fields: Any) -> Item:
        batch = {
            "id": f"batch_{len(self.batches) + 1:04}",
            "object": "batch",
            "status": "in_progress",
            "created_at": next(self.clock),
            "input_file_id": "file-of-somebody",
            "metadata": {"team": "other"},
            **fields,
        }
        self.batches.append(batch)
        return batch

    def posted(self) -> int:
        """Return how many creates were received; each of them costs money."""
        return self.requests["POST /api/v1/batches/"]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        self.requests[f"{method} {path}"] += 1
        if path == "/api/files/":
            return self._files(method, body)
        if path.startswith("/api/files/"):
            return 200, next(file for file in self.files if file["id"] == path.split("/")[3])
        if path == "/api/v1/batches/" and method == "POST":
            fields = json.loads(body)
            if self.drops_metadata:
                fields.pop("metadata", None)
            return 200, self.add(**{"metadata": None, **fields})
        if path == "/api/v1/batches/":
            return 200, self._page(query.get("after", [None])[0])
        return self._one(path.split("/")[4], is_cancel=path.endswith("/cancel/"))

    def _files(self, method: str, body: bytes) -> tuple[int, Any]:
        if method == "GET":
            return 200, {"object": "list", "data": self.files}
        name = re.search(rb'filename="([^"]+)"', body)
        assert name
        file = {"id": f"file-{len(self.files) + 1}", "object": "file", "filename": name[1].decode(), "bytes": None}
        self.files.append(file)
        return 200, file

    def _page(self, after: str | None) -> Item:
        listed = [batch for batch in self.order(list(self.batches)) if batch["id"] not in self.hidden]
        ids = [batch["id"] for batch in listed]
        start = ids.index(after) + 1 if after in ids and not self.ignores_after else 0
        shown = listed[start : start + self.page_size]
        return {"data": [self.show(dict(b)) for b in shown], **self.has_more(start + self.page_size < len(listed))}

    def _one(self, batch_id: str, *, is_cancel: bool) -> tuple[int, Any]:
        if batch_id in self.odd:
            return self.odd[batch_id]
        batch = next(batch for batch in self.batches if batch["id"] == batch_id)
        if is_cancel and self.cancel_status == 200:
            batch["status"] = "cancelling"
        return (self.cancel_status if is_cancel else 200), batch


@contextmanager
def running(service: OddService) -> Iterator[None]:
    """Run the service on the loopback address."""

    class Handler(QuietHandler):
        def answer(self) -> None:
            url = urlsplit(self.path)
            status, answer = service.answer(self.command, url.path, parse_qs(url.query), self.read_body())
            self.respond(status, json.dumps(answer).encode())

    with served(Handler) as service.url:
        yield
