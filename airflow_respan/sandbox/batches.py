"""The batches of the sandbox, whose statuses change with time (the pace) or by hand."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from airflow_respan.sandbox.batch import NO_PROGRESS, STATUSES_AFTER_VALIDATING, InputRun, SandboxBatch
from airflow_respan.sandbox.files import Files, SandboxFile
from airflow_respan.sandbox.input_check import InputCheck
from airflow_respan.sandbox.input_runner import InputJob, InputResult, InputRunner, make_error
from airflow_respan.sandbox.outcomes import OutcomeRule
from airflow_respan.sandbox.runs import Runs

OUTCOME_KEY = "sandbox_outcome"
"""The metadata key that chooses how a batch ends: ``completed``, ``failed``, ``expired`` or ``cancelled``."""

QUEUE_FULL_CODE = "token_limit_exceeded"
"""OpenAI's code; its limit is one of tokens."""

DAY_SECONDS = 24 * 3600


@dataclass(kw_only=True)
class Batches:
    """All batches, oldest first. The public attributes may be changed at any time.

    :param files: the input files, and the place for output files
    :param pace: seconds that a batch stays in each status; with None only :meth:`advance` moves batches
    :param not_found_for: seconds during which a new batch is not found; this was seen at the service
    :param not_listed_for: seconds during which a new batch is not in the list
    :param list_lacks: the fields that the batches in a list do not have
    :param unfinished_rows: whether requests that a batch has not run, because it expired or was cancelled, have rows in
        its error file, as at OpenAI
    :param max_active_batches: while so many batches are active, each new one fails, because the queue is full; None is
        no limit
    :param one_model_per_batch: whether a batch fails if its requests name several models
    :param outcomes: how the requests of new batches end that do not choose their outcome themselves
    """

    files: Files
    pace: float | None
    not_found_for: float
    not_listed_for: float
    list_lacks: Collection[str]
    unfinished_rows: bool
    max_active_batches: int | None
    one_model_per_batch: bool
    outcomes: OutcomeRule

    def __post_init__(self) -> None:
        self.runs = Runs()
        self._batches: dict[str, SandboxBatch] = {}
        self._numbers = itertools.count(1)
        self._input_runner = InputRunner(runs=self.runs)
        # The server's thread and the thread of a test may both find that a status is due.
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop running input files."""
        self._input_runner.close()

    def create(self, file: SandboxFile, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Create a batch of an uploaded file; its statuses change with the pace."""
        data = self._new_data(input_file_id=file.id, **fields)
        output = self.files.new(filename=f"{data['id']}_output.jsonl", purpose="batch_output")
        error = self.files.new(filename=f"{data['id']}_error.jsonl", purpose="batch_output")
        job = InputJob(
            batch_id=data["id"],
            source=file.path,
            output=output.path,
            error=error.path,
            check=InputCheck(endpoint=fields["endpoint"], one_model=self.one_model_per_batch),
            rule=self.outcomes,
        )
        result = self._refuse_if_queue_is_full() or self._input_runner.submit(job)
        outcome = (fields.get("metadata") or {}).get(OUTCOME_KEY, "completed")
        run = InputRun(
            result=result,
            output=output,
            error=error,
            publish=self.files.add,
            runs=self.runs,
            unfinished_rows=self.unfinished_rows,
        )
        batch = SandboxBatch(
            data=data,
            next_statuses=list(STATUSES_AFTER_VALIDATING.get(outcome, STATUSES_AFTER_VALIDATING["completed"])),
            run=run,
            created_at=time.monotonic(),
        )
        self._batches[data["id"]] = batch
        return batch.describe(self.pace)

    def add(self, **fields: Any) -> str:
        """Create a batch without an input file, which stays as it is until it is changed.

        :return: its id
        """
        data = {**self._new_data(input_file_id=None), "status": "in_progress", **fields}
        self._batches[data["id"]] = SandboxBatch(data=data)
        return str(data["id"])

    def change(self, batch_id: str, **fields: Any) -> None:
        """Change what the API returns for a batch; from then on its status does not change with the pace."""
        batch = self._batches[batch_id]
        with self._lock:
            batch.data.update(fields)
            batch.next_statuses = []

    def get(self, batch_id: str) -> dict[str, Any] | None:
        """Return a batch as it is now; None if it does not exist, or is not found yet."""
        batch = self._batches.get(batch_id)
        if batch is None or time.monotonic() < batch.created_at + self.not_found_for:
            return None
        return self._describe_now(batch)

    def all(self) -> list[dict[str, Any]]:
        """Return every batch as it is now, oldest first, also those that the API does not show yet."""
        return [self._describe_now(batch) for batch in list(self._batches.values())]

    def page(self, *, limit: int, after: str | None) -> dict[str, Any]:
        """Return one page of the list of batches, newest first."""
        ids = reversed(self._batches)
        if after in self._batches:
            ids = itertools.islice(itertools.dropwhile(lambda batch_id: batch_id != after, ids), 1, None)
        found = filter(None, map(self.get, filter(self._is_listed, ids)))
        on_page = list(itertools.islice(found, limit))
        return {
            "object": "list",
            "data": [{key: value for key, value in item.items() if key not in self.list_lacks} for item in on_page],
            "first_id": on_page[0]["id"] if on_page else None,
            "last_id": on_page[-1]["id"] if on_page else None,
            "has_more": next(found, None) is not None,
        }

    def cancel(self, batch_id: str) -> dict[str, Any] | None:
        """Start to cancel a batch; a batch that has ended stays as it is."""
        batch = self._batches.get(batch_id)
        if batch is None or self.get(batch_id) is None:
            return None
        with self._lock:
            batch.cancel()
            return batch.describe(self.pace)

    def advance(self, batch_id: str) -> str:
        """Move a batch to its next status.

        :return: that status
        """
        batch = self._batches[batch_id]
        if batch.run:
            batch.run.result.result()
        with self._lock:
            batch.advance(time.monotonic())
        return str(batch.data["status"])

    def _refuse_if_queue_is_full(self) -> Future[InputResult] | None:
        """Return the result of a batch that the queue has no room for, or None if it has room."""
        if self.max_active_batches is None:
            return None
        self.all()  # so that each batch is in the status of this moment
        active = sum(batch.is_active for batch in self._batches.values())
        if active < self.max_active_batches:
            return None
        message = (
            f"The queue is full: {active} of at most {self.max_active_batches} batches are active. "
            "Create the batch again when one of them has ended."
        )
        refused: Future[InputResult] = Future()
        refused.set_result(InputResult(errors=[make_error(QUEUE_FULL_CODE, message)], finished_at=time.monotonic()))
        return refused

    def _is_listed(self, batch_id: str) -> bool:
        return time.monotonic() >= self._batches[batch_id].created_at + self.not_listed_for

    def _new_data(self, *, input_file_id: str | None, **fields: Any) -> dict[str, Any]:
        now = int(time.time())
        statuses = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
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
            "expires_at": now + DAY_SECONDS,
            **{f"{status}_at": None for status in statuses},
            "request_counts": dict(NO_PROGRESS),
            "metadata": None,
            **fields,
        }

    def _describe_now(self, batch: SandboxBatch) -> dict[str, Any]:
        with self._lock:
            if self.pace is not None:
                batch.advance_to_now(self.pace)
            return batch.describe(self.pace)
