"""The input of a batch: requests, which are checked and copied into a file before anything is sent or paid.

Check and copy are one pass, so what is uploaded is what was checked. Only the current line and all ids are in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from airflow_respan.exceptions import RespanInputError, RespanStorageError
from airflow_respan.jsonl import MAX_LINE_BYTES, decode_object, read_lines
from airflow_respan.storage import open_for_reading
from airflow_respan.submission.input_problems import InputProblems
from airflow_respan.submission.request_check import MAX_QUOTE_LENGTH, encode_request, find_problems
from airflow_respan.worker_disk import disk_errors

MAX_REQUESTS = 50_000
"""OpenAI's limit (``docs/respan-api.md``)."""

MAX_BYTES = MAX_LINE_BYTES
"""OpenAI's limit of 200 MB, in the unit that OpenAI uses elsewhere: 25 MB of audio are 26214400 bytes."""

MAX_MODELS = 100
"""So many models are counted; no input that is meant to be sent has more."""


class EmptyInputError(RespanInputError):
    """The input has no request."""


@dataclass(frozen=True, kw_only=True)
class CheckedInput:
    """An input without problems.

    :param count: the number of requests
    :param size: bytes of the copy
    :param digest: SHA-256 of the requests as canonical JSON, one per line; it changes with the order of the requests,
        but not with spaces and the order of keys
    :param models: how many requests name each model; at most :data:`MAX_MODELS` models
    """

    count: int
    size: int
    digest: str
    models: Mapping[str, int]


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

    A line is copied byte for byte; a request that is a dict is written as compact JSON.

    :param requests: each with its number for error messages, which counts from 1: a line of a file as bytes, or an item
        of a list
    :param target: the file to copy to, open for writing
    :param endpoint: the endpoint of the batch, which the ``url`` of each request must be
    :return: count, size, digest and models
    :raises RespanInputError: if anything is wrong; it names the problems and their requests, shows how a request must
        look, and never quotes a body
    :raises RespanStorageError: if the file cannot be written
    """
    digest = InputDigest()
    for line, content in check_requests(requests, endpoint=endpoint):
        with disk_errors(RespanStorageError, "the input", until="it is uploaded"):
            target.write(line + b"\n")
        digest.add(line, content)
    with disk_errors(RespanStorageError, "the input", until="it is uploaded"):
        target.flush()
    return digest.result()


def check_requests(
    requests: Iterable[tuple[int, bytes | Any]],
    *,
    endpoint: str,
    max_requests: int | None = MAX_REQUESTS,
    max_bytes: int | None = MAX_BYTES,
) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """Yield each request as a line and as an object, until one is wrong; then only search for further problems.

    :param requests: as for :func:`check_and_copy`
    :param endpoint: the endpoint of the batch, which the ``url`` of each request must be
    :param max_requests: how many requests there may be; None if they are for several batches
    :param max_bytes: how many bytes they may have as lines; None if they are for several batches
    :raises RespanInputError: after the last request, if anything is wrong
    :raises EmptyInputError: if there is no request
    """
    check = _Check(endpoint, max_requests=max_requests, max_bytes=max_bytes)
    try:
        for number, request in requests:
            check.problems.unit = "line" if isinstance(request, bytes) else "request"
            if check.is_full(number):
                break
            try:
                line = request if isinstance(request, bytes) else encode_request(request)
                if check.is_too_large(number, line):
                    break
                content = decode_object(line)
            except ValueError as reason:
                check.problems.add(number, str(reason))
                continue
            check.check_request(number, content)
            if not check.problems:
                yield line, content
    except ValueError as reason:  # a line is too long, so the next line cannot be read
        check.problems.add_last(str(reason))
    if check.problems:
        raise RespanInputError(check.problems.message())
    if not check.count:
        raise EmptyInputError(check.problems.message())


class InputDigest:
    """Count, size, digest and models of requests, while they are read."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._digest = hashlib.sha256()
        self._models: dict[str, int] = {}

    def add(self, line: bytes, content: Mapping[str, Any]) -> None:
        """Add a request.

        :param line: the request as it is written
        :param content: the request as an object
        """
        self.count += 1
        self.size += len(line) + 1
        self._digest.update(_canonical_line(content))
        model = content["body"].get("model")
        if isinstance(model, str) and (model in self._models or len(self._models) < MAX_MODELS):
            self._models[model] = self._models.get(model, 0) + 1

    def result(self) -> CheckedInput:
        """Return count, size, digest and models of the requests so far."""
        return CheckedInput(count=self.count, size=self.size, digest=self._digest.hexdigest(), models=self._models)


class _Check:
    """Counts, ids and problems of the requests so far."""

    def __init__(self, endpoint: str, *, max_requests: int | None, max_bytes: int | None) -> None:
        self.problems = InputProblems(endpoint)
        self.count = 0
        self.size = 0
        self._endpoint = endpoint
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._number_of: dict[str, int] = {}

    def is_full(self, number: int) -> bool:
        """Count a request, and return whether it is one too many."""
        self.count += 1
        if self._max_requests is None or self.count <= self._max_requests:
            return False
        self.problems.add_last(
            f"{self.problems.unit} {number}: a batch has at most {self._max_requests:,} requests, and this is one more"
        )
        return True

    def is_too_large(self, number: int, line: bytes) -> bool:
        """Add the size of a line, and return whether the input is now too large."""
        self.size += len(line) + 1
        if self._max_bytes is None or self.size <= self._max_bytes:
            return False
        limit = f"{self._max_bytes // 2**20} MB ({self._max_bytes:,} bytes)"
        self.problems.add_last(f"{self.problems.unit} {number}: here the input exceeds {limit}")
        return True

    def check_request(self, number: int, request: Mapping[str, Any]) -> None:
        """Add the problems for which the service would refuse a request."""
        for problem in find_problems(request, endpoint=self._endpoint):
            self.problems.add(number, problem)
        custom_id = request.get("custom_id")
        if isinstance(custom_id, str) and (first := self._number_of.setdefault(custom_id, number)) != number:
            self.problems.add(
                number, f"custom_id {custom_id[:MAX_QUOTE_LENGTH]!r} is also that of {self.problems.unit} {first}"
            )


def _canonical_line(request: Any) -> bytes:
    # As ASCII, because a line may have the escape of a lone surrogate, which UTF-8 cannot encode.
    return json.dumps(request, sort_keys=True, separators=(",", ":")).encode() + b"\n"
