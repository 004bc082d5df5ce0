"""The progress of a running batch as text."""

from __future__ import annotations

from typing import Any

import pendulum
import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.waiting.progress import describe_progress

NOW = pendulum.datetime(2026, 1, 1, 12, 0, 0)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"status": "validating"}, "Batch batch_1 is validating."),
        (
            {"status": "validating", "request_counts": {"total": 0, "completed": 0, "failed": 0}},
            "Batch batch_1 is validating.",
        ),
        (
            {
                "status": "in_progress",
                "created_at": NOW.int_timestamp - 3600,
                "in_progress_at": NOW.int_timestamp - 3000,
                "expires_at": NOW.int_timestamp + 82800,
                "request_counts": {"total": 100, "completed": 45, "failed": 5},
            },
            "Batch batch_1 is in_progress, 45 of 100 requests completed, 5 failed (50%), 1 hour old, expected to end "
            "about 2026-01-01 12:50:00 UTC, expires 2026-01-02 11:00:00 UTC.",
        ),
        (
            {"status": "finalizing", "created_at": NOW.int_timestamp - 3599},
            "Batch batch_1 is finalizing, 59 minutes 59 seconds old.",
        ),
        (
            {"status": "finalizing", "created_at": NOW.int_timestamp - 90061},
            "Batch batch_1 is finalizing, 1 day 1 hour 1 minute old.",
        ),
        (
            {
                "status": "in_progress",
                "created_at": NOW.int_timestamp + 86_400,
                "in_progress_at": NOW.int_timestamp + 86_400,
                "request_counts": {"total": 100, "completed": 45, "failed": 5},
            },
            "Batch batch_1 is in_progress, 45 of 100 requests completed, 5 failed (50%), 0 seconds old.",
        ),
        (
            {"status": "in_progress", "request_counts": {"total": 100}},
            "Batch batch_1 is in_progress, 100 requests in all.",
        ),
        (
            {
                "status": "in_progress",
                "in_progress_at": NOW.int_timestamp - 3000,
                "request_counts": {"total": 100, "failed": 5},
            },
            "Batch batch_1 is in_progress, an unknown number of 100 requests completed, 5 failed.",
        ),
    ],
)
def test_progress_is_one_line(fields: dict[str, Any], line: str) -> None:
    assert describe_progress(Batch.from_dict({"id": "batch_1", **fields}), now=NOW) == line
