"""The input of a batch: requests, which are checked and copied into a file before anything is sent or paid.

Check and copy are one pass, so what is uploaded is what was checked. Only the current line and all ids are in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from airflow_respan.exceptions import RespanInputError
from airflow_respan.jsonl import MAX_LINE_BYTES, decode_object, read_lines
from airflow_respan.storage import open_for_reading

MAX_REQUESTS = 50_000
"""OpenAI's limit (``docs/respan-api.md``)."""

MAX_BYTES = MAX_LINE_BYTES
"""OpenAI's limit of 200 MB, in the unit that OpenAI uses elsewhere: 25 MB of audio are 26214400 bytes."""

MAX_PROBLEMS = 10
"""The error names so many problems; the others are only counted."""

MAX_QUOTE_LENGTH = 100
"""Characters of an id or a URL in the error."""


class EmptyInputError(RespanInputError):
    """The input has no request."""


@dataclass(frozen=True, kw_only=True)
class CheckedInput:
    """An input without problems.

    :param count: the number of requests
    :param size: bytes of the copy
    :param digest: SHA-256 of the requests as canonical JSON, one per line; it changes with the order of the requests,
        but not with spaces and the order of keys
    """

    count: int
    size: int
    digest: str


def read_requests(uri: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a JSONL file in any store with their numbers, for :func:`check_and_copy`.

    :param uri: the URI or local path of the file
    :raises RespanStorageError: if it cannot be opened or read
    :raises ValueError: if a line is too long
    """
    with open_for_reading(uri) as file:
        yield from read_lines(file.read)


def check_and_copy(requests: Iterable[tuple[int, bytes | Any]], target: IO[bytes], *, endpoint: str) -> CheckedInput:
    """Check the requests of one batch, and write them to a file, one per line.

    A line is copied byte for byte; a request that is an object is written as compact JSON.

    :param requests: the line number for error messages, and the line as bytes or the request as an object
    :param target: the file to copy to, open for writing
    :param endpoint: the endpoint of the batch, which the ``url`` of each request must be
    :return: count, size and digest
    :raises RespanInputError: if anything is wrong; it names the first ten problems by line, and never quotes a body
    """
    digest = InputDigest()
    for line, content in check_requests(requests, endpoint=endpoint):
        target.write(line + b"\n")
        digest.add(line, content)
    return digest.result()


def check_requests(
    requests: Iterable[tuple[int, bytes | Any]],
    *,
    endpoint: str,
    max_requests: int | None = MAX_REQUESTS,
    max_bytes: int | None = MAX_BYTES,
) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """Yield each request as a line and as an object, until one is wrong; then only search for further problems.

    :param requests: the line number for error messages, and the line as bytes or the request as an object
    :param endpoint: the endpoint of the batch, which the ``url`` of each request must be
    :param max_requests: how many requests there may be; None if they are for several batches
    :param max_bytes: how many bytes they may have as lines; None if they are for several batches
    :raises RespanInputError: after the last request, if anything is wrong
    :raises EmptyInputError: if there is no request
    """
    check = _Check(endpoint, max_requests=max_requests, max_bytes=max_bytes)
    try:
        for number, request in requests:
            if check.is_full(number):
                break
            try:
                line = request if isinstance(request, bytes) else _encode(request)
                if check.is_too_large(number, line):
                    break
                content = decode_object(line)
            except ValueError as reason:
                check.add_problem(number, str(reason))
                continue
            check.check_request(number, content)
            if not check.problems:
                yield line, content
    except ValueError as reason:  # a line is too long, so the next line cannot be read
        check.add_last_problem(str(reason))
    if not check.count and not check.problems:
        check.problems.append("there is no request in it")
        raise EmptyInputError(check.message())
    if check.problems:
        raise RespanInputError(check.message())


class InputDigest:
    """Count, size and digest of requests, while they are read."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._digest = hashlib.sha256()

    def add(self, line: bytes, content: Mapping[str, Any]) -> None:
        """Add a request.

        :param line: the request as it is written
        :param content: the request as an object
        """
        self.count += 1
        self.size += len(line) + 1
        self._digest.update(_canonical_line(content))

    def result(self) -> CheckedInput:
        """Return count, size and digest of the requests so far."""
        return CheckedInput(count=self.count, size=self.size, digest=self._digest.hexdigest())


class _Check:
    """Counts, ids and problems of the requests so far."""

    def __init__(self, endpoint: str, *, max_requests: int | None, max_bytes: int | None) -> None:
        self.endpoint = endpoint
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.problems: list[str] = []
        self.problem_count = 0
        self.count = 0
        self.size = 0
        self._line_of: dict[str, int] = {}

    def add_problem(self, number: int, reason: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"line {number}: {reason}")

    def add_last_problem(self, problem: str) -> None:
        """Add a problem that ends the check; the error names it even after ten other problems."""
        self.problem_count += 1
        self.problems.append(f"{problem}; the rest was not checked")

    def is_full(self, number: int) -> bool:
        """Count a request, and return whether it is one too many."""
        self.count += 1
        if self._max_requests is None or self.count <= self._max_requests:
            return False
        self.add_last_problem(
            f"line {number}: a batch has at most {self._max_requests:,} requests, and this is one more"
        )
        return True

    def is_too_large(self, number: int, line: bytes) -> bool:
        """Add the size of a line, and return whether the input is now too large."""
        self.size += len(line) + 1
        if self._max_bytes is None or self.size <= self._max_bytes:
            return False
        self.add_last_problem(
            f"line {number}: here the input exceeds {self._max_bytes // 2**20} MB ({self._max_bytes:,} bytes)"
        )
        return True

    def check_request(self, number: int, request: Mapping[str, Any]) -> None:
        """Add the problems for which the service would refuse a request."""
        custom_id = request.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id.strip():
            self.add_problem(number, "'custom_id' is missing, or not a text")
        elif (first := self._line_of.setdefault(custom_id, number)) != number:
            self.add_problem(number, f"custom_id {custom_id[:MAX_QUOTE_LENGTH]!r} is also that of line {first}")
        if request.get("method") != "POST":
            self.add_problem(number, "'method' is not 'POST'")
        if request.get("url") != self.endpoint:
            url = request.get("url")
            quoted = repr(url[:MAX_QUOTE_LENGTH]) if isinstance(url, str) else "not a text"
            self.add_problem(number, f"'url' is {quoted}, the batch's endpoint {self.endpoint!r}")
        if not isinstance(request.get("body"), Mapping):
            self.add_problem(number, "'body' is missing, or not a JSON object")

    def message(self) -> str:
        more = self.problem_count - len(self.problems)
        problems = "; ".join(self.problems) + (f"; and {more} more problems" if more > 0 else "")
        return (
            f"The input is not what a batch for {self.endpoint} can be made of, so nothing was uploaded or "
            f"created: {problems}."
        )


def _encode(request: Any) -> bytes:
    try:
        return json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeError:
        raise ValueError("half a character (a lone surrogate), which UTF-8 cannot encode") from None
    except (TypeError, ValueError, RecursionError) as error:  # its message may quote the request, so only its type
        raise ValueError(f"a value that JSON cannot encode ({type(error).__name__})") from None


def _canonical_line(request: Any) -> bytes:
    # As ASCII, because a line may have the escape of a lone surrogate, which UTF-8 cannot encode.
    return json.dumps(request, sort_keys=True, separators=(",", ":")).encode() + b"\n"
