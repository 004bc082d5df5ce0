"""One batch of the sandbox: its statuses one after the other, and what the API returns for it in each of them."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from airflow_respan.sandbox import model
from airflow_respan.sandbox.files import SandboxFile
from airflow_respan.sandbox.input_runner import InputResult, Progress
from airflow_respan.sandbox.outcomes import Outcome
from airflow_respan.sandbox.runs import Runs

NO_PROGRESS = {"total": 0, "completed": 0, "failed": 0}
STATUSES_AFTER_VALIDATING = {
    "completed": ["in_progress", "finalizing", "completed"],
    "expired": ["in_progress", "expired"],
    "cancelled": ["in_progress", "cancelling", "cancelled"],
    "failed": ["failed"],
}
"""The statuses after ``validating``, by the terminal status."""

TERMINAL_STATUSES = frozenset(STATUSES_AFTER_VALIDATING)
"""The sandbox has its own list of terminal statuses, so that the tests find an error in the client's list."""

UNFINISHED = {"expired": Outcome.expired(), "cancelled": Outcome.cancelled()}
"""How requests end that a batch has not run, by its terminal status."""

FAILED_ON_REQUEST = {"code": "sandbox", "line": 1, "message": "Failed on request.", "param": None}


@dataclass(frozen=True, kw_only=True)
class InputRun:
    """The run of an uploaded input file.

    :param result: the result, once the run is done
    :param output: the file with the rows of requests that succeed
    :param error: the file with the rows of requests that fail
    :param publish: makes one of the two files visible to the API
    :param runs: the record of the requests that were run
    :param unfinished_rows: whether requests that were not run have rows if the batch expires or is cancelled
    """

    result: Future[InputResult]
    output: SandboxFile
    error: SandboxFile
    publish: Callable[[SandboxFile], None]
    runs: Runs
    unfinished_rows: bool


@dataclass(kw_only=True)
class SandboxBatch:
    """One batch.

    :param data: what the API returns for it
    :param next_statuses: the statuses that are still to come
    :param entered_at: when it entered its present status (seconds of ``time.monotonic``)
    :param run: the run of its input file; None for a batch without an input file
    :param created_at: when it was created (seconds of ``time.monotonic``); minus infinity without an input file
    """

    data: dict[str, Any]
    next_statuses: list[str] = field(default_factory=list)
    entered_at: float = field(default_factory=time.monotonic)
    run: InputRun | None = None
    created_at: float = -math.inf

    @property
    def is_active(self) -> bool:
        """Whether the batch has a place in the queue: it has not ended, and its input was not refused."""
        is_refused = bool(self.run and self.run.result.done() and self.run.result.result().errors)
        return self.data["status"] not in TERMINAL_STATUSES and not is_refused

    def advance_to_now(self, pace: float) -> None:
        """Enter each status that is due by now.

        :param pace: seconds in each status; the first status also lasts until the input file has been run
        """
        while self.next_statuses and time.monotonic() >= (due := self._next_due(pace)):
            self.advance(due)

    def advance(self, entered_at: float) -> None:
        """Enter the next status, if there is one; the input file must have been run."""
        if self.run and self.data["status"] == "validating" and self.run.result.result().errors:
            self.next_statuses = ["failed"]
        if self.next_statuses:
            self._enter(self.next_statuses.pop(0))
            self.entered_at = entered_at

    def cancel(self) -> None:
        """Start to cancel the batch; a batch that has ended stays as it is."""
        if self.data["status"] not in TERMINAL_STATUSES and self.data["status"] != "cancelling":
            self._enter("cancelling")
            self.next_statuses, self.entered_at = ["cancelled"], time.monotonic()

    def describe(self, pace: float | None) -> dict[str, Any]:
        """Return what the API returns now: ``request_counts`` grow with the time in the status ``in_progress``."""
        data = dict(self.data)
        if data["status"] in ("in_progress", "finalizing") and self.run and pace:
            passed = (time.monotonic() - self.entered_at) / pace
            ratio = min(passed, 1.0) if data["status"] == "in_progress" else 1.0
            counts = data["request_counts"]
            data["request_counts"] = {**counts, "completed": int(counts["total"] * ratio)}
        return data

    def _next_due(self, pace: float) -> float:
        if self.run is None:
            return self.entered_at + pace
        if not self.run.result.done():
            return math.inf
        return max(self.entered_at + pace, self.run.result.result().finished_at)

    def _enter(self, status: str) -> None:
        data, run = self.data, self.run
        data["status"] = status
        data[f"{status}_at"] = int(time.time())
        if run is None:
            return
        if status == "failed":
            data["errors"] = {"object": "list", "data": run.result.result().errors or [FAILED_ON_REQUEST]}
        elif status == "in_progress":
            data["request_counts"] = {**NO_PROGRESS, "total": run.result.result().total}
        if status in TERMINAL_STATUSES:
            self._publish_results(run)

    def _publish_results(self, run: InputRun) -> None:
        """Publish the files and the counts: all rows of a completed batch, else the first part of them."""
        result, total = run.result.result(), self.data["request_counts"]["total"]
        progress = result.final if self.data["status"] == "completed" else result.partial
        if not total:  # the batch failed or was cancelled before it was in progress
            progress = Progress()
        done = progress.completed + progress.failed
        unfinished = run.runs.keep_first(self.data["id"], done)
        self.data["request_counts"] = {"total": total, "completed": progress.completed, "failed": progress.failed}
        os.truncate(run.output.path, progress.output_bytes)
        os.truncate(run.error.path, progress.error_bytes)
        if total and run.unfinished_rows:
            with run.error.path.open("ab") as rows:
                for position, custom_id in enumerate(unfinished, start=done):
                    row = model.make_error_row(custom_id, position, UNFINISHED[self.data["status"]])
                    rows.write(json.dumps(row).encode() + b"\n")
        for key, file in (("output_file_id", run.output), ("error_file_id", run.error)):
            if file.path.stat().st_size:
                run.publish(file)
                self.data[key] = file.id
