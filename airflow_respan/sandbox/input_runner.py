"""Checks an input file and runs its requests, which gives an output file and an error file.

It does this in a thread of its own, so that the server responds to other requests meanwhile, and in constant memory.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from airflow_respan.sandbox import model
from airflow_respan.sandbox.input_check import InputCheck
from airflow_respan.sandbox.outcomes import Outcome, OutcomeRule
from airflow_respan.sandbox.runs import Runs

MAX_REQUESTS = 50_000
MAX_INPUT_BYTES = 200 * 2**20
MAX_ERRORS = 20
"""How many lines the ``errors`` of a batch name."""

PARTIAL_RATIO = 0.5
"""The ratio of requests that are done when a batch expires or is cancelled."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many requests are done at one moment.

    :param completed: requests that were answered, or that are counted so although they have no row
    :param failed: requests that failed
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


@dataclass(frozen=True, kw_only=True)
class InputJob:
    """An input file to check and run.

    :param batch_id: the id of its batch
    :param source: the input file
    :param output: the file for the rows of requests that succeed
    :param error: the file for the rows of requests that fail
    :param check: the check of its lines
    :param rule: how requests end that do not choose their outcome themselves
    """

    batch_id: str
    source: Path
    output: Path
    error: Path
    check: InputCheck
    rule: OutcomeRule


class InputRunner:
    """Checks and runs input files, one after the other.

    :param runs: the record of the requests that were run
    """

    def __init__(self, *, runs: Runs) -> None:
        self._runs = runs
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="respan-sandbox-work")
        self._closing = threading.Event()

    def submit(self, job: InputJob) -> Future[InputResult]:
        """Check and run an input file when the files before it are done."""
        return self._pool.submit(self._check_and_run, job)

    def close(self) -> None:
        """Stop, even in the middle of a file."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def _check_and_run(self, job: InputJob) -> InputResult:
        result = InputResult()
        try:
            with job.source.open("rb") as lines, job.output.open("wb") as output, job.error.open("wb") as error:
                self._check(lines, job.check, result)
                if not result.errors:
                    lines.seek(0)
                    self._run(job, lines, output, error, result)
        except OSError as reason:
            result.errors.append(make_error("file_unreadable", f"The input file cannot be read: {reason.strerror}."))
        result.finished_at = time.monotonic()
        return result

    def _check(self, lines: BinaryIO, check: InputCheck, result: InputResult) -> None:
        if lines.seek(0, 2) > MAX_INPUT_BYTES:
            result.errors.append(make_error("file_too_large", f"The input file has more than {MAX_INPUT_BYTES} bytes."))
            return
        lines.seek(0)
        for number, line in self._numbered(lines):
            if number > MAX_REQUESTS:
                result.errors.append(make_error("too_many_tasks", f"The batch has more than {MAX_REQUESTS} requests."))
                return
            result.total = number
            if problem := check.check(line):
                code, message, param = problem
                result.errors.append(make_error(code, message, line=number, param=param))
                if len(result.errors) == MAX_ERRORS:
                    return
        if not result.total:
            result.errors.append(make_error("empty_file", "The input file is empty."))

    def _run(self, job: InputJob, lines: BinaryIO, output: BinaryIO, error: BinaryIO, result: InputResult) -> None:
        completed = failed = 0
        custom_ids: list[str] = []

        def progress() -> Progress:
            return Progress(completed=completed, failed=failed, output_bytes=output.tell(), error_bytes=error.tell())

        for number, line in self._numbered(lines):
            request = json.loads(line)
            custom_ids.append(request["custom_id"])
            try:
                outcome = self._choose_outcome(request, job.rule)
            except Exception as reason:  # noqa: BLE001 (the function of a test may raise anything)
                message = f"The outcome of {request['custom_id']!r} could not be chosen: {reason!r}."
                result.errors.append(make_error("sandbox", message, line=number))
                return
            if outcome.has_row:
                row = model.make_row(request, number - 1, outcome)
                (output if outcome.succeeded else error).write(json.dumps(row).encode() + b"\n")
            completed, failed = completed + outcome.succeeded, failed + (not outcome.succeeded)
            if number == int(result.total * PARTIAL_RATIO):
                result.partial = progress()
        result.final = progress()
        self._runs.add(job.batch_id, custom_ids)

    def _choose_outcome(self, request: Mapping[str, Any], rule: OutcomeRule) -> Outcome:
        custom_id = request["custom_id"]
        chosen = model.own_outcomes(request["body"]) or rule
        return chosen(custom_id, self._runs.attempt(custom_id)) or Outcome.ok()

    def _numbered(self, lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(lines, start=1):
            if self._closing.is_set():
                return
            yield number, line


def make_error(code: str, message: str, *, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    """Return an item of a batch's ``errors.data``."""
    return {"code": code, "line": line, "message": message, "param": param}
