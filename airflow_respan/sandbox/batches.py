"""The batches of the sandbox, which walk through their statuses on a scripted clock, or by hand."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

from airflow_respan.sandbox.batch import NO_PROGRESS, STAGES, SandboxBatch, Task
from airflow_respan.sandbox.files import Files, SandboxFile
from airflow_respan.sandbox.work import Workshop

OUTCOME_KEY = "sandbox_outcome"
"""A batch created with this key in its metadata ends so: ``completed``, ``failed``, ``expired`` or ``cancelled``."""

DAY = 24 * 3600


class Batches:
    """All batches, oldest first. What is set here may be changed at any time.

    :param files: where inputs come from and outputs go
    :param pace: seconds that a batch stays in each status; None lets it move by :meth:`advance` alone
    :param not_found_for: seconds during which a new batch is not found, as the service was seen to do
    :param not_listed_for: seconds during which a new batch is not in the list
    :param list_lacks: the fields that a batch in a list does not have
    """

    def __init__(
        self,
        files: Files,
        *,
        pace: float | None,
        not_found_for: float = 0.0,
        not_listed_for: float = 0.0,
        list_lacks: Collection[str] = (),
    ) -> None:
        self.pace = pace
        self.not_found_for = not_found_for
        self.not_listed_for = not_listed_for
        self.list_lacks = list_lacks
        self._files = files
        self._batches: dict[str, SandboxBatch] = {}
        self._numbers = itertools.count(1)
        self._workshop = Workshop()
        # The server's thread and a test's may both find that a batch is due.
        self._moving = threading.Lock()

    def close(self) -> None:
        """Leave off working."""
        self._workshop.close()

    def create(self, file: SandboxFile, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Create a batch of an uploaded file, on the clock."""
        answer = self._new_answer(input_file_id=file.id, **fields)
        output = self._files.new(filename=f"{answer['id']}_output.jsonl", purpose="batch_output")
        error = self._files.new(filename=f"{answer['id']}_error.jsonl", purpose="batch_output")
        outcome = self._workshop.submit(file.path, output.path, error.path, endpoint=fields["endpoint"])
        wanted = (fields.get("metadata") or {}).get(OUTCOME_KEY, "completed")
        batch = SandboxBatch(
            answer=answer,
            stages=list(STAGES.get(wanted, STAGES["completed"])),
            task=Task(outcome=outcome, output=output, error=error, publish=self._files.add),
            made=time.monotonic(),
        )
        self._batches[answer["id"]] = batch
        return batch.shown(self.pace)

    def add(self, **fields: Any) -> str:
        """Make a batch from nothing, which stays as it is until it is changed; returns its id."""
        answer = {**self._new_answer(input_file_id=None), "status": "in_progress", **fields}
        self._batches[answer["id"]] = SandboxBatch(answer=answer)
        return str(answer["id"])

    def change(self, batch_id: str, **fields: Any) -> None:
        """Change what the API says of a batch, and take it off the clock."""
        batch = self._batches[batch_id]
        with self._moving:
            batch.answer.update(fields)
            batch.stages = []

    def get(self, batch_id: str) -> dict[str, Any] | None:
        """Describe a batch as it is now; None if there is none, or not yet."""
        batch = self._batches.get(batch_id)
        if batch is None or time.monotonic() < batch.made + self.not_found_for:
            return None
        return self._now(batch)

    def all(self) -> list[dict[str, Any]]:
        """Describe every batch as it is now, oldest first, whether or not the API shows it."""
        return [self._now(batch) for batch in list(self._batches.values())]

    def page(self, *, limit: int, after: str | None) -> dict[str, Any]:
        """Describe one page of batches, newest first."""
        ids = reversed(self._batches)
        if after in self._batches:
            ids = itertools.islice(itertools.dropwhile(lambda batch_id: batch_id != after, ids), 1, None)
        found = filter(None, map(self.get, filter(self._listed, ids)))
        shown = list(itertools.islice(found, limit))
        return {
            "object": "list",
            "data": [{key: value for key, value in item.items() if key not in self.list_lacks} for item in shown],
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": next(found, None) is not None,
        }

    def cancel(self, batch_id: str) -> dict[str, Any] | None:
        """Start to cancel a batch; one that has ended stays as it is."""
        batch = self._batches.get(batch_id)
        if batch is None or self.get(batch_id) is None:
            return None
        with self._moving:
            batch.cancel()
            return batch.shown(self.pace)

    def advance(self, batch_id: str) -> str:
        """Move a batch to its next status by hand; returns that status."""
        batch = self._batches[batch_id]
        if batch.task:
            batch.task.outcome.result()
        with self._moving:
            batch.advance(time.monotonic())
        return str(batch.answer["status"])

    def _listed(self, batch_id: str) -> bool:
        return time.monotonic() >= self._batches[batch_id].made + self.not_listed_for

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

    def _now(self, batch: SandboxBatch) -> dict[str, Any]:
        """Describe a batch as it is when the clock has moved it."""
        with self._moving:
            if self.pace is not None:
                batch.catch_up(self.pace)
            return batch.shown(self.pace)
