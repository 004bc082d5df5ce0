"""The state of a download over several requests: how much has arrived, and how to resume after a cut. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from airflow_respan.api import failures
from airflow_respan.api.content_encoding import GzipDecoder, encodings
from airflow_respan.api.request import Request
from airflow_respan.api.response import Response, make_error

WHOLE_CONTENT_STATUSES = frozenset({200, 203, 204})
"""The HTTP statuses of a whole content. 203 comes from a proxy that has changed something, 204 is an empty content."""

MAX_ATTEMPTS_WITHOUT_PROGRESS = 5
"""Attempts in a row without progress after which a download fails."""

MIN_PROGRESS_BYTES = 2**20
"""New bytes in one attempt that count as progress."""

MAX_LAST_LINE_BYTES = 2**20
"""A last line without a line end that is longer counts as cut."""

GetSize = Callable[[], int | None]

_BLANKS = b"\xef\xbb\xbf \t\r\n"
_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<total>\d{1,18})", re.IGNORECASE)


class ResumableDownload:
    """The download of one file's content, over as many requests as it needs.

    The download resumes where it was cut only if the content is still the same: the new response must have the same
    total length and, if it has an ``ETag``, the same one. Otherwise the download starts again.

    :param request: the request for the whole content
    """

    def __init__(self, request: Request[Any]) -> None:
        self.request = request
        self.received = 0
        self.total: int | None = None
        self._etag: str | None = None
        self._max_received = 0
        self._attempts_without_progress = 0
        self._has_explicit_end = False
        self._is_declared_empty = False
        self._size: int | None = None
        self._first_byte = b""
        self._last_line = bytearray()
        self._decoder: GzipDecoder | None = None

    def next_request(self) -> Request[Any]:
        """Return the request for everything that is still missing."""
        if not self.received:
            return self.request
        headers = {**self.request.headers, "Range": f"bytes={self.received}-"}
        if self._etag and self._etag.isascii() and not self._etag.startswith("W/"):
            headers["If-Range"] = self._etag
        return replace(self.request, headers=headers)

    def begin(self, head: Response, *, size: GetSize = lambda: None) -> None:
        """Record a response before its body is read; ``received`` is then the position of its body in the content.

        :param head: the response without its body
        :param size: returns the length of the content (bytes), or None if it is not known; called only if the response
            does not say where its body ends
        :raises RespanError: if the response cannot be used
        """
        names = encodings(head.headers.get("content-encoding", ""))
        if names not in ([], ["gzip"]):
            raise failures.transient_error(
                self.request, f"Respan sent the content in the encoding {', '.join(names)}, which was not requested"
            )
        if head.status in WHOLE_CONTENT_STATUSES:
            self._begin_whole(head, is_gzip=bool(names))
        elif not self.received:
            raise make_error(self.request, head)
        elif names or not self._continues_here(head):
            self._restart()
            raise failures.transient_error(self.request, "Respan did not send the missing part of the content")
        if self.total is None and not self._has_explicit_end and not self._decoder:
            self._size = size()
            # Some services give 0 or -1 for a size that they do not know.
            self.total = self._size if self._size and self._size > 0 else None

    def _begin_whole(self, head: Response, *, is_gzip: bool) -> None:
        self.received = 0
        self.total = _number(head.headers.get("content-length"))
        self._has_explicit_end = self.total is not None or _is_chunked(head)
        self._is_declared_empty = head.status == HTTPStatus.NO_CONTENT
        self._etag = head.headers.get("etag")
        self._first_byte = b""
        self._last_line.clear()
        self._decoder = GzipDecoder() if is_gzip else None
        if is_gzip:
            self.total = None  # the length is that of the body

    def receive(self, chunk: bytes) -> Iterator[bytes]:
        """Record a chunk of the body, and yield the content in it.

        :raises RespanTransientError: if the body is encoded, and cannot be decoded
        """
        try:
            for content in self._decoder.decode(chunk) if self._decoder else [chunk]:
                self._add(content)
                yield content
        except ValueError as error:
            raise failures.transient_error(self.request, f"Respan sent gzip content {error}") from None

    def _add(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self._first_byte = self._first_byte or chunk.lstrip(_BLANKS)[:1]
        _lines, newline, rest = chunk.rpartition(b"\n")
        if newline:
            self._last_line.clear()
        self._last_line += rest[: MAX_LAST_LINE_BYTES + 1 - len(self._last_line)]

    def check_complete(self) -> str | None:
        """Check that the content is complete, after the end of a body.

        If neither the response nor the description of the file says how long the content is, a cut looks like the end.
        Then it is checked that there is a content, and that JSONL does not end within a line.

        :return: a warning, if a cut between two lines would not have been found; else None
        :raises RespanTransientError: if too few or too many bytes have arrived
        """
        if self._decoder:
            is_empty = self._has_explicit_end and not self._decoder.has_begun
            if not (is_empty or self._decoder.is_whole):
                raise failures.transient_error(self.request, "Respan sent gzip content that ends too early")
            return None
        if self.total is None:
            return None if self._has_explicit_end else self._check_last_line()
        if self.received == self.total:
            return None
        received, total = self.received, self.total
        if received > total:
            self._restart()
        raise failures.transient_error(self.request, f"Respan sent {received} bytes of content instead of {total}")

    def _check_last_line(self) -> str | None:
        if not self.received:
            if self._size == 0 or self._is_declared_empty:
                return None
            raise failures.transient_error(self.request, "Respan sent no content, and did not say that there is none")
        if self._first_byte == b"{" and self._last_line.strip(_BLANKS) and not _is_object(self._last_line):
            raise failures.transient_error(self.request, "Respan sent content that ends within a line")
        return (
            f"Respan did not say how long the content is {failures.call_text(self.request)}. So the {self.received} "
            "bytes that arrived may not be all of it."
        )

    def record_failure(self) -> None:
        """Count an attempt that did not reach the end."""
        if self.received - self._max_received >= MIN_PROGRESS_BYTES:
            self._attempts_without_progress, self._max_received = 0, self.received
        else:
            self._attempts_without_progress += 1
        if self.total is None:
            self._restart()

    @property
    def should_give_up(self) -> bool:
        """Whether there were too many attempts without progress."""
        return self._attempts_without_progress >= MAX_ATTEMPTS_WITHOUT_PROGRESS

    def _continues_here(self, head: Response) -> bool:
        match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        first_and_total = match and (int(match["first"]), int(match["total"]))
        return (
            head.status == 206
            and first_and_total == (self.received, self.total)
            and head.headers.get("etag", self._etag) == self._etag
        )

    def _restart(self) -> None:
        """Make the next request start at the beginning."""
        self.received, self.total, self._etag = 0, None, None


def _is_chunked(head: Response) -> bool:
    """Return whether the body ends with its last chunk. http.client reads no other list of codings as chunks."""
    return head.headers.get("transfer-encoding", "").strip().lower() == "chunked"


def _is_object(line: bytes | bytearray) -> bool:
    """Return whether a line is a whole JSON object; no beginning of an object is one."""
    if len(line) > MAX_LAST_LINE_BYTES:
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else None
