"""The outcome table of the README, row by row, as data: what happens to the batch, and what becomes of the task."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_respan.sandbox import Fault, RespanSandbox

ENDED = {
    "status": "completed",
    "output_file_id": "file-out",
    "request_counts": {"total": 4, "completed": 4, "failed": 0},
}
PARTIAL = {
    "status": "expired",
    "output_file_id": "file-out",
    "error_file_id": "file-err",
    "request_counts": {"total": 4, "completed": 3, "failed": 1},
}
ALL_FAILED = {
    "status": "completed",
    "output_file_id": "",
    "error_file_id": "file-err",
    "request_counts": {"total": 4, "completed": 0, "failed": 4},
}

NOTHING_COMPLETED = {"status": "completed", "request_counts": {"total": 4, "completed": 0, "failed": 0}}

Prepare = Callable[[RespanSandbox, str], None]


def ended(**fields: Any) -> Prepare:
    """Let the batch be as the fields say, from the beginning."""
    return lambda sandbox, batch_id: sandbox.change_batch(batch_id, **fields)


def meeting(fault: Fault, times: int | None = None, **fields: Any) -> Prepare:
    """Let the looks at the batch meet a fault, and then find it as the fields say."""

    def prepare(sandbox: RespanSandbox, batch_id: str) -> None:
        sandbox.change_batch(batch_id, **fields)
        sandbox.inject(fault, times=times, path=f"/{batch_id}/")

    return prepare


def passing_through(status: str, *, then: dict[str, Any]) -> Prepare:
    """Let the first two looks see a status, and the next ones the batch as the fields say."""

    def prepare(sandbox: RespanSandbox, batch_id: str) -> None:
        seen = json.dumps({"id": batch_id, "object": "batch", "status": status})
        meeting(Fault(status=200, body=seen), times=2, **then)(sandbox, batch_id)

    return prepare


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    :param prepare: makes the service behave
    :param state: what becomes of the task
    :param soft: what becomes of it with ``soft_fail``
    :param retried: whether Airflow gives a failed task its second try
    :param error: the exception's name, for a task that fails
    :param pushed: what is in XCom, besides ``batch_id``; None if nothing at all
    :param options: further arguments of the sensor
    """

    name: str
    prepare: Prepare
    state: str = "success"
    soft: str = "success"
    retried: bool = False
    error: str | None = None
    pushed: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    batch_id: str | None = None


def present(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not pushed: empty ids."""
    return {key: value for key, value in fields.items() if value}


def failing_end(name: str, fields: dict[str, Any], **options: Any) -> Row:
    """Make a row of a batch that ended and is not accepted."""
    return Row(
        name=name,
        prepare=ended(**fields),
        state="failed",
        soft="skipped",
        error="RespanBatchFailed",
        pushed=present(fields),
        options=options,
    )


def refusal(status: int, error: str = "RespanAPIError") -> Row:
    """Make a row of a service that says no."""
    return Row(
        name=f"answer_{status}",
        prepare=meeting(Fault.error(status)),
        state="failed",
        soft="failed",
        retried=True,
        error=error,
    )


NO_COUNTS = {"request_counts": None}
ROWS = [
    Row(name="completed", prepare=ended(**ENDED), pushed=ENDED),
    Row(
        name="completed_in_part",
        prepare=ended(**{**PARTIAL, "status": "completed"}),
        pushed={**PARTIAL, "status": "completed"},
    ),
    Row(name="cancelling_first", prepare=passing_through("cancelling", then=ENDED), pushed=ENDED),
    Row(name="unknown_status_first", prepare=passing_through("rescheduled", then=ENDED), pushed=ENDED),
    Row(
        name="expired_but_welcome",
        prepare=ended(**PARTIAL),
        pushed=PARTIAL,
        options={"success_statuses": ["completed", "expired"]},
    ),
    replace(failing_end("expired_later", PARTIAL), prepare=passing_through("finalizing", then=PARTIAL)),
    failing_end("failed", {"status": "failed", **NO_COUNTS, "errors": {"data": [{"code": "x", "message": "y"}]}}),
    failing_end("expired", PARTIAL),
    failing_end("cancelled", {"status": "cancelled", **NO_COUNTS}),
    failing_end("every_request_failed", ALL_FAILED),
    failing_end("too_many_failed", {**PARTIAL, "status": "completed"}, max_failed_ratio=0.2),
    failing_end("failed_requests_not_known", {**ENDED, "error_file_id": "file-err"}, max_failed_ratio=0.5),
    failing_end("nothing_completed", NOTHING_COMPLETED),
    Row(
        name="counts_and_status_in_another_spelling",
        prepare=ended(
            **{**ENDED, "status": "COMPLETED", "request_counts": {"total": "4", "completed": 4.0, "failed": "0"}}
        ),
        pushed=ENDED,
        options={"max_failed_ratio": 0},
    ),
    Row(
        name="timeout",
        prepare=ended(status="in_progress"),
        state="failed",
        soft="skipped",
        error="RespanBatchTimeout",
        options={"timeout": 0.5},
    ),
    Row(
        name="timeout_in_an_outage",
        prepare=meeting(Fault.error(503)),
        state="failed",
        soft="skipped",
        error="RespanBatchTimeout",
        options={"timeout": 0.5},
    ),
    refusal(400),
    refusal(401, "RespanAuthenticationError"),
    refusal(403, "RespanAuthenticationError"),
    refusal(422),
    refusal(424),
    Row(
        name="not_found_after_grace",
        prepare=meeting(Fault.error(404)),
        state="failed",
        soft="failed",
        retried=True,
        error="RespanNotFoundError",
        options={"not_found_grace": 0.2},
    ),
    Row(
        name="not_found_in_grace",
        prepare=meeting(Fault.error(404), times=2, **ENDED),
        pushed=ENDED,
        # Long, as dag.test() runs all these tasks one after the other between two pokes of one.
        options={"not_found_grace": 3600},
    ),
    Row(
        name="another_batch_after_grace",
        prepare=meeting(Fault(status=200, body={"id": "batch_other", **ENDED})),
        state="failed",
        soft="failed",
        retried=True,
        error="RespanWrongIdError",
        options={"not_found_grace": 0.2},
    ),
    Row(
        name="another_batch_in_grace",
        prepare=meeting(Fault(status=200, body={"id": "batch_other", **ENDED}), times=2, **ENDED),
        pushed=ENDED,
        options={"not_found_grace": 3600},
    ),
    Row(name="outage", prepare=meeting(Fault.error(503), times=3, **ENDED), pushed=ENDED),
    Row(name="rate_limit", prepare=meeting(Fault.rate_limit(retry_after=1), times=1, **ENDED), pushed=ENDED),
    Row(name="html", prepare=meeting(Fault.html(200), times=3, **ENDED), pushed=ENDED),
    Row(name="cut", prepare=meeting(Fault.cut(), times=3, **ENDED), pushed=ENDED),
    Row(
        name="no_batch_id",
        prepare=lambda sandbox, batch_id: None,
        batch_id="{{ none }}",
        state="failed",
        soft="failed",
        retried=True,
        error="ValueError",
    ),
    Row(
        name="silent_fail",
        prepare=meeting(Fault.error(401), times=2, **ENDED),
        pushed=ENDED,
        options={"silent_fail": True},
    ),
]
