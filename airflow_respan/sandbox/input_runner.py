"""Checks an input file and runs its requests, which gives an output file and an error file.

It does this in a thread of its own, so that the server responds to other requests meanwhile, and in constant memory.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from airflow_respan.sandbox import model
from airflow_respan.sandbox.input_check import InputCheck

MAX_REQUESTS = 50_000
MAX_INPUT_BYTES = 200 * 2**20
MAX_ERRORS = 20
"""How many lines the ``errors`` of a batch name."""

PARTIAL_RATIO = 0.5
"""The ratio of requests that are done when a batch expires or is cancelled."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many requests are done at one moment.

    :param completed: rows of the output file
    :param failed: rows of the error file
    :param output_bytes: size of the output file
    :param error_bytes: size of the error file
    """

    completed: int = 0
    failed: int = 0
    output_bytes: int = 0
    error_bytes: int = 0


@dataclass(kw_only=True)
class InputResult:
    """The result of an input file.

    :param errors: what is wrong with the file, as items of a batch's ``errors.data``; if there are any, no request ran
    :param total: the number of requests in the file
    :param partial: the progress when :data:`PARTIAL_RATIO` of the requests were done
    :param final: the progress when all requests were done
    :param finished_at: when all requests were done (seconds of ``time.monotonic``)
    """

    errors: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    partial: Progress = field(default_factory=Progress)
    final: Progress = field(default_factory=Progress)
    finished_at: float = 0.0


class InputRunner:
    """Checks and runs input files, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="respan-sandbox-work")
        self._closing = threading.Event()

    def submit(self, source: Path, output: Path, error: Path, *, endpoint: str) -> Future[InputResult]:
        """Check and run an input file when the files before it are done.

        :param source: the input file
        :param output: the file for the rows of requests that succeed
        :param error: the file for the rows of requests that fail
        :param endpoint: the endpoint of the batch
        """
        return self._pool.submit(self._check_and_run, source, output, error, endpoint)

    def close(self) -> None:
        """Stop, even in the middle of a file."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def _check_and_run(self, source: Path, output: Path, error: Path, endpoint: str) -> InputResult:
        result = InputResult()
        try:
            with source.open("rb") as lines, output.open("wb") as output_rows, error.open("wb") as error_rows:
                self._check(lines, endpoint, result)
                if not result.errors:
                    lines.seek(0)
                    self._run(lines, output_rows, error_rows, result)
        except OSError as reason:
            result.errors.append(_error("file_unreadable", f"The input file cannot be read: {reason.strerror}."))
        result.finished_at = time.monotonic()
        return result

    def _check(self, lines: BinaryIO, endpoint: str, result: InputResult) -> None:
        check = InputCheck(endpoint=endpoint)
        if lines.seek(0, 2) > MAX_INPUT_BYTES:
            result.errors.append(_error("file_too_large", f"The input file has more than {MAX_INPUT_BYTES} bytes."))
            return
        lines.seek(0)
        for number, line in self._numbered(lines):
            if number > MAX_REQUESTS:
                result.errors.append(_error("too_many_tasks", f"The batch has more than {MAX_REQUESTS} requests."))
                return
            result.total = number
            if problem := check.check(line):
                code, message, param = problem
                result.errors.append(_error(code, message, line=number, param=param))
                if len(result.errors) == MAX_ERRORS:
                    return
        if not result.total:
            result.errors.append(_error("empty_file", "The input file is empty."))

    def _run(self, lines: BinaryIO, output_rows: BinaryIO, error_rows: BinaryIO, result: InputResult) -> None:
        completed = failed = 0

        def progress() -> Progress:
            return Progress(
                completed=completed, failed=failed, output_bytes=output_rows.tell(), error_bytes=error_rows.tell()
            )

        for number, line in self._numbered(lines):
            succeeded, row = model.run_line(line, number - 1)
            (output_rows if succeeded else error_rows).write(json.dumps(row).encode() + b"\n")
            completed, failed = completed + succeeded, failed + (not succeeded)
            if number == int(result.total * PARTIAL_RATIO):
                result.partial = progress()
        result.final = progress()

    def _numbered(self, lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(lines, start=1):
            if self._closing.is_set():
                return
            yield number, line


def _error(code: str, message: str, *, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": param}
