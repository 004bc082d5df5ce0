"""The batches of the sandbox, which walk through their statuses on a scripted clock, or by hand."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_respan.batch import TERMINAL_STATUSES
from airflow_respan.sandbox import model
from airflow_respan.sandbox.files import Files, SandboxFile

OUTCOME_KEY = "sandbox_outcome"
"""A batch created with this key in its metadata ends so: ``completed``, ``failed``, ``expired`` or ``cancelled``."""

DAY = 24 * 3600
NO_PROGRESS = {"total": 0, "completed": 0, "failed": 0}
PARTIAL_SHARE = 0.5


@dataclass(kw_only=True)
class SandboxBatch:
    """One batch.

    :param answer: what the API says of it
    :param stages: the statuses that are still to come
    :param since: when it came to the present one (seconds of ``time.monotonic``)
    :param input: the uploaded file, or None for a batch that was made from nothing
    :param visible_from: before this, the API answers 404 (seconds of ``time.monotonic``)
    """

    answer: dict[str, Any]
    stages: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)
    input: SandboxFile | None = None
    visible_from: float = 0.0


class Batches:
    """All batches, oldest first.

    :param files: where inputs come from and outputs go
    :param pace: seconds that a batch stays in each status; None lets it move by :meth:`advance` alone
    :param not_found_for: seconds during which a new batch is not found, as the service was seen to do
    """

    def __init__(self, files: Files, *, pace: float | None, not_found_for: float = 0.0) -> None:
        self.pace = pace
        self.not_found_for = not_found_for
        self._files = files
        self._batches: dict[str, SandboxBatch] = {}
        self._numbers = itertools.count(1)

    def create(self, file: SandboxFile, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Create a batch of an uploaded file, on the clock."""
        outcome = (fields.get("metadata") or {}).get(OUTCOME_KEY, "completed")
        errors = list(itertools.islice(model.problems(file.path, fields["endpoint"]), 20))
        if outcome == "failed" and not errors:
            errors = [{"code": "sandbox", "line": 1, "message": "Failed on request.", "param": None}]
        stages = ["failed"] if errors else ["in_progress", "finalizing", "completed"]
        if not errors and outcome in ("expired", "cancelled"):
            stages = (
                ["in_progress", "cancelling", "cancelled"] if outcome == "cancelled" else ["in_progress", "expired"]
            )
        batch = SandboxBatch(
            answer=self._new_answer(input_file_id=file.id, **fields),
            stages=stages,
            input=file,
            visible_from=time.monotonic() + self.not_found_for,
        )
        if errors:
            batch.answer["errors_to_come"] = {"object": "list", "data": errors}
        self._batches[batch.answer["id"]] = batch
        return self._shown(batch)

    def add(self, **fields: Any) -> str:
        """Make a batch from nothing, which stays as it is until it is changed; returns its id."""
        answer = {**self._new_answer(input_file_id=None), "status": "in_progress", **fields}
        self._batches[answer["id"]] = SandboxBatch(answer=answer)
        return str(answer["id"])

    def change(self, batch_id: str, **fields: Any) -> None:
        """Change what the API says of a batch, and take it off the clock."""
        batch = self._batches[batch_id]
        batch.answer.update(fields)
        batch.stages = []

    def get(self, batch_id: str) -> dict[str, Any] | None:
        """Describe a batch as it is now; None if there is none, or not yet."""
        batch = self._batches.get(batch_id)
        if batch is None or time.monotonic() < batch.visible_from:
            return None
        self._catch_up(batch)
        return self._shown(batch)

    def page(self, *, limit: int, after: str | None) -> dict[str, Any]:
        """Describe one page of batches, newest first."""
        ids = reversed(self._batches)
        if after in self._batches:
            ids = itertools.islice(itertools.dropwhile(lambda batch_id: batch_id != after, ids), 1, None)
        visible = filter(None, map(self.get, ids))
        shown = list(itertools.islice(visible, limit))
        return {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": next(visible, None) is not None,
        }

    def cancel(self, batch_id: str) -> dict[str, Any] | None:
        """Start to cancel a batch; one that has ended stays as it is."""
        batch = self._batches.get(batch_id)
        if batch is None or self.get(batch_id) is None:
            return None
        if batch.answer["status"] not in TERMINAL_STATUSES and batch.answer["status"] != "cancelling":
            self._enter(batch, "cancelling")
            batch.stages, batch.since = ["cancelled"], time.monotonic()
        return self._shown(batch)

    def advance(self, batch_id: str) -> str:
        """Move a batch to its next status by hand; returns that status."""
        batch = self._batches[batch_id]
        if batch.stages:
            self._enter(batch, batch.stages.pop(0))
            batch.since = time.monotonic()
        return str(batch.answer["status"])

    def _new_answer(self, *, input_file_id: str | None, **fields: Any) -> dict[str, Any]:
        now = int(time.time())
        moments = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": f"batch_{next(self._numbers):08d}",
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": None,
            "input_file_id": input_file_id,
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "expires_at": now + DAY,
            **{f"{moment}_at": None for moment in moments},
            "request_counts": dict(NO_PROGRESS),
            "metadata": None,
            **fields,
        }

    def _catch_up(self, batch: SandboxBatch) -> None:
        while self.pace is not None and batch.stages and time.monotonic() - batch.since >= self.pace:
            self._enter(batch, batch.stages.pop(0))
            batch.since += self.pace

    def _enter(self, batch: SandboxBatch, status: str) -> None:
        answer = batch.answer
        answer["status"] = status
        answer[f"{status}_at"] = int(time.time())
        if status == "failed":
            answer["errors"] = answer.pop("errors_to_come", None)
        elif status == "in_progress" and batch.input:
            answer["request_counts"] = {**NO_PROGRESS, "total": model.count(batch.input.path)}
        elif status in TERMINAL_STATUSES and batch.input:
            self._run(batch, share=1.0 if status == "completed" else PARTIAL_SHARE)

    def _run(self, batch: SandboxBatch, *, share: float) -> None:
        """Let the model answer the first share of the requests, and write what came of it."""
        assert batch.input is not None  # noqa: S101 (for the type checker; both callers have looked)
        counts = batch.answer["request_counts"]
        output = self._files.new(filename=f"{batch.answer['id']}_output.jsonl", purpose="batch_output")
        error = self._files.new(filename=f"{batch.answer['id']}_error.jsonl", purpose="batch_output")
        with batch.input.path.open("rb") as lines, output.path.open("w") as good, error.path.open("w") as bad:
            for position, line in enumerate(itertools.islice(lines, int(counts["total"] * share))):
                succeeded, row = model.run(line, position)
                (good if succeeded else bad).write(json.dumps(row) + "\n")
                counts["completed" if succeeded else "failed"] += 1
        for key, file, rows in (("output", output, "completed"), ("error", error, "failed")):
            if counts[rows]:
                self._files.add(file)
                batch.answer[f"{key}_file_id"] = file.id

    def _shown(self, batch: SandboxBatch) -> dict[str, Any]:
        """Describe a batch, with the progress that the clock makes it appear to have."""
        shown = {key: value for key, value in batch.answer.items() if key != "errors_to_come"}
        if shown["status"] in ("in_progress", "finalizing") and batch.input and self.pace:
            passed = (time.monotonic() - batch.since) / self.pace
            share = min(passed, 1.0) if shown["status"] == "in_progress" else 1.0
            counts = shown["request_counts"]
            shown["request_counts"] = {**counts, "completed": int(counts["total"] * share)}
        return shown
