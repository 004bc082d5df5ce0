"""The input of a batch: requests, checked before anything is paid, and copied into one file on the way.

What was checked is what is uploaded, in one pass, and nothing is in memory but the line at hand and the ids seen.
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
MAX_BYTES = MAX_LINE_BYTES
"""200 MB as OpenAI counts them: its limit of 25 MB for audio says 26214400 when it is exceeded."""

MAX_PROBLEMS = 10
MAX_QUOTE_LENGTH = 100


@dataclass(frozen=True, kw_only=True)
class CheckedInput:
    """An input that the service should take.

    :param count: how many requests it has
    :param size: bytes
    :param digest: SHA-256 of the requests as canonical JSON, one a line: spaces and the order of keys make no
        difference, the order of the requests does
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
    """Check requests, and write them to a file, one a line.

    Lines keep their bytes; requests that are not lines yet become compact JSON.

    :param requests: numbers for messages, with lines from :func:`airflow_respan.jsonl.read_lines` or with what
        ``json.dumps`` makes lines of
    :param target: where to copy them to, opened for writing
    :param endpoint: what the ``url`` of each must be
    :raises RespanInputError: names the first ten problems with their lines, and never quotes a body
    """
    check = _Check(endpoint)
    try:
        for number, request in requests:
            if check.is_full(number):
                break
            try:
                line = request if isinstance(request, bytes) else _dumped(request)
                if check.is_too_large(number, line):
                    break
                content = decode_object(line)
            except ValueError as reason:
                check.add_problem(number, str(reason))
                continue
            check.check_request(number, content)
            if not check.problems:
                target.write(line + b"\n")
                check.digest.update(_canonical(content))
    except ValueError as too_long:
        check.add_last_problem(str(too_long))
    if not check.count and not check.problems:
        check.problems.append("there is no request in it")
    if check.problems:
        raise RespanInputError(check.message())
    return CheckedInput(count=check.count, size=check.size, digest=check.digest.hexdigest())


class _Check:
    """What is known of the input so far."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.problems: list[str] = []
        self.problem_count = 0
        self.count = 0
        self.size = 0
        self.digest = hashlib.sha256()
        self._line_of: dict[str, int] = {}

    def add_problem(self, number: int, reason: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"line {number}: {reason}")

    def add_last_problem(self, problem: str) -> None:
        """Add a problem after which the rest is not read; the message always names it."""
        self.problem_count += 1
        self.problems.append(f"{problem}; the rest was not checked")

    def is_full(self, number: int) -> bool:
        self.count += 1
        if self.count > MAX_REQUESTS:
            self.add_last_problem(f"line {number}: a batch has at most {MAX_REQUESTS:,} requests, and this is one more")
        return self.count > MAX_REQUESTS

    def is_too_large(self, number: int, line: bytes) -> bool:
        self.size += len(line) + 1
        if self.size > MAX_BYTES:
            self.add_last_problem(
                f"line {number}: here the input exceeds {MAX_BYTES // 2**20} MB ({MAX_BYTES:,} bytes)"
            )
        return self.size > MAX_BYTES

    def check_request(self, number: int, request: Mapping[str, Any]) -> None:
        """Add what the service would refuse in a request."""
        custom_id = request.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id.strip():
            self.add_problem(number, "'custom_id' is missing, or not a text")
        elif (first := self._line_of.setdefault(custom_id, number)) != number:
            self.add_problem(number, f"custom_id {custom_id[:MAX_QUOTE_LENGTH]!r} is also that of line {first}")
        if request.get("method") != "POST":
            self.add_problem(number, "'method' is not 'POST'")
        if request.get("url") != self.endpoint:
            url = request.get("url")
            shown = repr(url[:MAX_QUOTE_LENGTH]) if isinstance(url, str) else "not a text"
            self.add_problem(number, f"'url' is {shown}, the batch's endpoint {self.endpoint!r}")
        if not isinstance(request.get("body"), Mapping):
            self.add_problem(number, "'body' is missing, or not a JSON object")

    def message(self) -> str:
        more = self.problem_count - len(self.problems)
        found = "; ".join(self.problems) + (f"; and {more} more problems" if more > 0 else "")
        return (
            f"The input is not what a batch for {self.endpoint} can be made of, so nothing was uploaded or "
            f"created: {found}."
        )


def _dumped(request: Any) -> bytes:
    try:
        return json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeError:
        raise ValueError("half a character, which UTF-8 cannot say") from None
    except (TypeError, ValueError, RecursionError) as error:  # their words may quote the request
        raise ValueError(f"not what JSON can say ({type(error).__name__})") from None


def _canonical(request: Any) -> bytes:
    # ASCII, as a line may well escape half a character.
    return json.dumps(request, sort_keys=True, separators=(",", ":")).encode() + b"\n"
