"""Whether the outcome of a batch is a success.

One function decides this for every mode, so that the modes cannot differ. No I/O, no Airflow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_respan.api.statuses import TERMINAL_STATUSES

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch

QUEUE_FULL_CODE = "token_limit_exceeded"
"""The code of the error that says that the provider's queue was full (``docs/respan-api.md``)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Whether a terminal batch is accepted as a success, and why.

    :param accepted: whether the task succeeds
    :param message: status, counts and files of the batch, and why it is not accepted; for the exception or the log
    :param needs_warning: whether an accepted batch has failed requests, an error file, or no output file
    """

    accepted: bool
    message: str
    needs_warning: bool = False


def evaluate_batch(
    batch: Batch,
    *,
    success_statuses: Collection[str] = ("completed",),
    max_failed_ratio: float = 1.0,
) -> Outcome:
    """Evaluate a terminal batch; every mode calls this function, at the first check and when a task is resumed.

    :param batch: a batch that has ended
    :param success_statuses: the terminal statuses that are accepted; add ``expired`` to accept a partial output
    :param max_failed_ratio: the largest part of failed requests that is accepted (ratio 0-1); 0 allows none.
        A batch whose requests all failed is never accepted.
    :return: whether the batch is accepted, and why
    """
    counts = batch.request_counts
    ratio = counts.failed_ratio if counts else None
    if batch.status not in success_statuses:
        reason = f"only {' or '.join(repr(status) for status in success_statuses)} counts as success"
    elif _all_failed(batch):
        reason = "every request failed"
    elif ratio is None and batch.error_file_id and max_failed_ratio == 0:
        reason = "some requests failed (there is an error file) and none may"
    elif ratio is not None and ratio > max_failed_ratio:
        reason = f"{ratio:.1%} of the requests failed and at most {max_failed_ratio:.1%} may"
    else:
        failed = counts.failed if counts else None
        return Outcome(
            accepted=True,
            message=describe_batch(batch),
            needs_warning=bool(failed or batch.error_file_id or not batch.output_file_id),
        )
    return Outcome(accepted=False, message=f"{describe_batch(batch)} The wait fails because {reason}.{_hint(batch)}")


def parse_success_statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    """Check the ``success_statuses`` of a DAG.

    :param statuses: the statuses, or a single one
    :raises ValueError: if there is no status, or one is not terminal
    """
    parsed = (statuses,) if isinstance(statuses, str) else tuple(statuses)
    if not parsed or not TERMINAL_STATUSES.issuperset(parsed):
        raise ValueError(f"success_statuses is {statuses!r}; choose among {', '.join(sorted(TERMINAL_STATUSES))}")
    return parsed


def parse_failed_ratio(ratio: float) -> float:
    """Check the ``max_failed_ratio`` of a DAG.

    :raises ValueError: if it is not a ratio from 0 to 1
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"max_failed_ratio is {ratio!r}; it must be a ratio from 0 to 1")
    return ratio


def describe_batch(batch: Batch) -> str:
    """Return status, counts, duration, files and the first error of a terminal batch, in one or two sentences."""
    parts = [f"Batch {batch.id} is {batch.status}"]
    if batch.created_at and batch.ended_at:
        parts.append(f"after {(batch.ended_at - batch.created_at).in_words()}")
    parts.append(f"({batch.request_counts or 'no request counts'}; {_files(batch)}).")
    if first_error := next(batch.error_lines(), None):
        more = f" (and {batch.error_count - 1} more)" if batch.error_count > 1 else ""
        parts.append(f"First error: {first_error:.500}{more}.")
    return " ".join(parts)


def _all_failed(batch: Batch) -> bool:
    counts = batch.request_counts
    none_completed = counts is not None and counts.completed == 0 and bool(counts.failed)
    return none_completed or (batch.output_file_id is None and batch.error_file_id is not None)


def _files(batch: Batch) -> str:
    files = {"output": batch.output_file_id, "error": batch.error_file_id}
    return ", ".join(f"{name} file {file_id}" for name, file_id in files.items() if file_id) or "no files"


def _hint(batch: Batch) -> str:
    if any(QUEUE_FULL_CODE in line for line in batch.error_lines()):
        return " The provider's queue was full: submit the batch again later."
    if batch.output_file_id:
        return f" Results that were ready, and are billed, are in {batch.output_file_id}."
    if batch.error_file_id:
        return f" The reasons are in {batch.error_file_id}."
    return ""
