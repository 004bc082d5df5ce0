from __future__ import annotations

from typing import Any

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.waiting.outcome import describe_batch, evaluate_batch


def counts(total: Any = None, completed: Any = None, failed: Any = None) -> dict[str, Any]:
    given = {"total": total, "completed": completed, "failed": failed}
    return {name: count for name, count in given.items() if count is not None}


def details_of(ended: Batch) -> str:
    """Return what stands in parentheses in the description of a batch."""
    return describe_batch(ended).partition("(")[2].removesuffix(").")


HALF = {"total": 100, "completed": 50, "failed": 50}
PARTIAL = {"success_statuses": ("completed", "expired")}


def batch(status: str = "completed", **fields: Any) -> Batch:
    return Batch.from_dict({"id": "batch_1", "status": status, "output_file_id": "file-out", **fields})


@pytest.mark.parametrize(
    ("ended", "options", "accepted", "needs_warning"),
    [
        (batch(request_counts={"total": 2, "completed": 2, "failed": 0}), {}, True, False),
        (batch(), {}, True, False),
        (batch(request_counts={"total": 0, "completed": 0, "failed": 0}), {}, True, False),
        (batch(request_counts=HALF), {}, True, True),
        (batch(request_counts=HALF), {"max_failed_ratio": 0.5}, True, True),
        (batch(request_counts=HALF), {"max_failed_ratio": 0.49}, False, False),
        (batch(request_counts={"total": 100, "completed": 99, "failed": 1}), {"max_failed_ratio": 0}, False, False),
        (batch(error_file_id="file-err"), {"max_failed_ratio": 0}, False, False),
        (batch(error_file_id="file-err"), {}, True, True),
        (batch(output_file_id=None), {}, True, True),
        (batch(output_file_id=None, error_file_id="file-err"), {}, False, False),
        (batch(request_counts={"total": 5, "completed": 0, "failed": 5}), {}, False, False),
        (batch("failed"), {}, False, False),
        (batch("expired"), {}, False, False),
        (batch("cancelled"), {}, False, False),
        (batch("expired", request_counts=HALF), {"success_statuses": ("completed", "expired")}, True, True),
        (
            batch("expired", request_counts={"total": 5, "completed": 0, "failed": 5}),
            {"success_statuses": ("completed", "expired")},
            False,
            False,
        ),
        (batch(), {"success_statuses": ("expired",)}, False, False),
        (batch("expired", request_counts=counts(100, 30, 0)), PARTIAL | {"max_failed_ratio": 0.1}, False, False),
        (batch("expired", request_counts=counts(100, 30, 0)), PARTIAL | {"max_failed_ratio": 0.7}, True, True),
        (batch("expired", request_counts=counts(100, 100, 0)), PARTIAL | {"max_failed_ratio": 0}, True, False),
        (batch("expired", output_file_id=None, request_counts=counts(100, 0, 0)), PARTIAL, True, True),
        # Requests that are neither completed nor failed
        (batch(request_counts=counts(10, 4, 0)), {}, True, True),
        (batch(request_counts=counts(10, 4, 0)), {"max_failed_ratio": 0.6}, True, True),
        (batch(request_counts=counts(10, 4, 0)), {"max_failed_ratio": 0.5}, False, False),
        (batch(request_counts=counts(10, 4)), {"max_failed_ratio": 0.5}, False, False),
        # Numbers in another spelling
        (batch(request_counts=counts("10", "10", "0")), {"max_failed_ratio": 0}, True, False),
        (batch(request_counts=counts("10", "9.0", 1.0)), {"max_failed_ratio": 0}, False, False),
        (batch(request_counts=counts(10.0, 5.0, "5")), {"max_failed_ratio": 0.49}, False, False),
        # Nothing is known to have completed
        (batch(output_file_id=None, request_counts=counts(100, 0, 0)), {}, False, False),
        (batch(output_file_id=None, request_counts=counts(100)), {}, False, False),
        (batch(output_file_id=None, request_counts=counts(100, -1, 5)), {}, False, False),
        (batch(request_counts=counts(100, -1, 100)), {}, False, False),
        (batch(request_counts=counts(None, -1, 100)), {}, False, False),
        (batch(request_counts=counts(100, None, 100)), {}, False, False),
        (batch(request_counts=counts("100", "0", "100")), {}, False, False),
        # There is an output file, so the counts are out of date
        (batch(request_counts=counts(100, 0, 0)), {}, True, True),
    ],
)
def test_the_outcome_depends_on_status_counts_and_files(
    ended: Batch, options: dict[str, Any], accepted: bool, needs_warning: bool
) -> None:
    outcome = evaluate_batch(ended, **options)

    assert (outcome.accepted, outcome.needs_warning) == (accepted, needs_warning)


@pytest.mark.parametrize("max_failed_ratio", [0, 0.5, 0.999])
@pytest.mark.parametrize(
    ("ended", "why"),
    [
        (batch(), "the service gave no request_counts"),
        (batch(error_file_id="file-err"), "the service gave no request_counts"),
        (
            batch(error_file_id="file-err", request_counts=counts(1000, 1000, 0)),
            "there is an error file, but no failed request in request_counts",
        ),
        (
            batch(error_file_id="file-err", request_counts=counts(1000, 1000)),
            "there is an error file, but no failed request in request_counts",
        ),
        (batch(request_counts=counts(0, 0, 0)), "request_counts does not say it"),
        (batch(request_counts=counts(100)), "request_counts does not say it"),
        (batch(request_counts=counts(None, 100)), "request_counts does not say it"),
        (batch(request_counts=counts(100, None, 0)), "request_counts does not say it"),
        (batch(request_counts=counts(100, "many", 0)), "request_counts does not say it"),
        (batch(request_counts=counts(100, 150, 0)), "request_counts does not say it"),
        (batch("expired", request_counts=counts(100)), "request_counts does not say it"),
    ],
)
def test_a_limit_that_cannot_be_checked_fails_and_says_so_unless_it_is_1(
    ended: Batch, why: str, max_failed_ratio: float
) -> None:
    outcome = evaluate_batch(ended, **PARTIAL, max_failed_ratio=max_failed_ratio)

    assert (outcome.accepted, outcome.is_unknown) == (False, True)
    assert outcome.message == (
        f"Batch batch_1 is {ended.status}: it is not known how many requests failed, and at most "
        f"{max_failed_ratio:.1%} may: {why}. To accept this batch, set max_failed_ratio to 1.0, and count its failed "
        f"requests with RespanBatchResultsOperator. Details: {details_of(ended)}. Results that were ready, and are "
        "billed, are in file-out."
    )
    assert evaluate_batch(ended, **PARTIAL).accepted


def test_an_accepted_batch_is_described() -> None:
    ended = batch(
        created_at=1711471533,
        completed_at=1711493163,
        request_counts={"total": 100, "completed": 95, "failed": 5},
        error_file_id="file-err",
    )

    assert evaluate_batch(ended).message == (
        "Batch batch_1 is completed after 6 hours 30 seconds (95 of 100 requests completed, 5 failed; "
        "output file file-out, error file file-err)."
    )


@pytest.mark.parametrize(
    ("ended", "options", "message"),
    [
        (
            batch(
                "failed",
                output_file_id=None,
                errors={"data": [{"code": "token_limit_exceeded", "line": None, "message": "Enqueued too much"}]},
            ),
            {},
            "Batch batch_1 is failed: token_limit_exceeded: Enqueued too much. Only 'completed' counts "
            "as success. Details: no request counts; no files. The provider's queue was full: submit the batch again "
            "later.",
        ),
        (
            batch("failed", output_file_id=None, errors=[{"code": "bad", "line": 3, "message": "x."}, "y", "z"]),
            {},
            "Batch batch_1 is failed: bad (line 3): x (and 2 more). Only 'completed' counts as "
            "success. Details: no request counts; no files.",
        ),
        (
            batch("failed", output_file_id=None, request_counts=counts(0, 0, 0), error="The file is empty..."),
            {},
            "Batch batch_1 is failed: The file is empty. Only 'completed' counts as success. "
            "Details: no request counts; no files.",
        ),
        (
            batch(
                "expired",
                created_at=1711471533,
                expired_at=1711471533 + 24 * 3600,
                request_counts={"total": 4, "completed": 1, "failed": 0},
            ),
            {"success_statuses": ("completed", "cancelled")},
            "Batch batch_1 is expired: only 'completed' or 'cancelled' counts as success. Details: after 1 day; 1 of "
            "4 requests completed, 0 failed; output file file-out. Results that were ready, and are billed, are in "
            "file-out.",
        ),
        (
            batch("expired", request_counts=counts(4, 1, 0)),
            {**PARTIAL, "max_failed_ratio": 0.5},
            "Batch batch_1 is expired: 75.0% of the requests failed or did not complete, and at most 50.0% may. "
            "Details: 1 of 4 requests completed, 0 failed; output file file-out. Results that were ready, and are "
            "billed, are in file-out.",
        ),
        (
            batch(request_counts=HALF),
            {"max_failed_ratio": 0.1},
            "Batch batch_1 is completed: 50.0% of the requests failed, and at most 10.0% may. Details: 50 of 100 "
            "requests completed, 50 failed; output file file-out. Results that were ready, and are billed, are in "
            "file-out.",
        ),
        (
            batch(request_counts=counts(10, 4, 1)),
            {"max_failed_ratio": 0.1},
            "Batch batch_1 is completed: 60.0% of the requests failed or did not complete, and at most 10.0% may. "
            "Details: 4 of 10 requests completed, 1 failed; output file file-out. Results that were ready, and are "
            "billed, are in file-out.",
        ),
        (
            batch(output_file_id="", request_counts=counts(100, 0, 0)),
            {},
            "Batch batch_1 is completed: no request is known to have completed. Details: 0 of 100 requests "
            "completed, 0 failed; no files.",
        ),
        (
            batch(output_file_id="", error_file_id="file-err"),
            {},
            "Batch batch_1 is completed: every request failed. Details: no request counts; error file file-err. The "
            "reasons are in file-err.",
        ),
    ],
)
def test_the_message_of_a_refused_batch_has_reason_and_advice(
    ended: Batch, options: dict[str, Any], message: str
) -> None:
    outcome = evaluate_batch(ended, **options)

    assert (outcome.accepted, outcome.message) == (False, message)
