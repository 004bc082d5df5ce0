"""One batch of the sandbox: its way through the statuses, and what the API says of it meanwhile."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from airflow_respan.sandbox.files import SandboxFile
from airflow_respan.sandbox.work import Outcome

NO_PROGRESS = {"total": 0, "completed": 0, "failed": 0}
STAGES = {
    "completed": ["in_progress", "finalizing", "completed"],
    "expired": ["in_progress", "expired"],
    "cancelled": ["in_progress", "cancelling", "cancelled"],
    "failed": ["failed"],
}
"""The statuses after ``validating``, by the one in which they end."""

TERMINAL_STATUSES = frozenset(STAGES)
"""The statuses that end a batch: the sandbox's own list, so that an error in the client's list is seen."""

FAILED_ON_REQUEST = {"code": "sandbox", "line": 1, "message": "Failed on request.", "param": None}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a batch of an uploaded file has to do.

    :param outcome: what comes of the input file, which takes a while
    :param output: where the rows of requests that succeed are written
    :param error: where those of requests that fail are written
    :param publish: lets one of the two be found
    """

    outcome: Future[Outcome]
    output: SandboxFile
    error: SandboxFile
    publish: Callable[[SandboxFile], None]


@dataclass(kw_only=True)
class SandboxBatch:
    """One batch.

    :param answer: what the API says of it
    :param stages: the statuses that are still to come
    :param since: when it came to the present one (seconds of ``time.monotonic``)
    :param task: what it has to do; None for a batch that was made from nothing
    :param made: when it was created (seconds of ``time.monotonic``); one from nothing has been there always
    """

    answer: dict[str, Any]
    stages: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)
    task: Task | None = None
    made: float = -math.inf

    def catch_up(self, pace: float) -> None:
        """Come to where it is due: a status lasts as long as the pace, and the first until the task is done."""
        while self.stages and time.monotonic() >= (due := self._due(pace)):
            self.advance(due)

    def advance(self, since: float) -> None:
        """Come to the next status, if there is one; the task has to be done."""
        if self.task and self.answer["status"] == "validating" and self.task.outcome.result().errors:
            self.stages = ["failed"]
        if self.stages:
            self._enter(self.stages.pop(0))
            self.since = since

    def cancel(self) -> None:
        """Start to cancel; a batch that has ended stays as it is."""
        if self.answer["status"] not in TERMINAL_STATUSES and self.answer["status"] != "cancelling":
            self._enter("cancelling")
            self.stages, self.since = ["cancelled"], time.monotonic()

    def shown(self, pace: float | None) -> dict[str, Any]:
        """Describe it, with the progress that the clock makes it appear to have."""
        shown = dict(self.answer)
        if shown["status"] in ("in_progress", "finalizing") and self.task and pace:
            passed = (time.monotonic() - self.since) / pace
            share = min(passed, 1.0) if shown["status"] == "in_progress" else 1.0
            counts = shown["request_counts"]
            shown["request_counts"] = {**counts, "completed": int(counts["total"] * share)}
        return shown

    def _due(self, pace: float) -> float:
        if self.task is None:
            return self.since + pace
        if not self.task.outcome.done():
            return math.inf
        return max(self.since + pace, self.task.outcome.result().at)

    def _enter(self, status: str) -> None:
        answer, task = self.answer, self.task
        answer["status"] = status
        answer[f"{status}_at"] = int(time.time())
        if task and status == "failed":
            errors = task.outcome.result().errors
            answer["errors"] = {"object": "list", "data": errors or [FAILED_ON_REQUEST]}
        elif task and status == "in_progress":
            answer["request_counts"] = {**NO_PROGRESS, "total": task.outcome.result().total}
        # One that was cancelled before it began has come to nothing.
        elif task and status in TERMINAL_STATUSES and answer["request_counts"]["total"]:
            self._give_out(task)

    def _give_out(self, task: Task) -> None:
        """Let be found what the batch has come to: all of it, or the first part."""
        outcome = task.outcome.result()
        progress = outcome.whole if self.answer["status"] == "completed" else outcome.partial
        counts = {"total": outcome.total, "completed": progress.completed, "failed": progress.failed}
        self.answer["request_counts"] = counts
        for key, file, size in (
            ("output_file_id", task.output, progress.output_size),
            ("error_file_id", task.error, progress.error_size),
        ):
            if size:
                os.truncate(file.path, size)
                task.publish(file)
                self.answer[key] = file.id
