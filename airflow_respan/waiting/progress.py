"""How far a batch that goes on is, in words; of one that has ended, ``verdict.py`` tells. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import pendulum

from airflow_respan.api.batch import Batch

MAX_EXPECTED_SECONDS = 7 * 24 * 3600.0
"""Seconds from now; nobody believes an expected end that is farther away."""


def describe_progress(batch: Batch, *, now: pendulum.DateTime) -> str:
    """Say in a line how far a batch that goes on is: status, counts, percent, age, expected end.

    :param now: the moment that age and expected end are reckoned from
    """
    counts = batch.request_counts
    parts = [f"Batch {batch.id} is {batch.status}"]
    if counts and counts.total != 0:
        share = f" ({counts.done / counts.total:.0%})" if counts.total else ""
        parts.append(f"{counts}{share}")
    if batch.created_at:
        age = now.timestamp() - batch.created_at.timestamp()
        # Of hours, whole minutes are enough, and are the same words for many batches.
        parts.append(f"{duration_text(age if age < 3600 else age // 60 * 60)} old")
    if end := _expected_end(batch, now=now.timestamp()):
        parts.append(f"expected to end about {_utc_text(end)}")
    if batch.expires_at:
        parts.append(f"expires {_utc_text(batch.expires_at.timestamp())}")
    return ", ".join(parts) + "."


def duration_text(seconds: float) -> str:
    """Say how long that is.

    :param seconds: a duration
    """
    if seconds < 60:
        return f"{max(seconds, 0):.3g} seconds"
    # In two parts, of which there are few: thousands of batches have as many ages.
    hours, rest = divmod(int(seconds), 3600)
    return " ".join(_counted(part) for part in (hours * 3600, rest) if part)


@lru_cache(maxsize=4096)
def _counted(seconds: int) -> str:
    return pendulum.duration(seconds=seconds).in_words()


def _expected_end(batch: Batch, *, now: float) -> float | None:
    """Go on at the pace so far; None where there is none yet."""
    counts = batch.request_counts
    if not batch.meaning.has_pace or not batch.in_progress_at or not counts or not counts.total:
        return None
    share = counts.done / counts.total
    running = now - batch.in_progress_at.timestamp()
    if not 0 < share < 1 or running <= 0:
        return None
    left = running / share - running
    return now + left if left < MAX_EXPECTED_SECONDS else None


def _utc_text(seconds: float) -> str:
    # Thousands of batches may tell how far they are each minute, and pendulum takes several times as long.
    return f"{datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)} UTC"
