"""The progress of a running batch as text; ``outcome.py`` has the text for a batch that has ended. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pendulum

from airflow_respan.api.batch import Batch

MAX_EXPECTED_SECONDS = 7 * 24 * 3600.0
"""An expected end that is further away is left out, because the estimate is then too rough."""


def describe_progress(batch: Batch, *, now: pendulum.DateTime) -> str:
    """Return the progress of a running batch as a line: status, counts, percent, age, expected end, expiry.

    :param now: age and expected end are counted from this time
    """
    counts = batch.request_counts
    parts = [f"Batch {batch.id} is {batch.status}"]
    if counts and counts.total != 0:
        percent = f" ({counts.done / counts.total:.0%})" if counts.total and counts.completed is not None else ""
        parts.append(f"{counts}{percent}")
    if batch.created_at:
        age = now.timestamp() - batch.created_at.timestamp()
        # For an age of hours, whole minutes are enough.
        parts.append(f"{duration_text(age if age < 3600 else age // 60 * 60)} old")
    if end := _expected_end(batch, now=now.timestamp()):
        parts.append(f"expected to end about {_utc_text(end)}")
    if batch.expires_at:
        parts.append(f"expires {_utc_text(batch.expires_at.timestamp())}")
    return ", ".join(parts) + "."


def progress_key(batch: Batch) -> list[Any]:
    """Return what must change before the progress is logged again: status, whole percents, whether a request failed.

    Not the counts themselves: in a batch of 50,000 requests they change from check to check.

    :return: plain JSON, because it is saved with the arguments of the trigger
    """
    counts = batch.request_counts
    if counts is None or not counts.total:
        return [batch.status, counts.to_dict() if counts else None]
    return [batch.status, counts.total, 100 * counts.done // counts.total, bool(counts.failed)]


def duration_text(seconds: float) -> str:
    """Return a duration as text.

    :param seconds: the duration; less than 0 counts as 0
    """
    if seconds < 60:
        return f"{max(seconds, 0):.3g} seconds"
    return pendulum.duration(seconds=int(seconds)).in_words()


def _expected_end(batch: Batch, *, now: float) -> float | None:
    """Return when the batch ends at its pace so far (Unix seconds), or None if it has no pace yet."""
    counts = batch.request_counts
    if not batch.meaning.has_pace or not batch.in_progress_at or not counts or not counts.total:
        return None
    if counts.completed is None:
        return None
    done_ratio = counts.done / counts.total
    running_seconds = now - batch.in_progress_at.timestamp()
    if not 0 < done_ratio < 1 or running_seconds <= 0:
        return None
    seconds_left = running_seconds / done_ratio - running_seconds
    return now + seconds_left if seconds_left < MAX_EXPECTED_SECONDS else None


def _utc_text(seconds: float) -> str:
    # Not by pendulum, which takes seven times as long: there may be thousands of such lines a minute.
    return f"{datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)} UTC"
