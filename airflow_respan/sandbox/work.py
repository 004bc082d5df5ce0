"""What is done with an input file: checked, and run line by line into an output and an error file.

In a thread beside the server, which goes on answering; in constant memory, whatever the file's size.
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

MOST_REQUESTS = 50_000
LARGEST_INPUT = 200 * 2**20
MOST_ERRORS = 20
"""How many lines a batch's ``errors`` name."""

PARTIAL_SHARE = 0.5
"""The share of requests that a batch has done when it is expired or cancelled."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come.

    :param completed: rows of the output file
    :param failed: rows of the error file
    :param output_size: bytes of the output file
    :param error_size: bytes of the error file
    """

    completed: int = 0
    failed: int = 0
    output_size: int = 0
    error_size: int = 0


@dataclass(kw_only=True)
class Outcome:
    """What came of an input file.

    :param errors: what is wrong with it, as items of a batch's ``errors.data``; then nothing was run
    :param total: how many requests it has
    :param partial: how far the run was at the :data:`PARTIAL_SHARE`
    :param whole: how far it was at the end
    :param at: when that was (seconds of ``time.monotonic``)
    """

    errors: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    partial: Progress = field(default_factory=Progress)
    whole: Progress = field(default_factory=Progress)
    at: float = 0.0


class Workshop:
    """Does one input file after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="respan-sandbox-work")
        self._closing = threading.Event()

    def submit(self, source: Path, output: Path, error: Path, *, endpoint: str) -> Future[Outcome]:
        """Check and run an input file as soon as those before it are done.

        :param source: the input file
        :param output: where to write what succeeded
        :param error: where to write what failed
        """
        return self._pool.submit(self._do, source, output, error, endpoint)

    def close(self) -> None:
        """Leave off, in the middle of a file if need be."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def _do(self, source: Path, output: Path, error: Path, endpoint: str) -> Outcome:
        outcome = Outcome()
        try:
            with source.open("rb") as lines, output.open("wb") as good, error.open("wb") as bad:
                self._check(lines, endpoint, outcome)
                if not outcome.errors:
                    lines.seek(0)
                    self._run(lines, good, bad, outcome)
        except OSError as reason:
            outcome.errors.append(_error("file_unreadable", f"The input file cannot be read: {reason.strerror}."))
        outcome.at = time.monotonic()
        return outcome

    def _check(self, lines: BinaryIO, endpoint: str, outcome: Outcome) -> None:
        seen: set[str] = set()
        if lines.seek(0, 2) > LARGEST_INPUT:
            outcome.errors.append(_error("file_too_large", f"The input file has more than {LARGEST_INPUT} bytes."))
            return
        lines.seek(0)
        for number, line in self._numbered(lines):
            if number > MOST_REQUESTS:
                outcome.errors.append(_error("too_many_tasks", f"The batch has more than {MOST_REQUESTS} requests."))
                return
            outcome.total = number
            if problem := model.problem(line, endpoint, seen):
                code, message, param = problem
                outcome.errors.append(_error(code, message, line=number, param=param))
                if len(outcome.errors) == MOST_ERRORS:
                    return
        if not outcome.total:
            outcome.errors.append(_error("empty_file", "The input file is empty."))

    def _run(self, lines: BinaryIO, good: BinaryIO, bad: BinaryIO, outcome: Outcome) -> None:
        completed = failed = 0
        for number, line in self._numbered(lines):
            succeeded, row = model.run(line, number - 1)
            (good if succeeded else bad).write(json.dumps(row).encode() + b"\n")
            completed, failed = completed + succeeded, failed + (not succeeded)
            if number == int(outcome.total * PARTIAL_SHARE):
                outcome.partial = _progress(completed, failed, good, bad)
        outcome.whole = _progress(completed, failed, good, bad)

    def _numbered(self, lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(lines, start=1):
            if self._closing.is_set():
                return
            yield number, line


def _progress(completed: int, failed: int, good: BinaryIO, bad: BinaryIO) -> Progress:
    return Progress(completed=completed, failed=failed, output_size=good.tell(), error_size=bad.tell())


def _error(code: str, message: str, *, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": param}
