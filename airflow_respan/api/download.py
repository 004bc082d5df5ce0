"""How much of a file's content has come, and how to go on after a cut. No I/O."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from airflow_respan.api import failures
from airflow_respan.api.request import Request
from airflow_respan.api.response import Response, make_error

MAX_FRUITLESS_ATTEMPTS = 5
"""Tries in a row that bring nothing worth mentioning, after which a download is given up."""

MIN_PROGRESS_BYTES = 2**20
"""Bytes further than ever before that make a try worth it."""

_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<total>\d{1,18})")


class ResumableDownload:
    """One content on its way, over as many requests as it takes.

    A content goes on where it was cut if the service can be held to its word that it is still the same: the total
    length is known and is said again, and the ``ETag`` as well if there is one. Else it begins anew.

    :param request: asks for the whole content
    """

    def __init__(self, request: Request[Any]) -> None:
        self.request = request
        self.received = 0
        self.total: int | None = None
        self._tag: str | None = None
        self._most_received = 0
        self._fruitless_attempts = 0

    def next_request(self) -> Request[Any]:
        """Ask for all that is missing."""
        if not self.received:
            return self.request
        headers = {**self.request.headers, "Range": f"bytes={self.received}-"}
        if self._tag and not self._tag.startswith("W/"):
            headers["If-Range"] = self._tag
        return replace(self.request, headers=headers)

    def begin(self, head: Response) -> None:
        """Take the head of an answer; ``received`` is then where its body belongs.

        :raises RespanError: if there is no use for this answer
        """
        if head.headers.get("content-encoding", "identity") != "identity":
            raise failures.unusable(self.request, "sent the content in an encoding that was not asked for")
        if head.status == 200:
            self.received = 0
            self.total = _number(head.headers.get("content-length"))
            self._tag = head.headers.get("etag")
        elif not self.received:
            raise make_error(self.request, head)
        elif not self._continues_here(head):
            self._restart()
            raise failures.unusable(self.request, "went on with something else than the rest of the content")

    def check_complete(self) -> None:
        """Insist that nothing is missing, now that the service has no more to say.

        :raises RespanTransientError: if it has hung up too early, or sent too much
        """
        if self.total is None or self.received == self.total:
            return
        received, total = self.received, self.total
        if received > total:
            self._restart()
        raise failures.unusable(self.request, f"sent {received} bytes of a content of {total}")

    def record_failure(self) -> None:
        """Count a try that did not reach the end."""
        if self.received - self._most_received >= MIN_PROGRESS_BYTES:
            self._fruitless_attempts, self._most_received = 0, self.received
        else:
            self._fruitless_attempts += 1
        if self.total is None:
            self._restart()

    @property
    def should_give_up(self) -> bool:
        """Whether it has been tried often enough."""
        return self._fruitless_attempts >= MAX_FRUITLESS_ATTEMPTS

    def _continues_here(self, head: Response) -> bool:
        part = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        said = part and (int(part["first"]), int(part["total"]))
        return (
            head.status == 206
            and said == (self.received, self.total)
            and head.headers.get("etag", self._tag) == self._tag
        )

    def _restart(self) -> None:
        """Begin anew with the next request."""
        self.received, self.total, self._tag = 0, None, None


def says_its_length(head: Response) -> bool:
    """Whether a body says itself where it ends; else a cut looks like its end."""
    return "content-length" in head.headers or "chunked" in head.headers.get("transfer-encoding", "").lower()


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else None
