"""The input of a batch: requests, checked before anything is paid, and copied into one file on the way.

What was checked is what is uploaded, in one pass, and nothing is in memory but the line at hand and the ids seen.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from airflow_respan.exceptions import RespanInputError

MAX_REQUESTS = 50_000
MAX_BYTES = 200 * 2**20
"""200 MB as OpenAI counts them: its limit of 25 MB for audio says 26214400 when it is exceeded."""

MAX_PROBLEMS = 10
LONGEST_QUOTE = 100


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


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """Give the lines of a JSONL file, never reading far more than an input may have."""
    # Files in S3, GCS and Azure have a readline of their own, which takes no size.
    lines = io.BufferedReader(file)  # type: ignore[type-var]
    try:
        while line := lines.readline(MAX_BYTES + 2):
            yield line
    finally:
        if not file.closed:
            lines.detach()  # whoever has opened the file closes it


def check_and_copy(requests: Iterable[bytes | Any], target: IO[bytes], *, endpoint: str) -> CheckedInput:
    """Check requests, and write them to a file, one a line.

    Blank lines are left out: a provider would call them invalid JSON, and they ask for nothing. They do count in the
    line numbers of messages. Lines keep their bytes; requests that are no lines yet become compact JSON.

    :param requests: lines of a JSONL file, or what ``json.dumps`` makes lines of
    :param target: where to copy them to, opened for writing
    :param endpoint: what the ``url`` of each must be
    :raises RespanInputError: names the first ten problems with their lines, and never quotes a body
    """
    check = _Check(endpoint)
    for number, request in enumerate(requests, start=1):
        if isinstance(request, bytes) and not request.strip():
            continue
        if check.is_full(number):
            break
        try:
            line = request if isinstance(request, bytes) else _dumped(request)
            if check.is_too_large(number, line):
                break
            content = json.loads(line.decode(), parse_constant=_refuse)
        except (TypeError, ValueError, RecursionError) as error:
            check.complain(number, _reason(error))
            continue
        check.check_request(number, content)
        if not check.problems:
            target.write(line)
            check.digest.update(_canonical(content))
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

    def complain(self, number: int, reason: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"line {number}: {reason}")

    def stop(self, number: int, reason: str) -> None:
        """Complain of what makes the rest not worth reading; this problem is always told."""
        self.problem_count += 1
        self.problems.append(f"line {number}: {reason}; the rest was not looked at")

    def is_full(self, number: int) -> bool:
        self.count += 1
        if self.count > MAX_REQUESTS:
            self.stop(number, f"a batch has at most {MAX_REQUESTS:,} requests, and this is one more")
        return self.count > MAX_REQUESTS

    def is_too_large(self, number: int, line: bytes) -> bool:
        self.size += len(line)
        if self.size > MAX_BYTES:
            self.stop(number, f"here the input exceeds {MAX_BYTES // 2**20} MB ({MAX_BYTES:,} bytes)")
        return self.size > MAX_BYTES

    def check_request(self, number: int, request: Any) -> None:
        """Find what the service would refuse in a request."""
        if not isinstance(request, Mapping):
            self.complain(number, "no JSON object")
            return
        custom_id = request.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id.strip():
            self.complain(number, "'custom_id' is missing, or no text")
        elif (first := self._line_of.setdefault(custom_id, number)) != number:
            self.complain(number, f"custom_id {custom_id[:LONGEST_QUOTE]!r} is also that of line {first}")
        if request.get("method") != "POST":
            self.complain(number, "'method' is not 'POST'")
        if request.get("url") != self.endpoint:
            url = request.get("url")
            shown = repr(url[:LONGEST_QUOTE]) if isinstance(url, str) else "no text"
            self.complain(number, f"'url' is {shown}, the batch's endpoint {self.endpoint!r}")
        if not isinstance(request.get("body"), Mapping):
            self.complain(number, "'body' is missing, or no JSON object")

    def message(self) -> str:
        more = self.problem_count - len(self.problems)
        found = "; ".join(self.problems) + (f"; and {more} more problems" if more > 0 else "")
        return (
            f"The input is not what a batch for {self.endpoint} can be made of, so nothing was uploaded or "
            f"created: {found}."
        )


def _dumped(request: Any) -> bytes:
    return json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _canonical(request: Any) -> bytes:
    # ASCII, as a line may well escape half a character.
    return json.dumps(request, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _reason(error: Exception) -> str:
    """Say why a line is none, without the words of errors that quote it."""
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg}, column {error.colno})"
    if isinstance(error, UnicodeError):
        return "not UTF-8, or half a character"
    return f"not what JSON can say ({type(error).__name__})"


def _refuse(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is no JSON", "", 0)
