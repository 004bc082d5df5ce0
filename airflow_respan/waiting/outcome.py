"""Whether the outcome of a batch is a success.

One function decides this for every mode, so that the modes cannot differ. No I/O, no Airflow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_respan.api.foreign_text import as_clause, as_sentence
from airflow_respan.api.statuses import TERMINAL_STATUSES, canonical_status

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
    :param is_unknown: whether a batch is not accepted only because its failed requests are not known
    """

    accepted: bool
    message: str
    needs_warning: bool = False
    is_unknown: bool = False


def evaluate_batch(
    batch: Batch,
    *,
    success_statuses: Collection[str] = ("completed",),
    max_failed_ratio: float = 1.0,
) -> Outcome:
    """Evaluate a terminal batch; every mode calls this function, at the first check and when a task is resumed.

    :param batch: a batch that has ended
    :param success_statuses: the terminal statuses that are accepted; add ``expired`` to accept a partial output
    :param max_failed_ratio: the largest part of failed requests that is accepted (ratio 0-1); 0 allows none. Below 1,
        a batch is not accepted if this part is not known. A request that did not complete before the end of the batch
        counts as failed. A batch without a completed request is never accepted.
    :return: whether the batch is accepted, and why
    """
    ratio = _failed_ratio(batch)
    is_unknown = False
    if batch.status not in success_statuses:
        reason = f"only {' or '.join(repr(status) for status in success_statuses)} counts as success"
    elif nothing_completed := _nothing_completed(batch):
        reason = nothing_completed
    elif ratio is not None and ratio > max_failed_ratio:
        verb = "failed" if ratio == _counted_ratio(batch, is_ended=False) else "failed or did not complete"
        reason = f"{ratio:.1%} of the requests {verb}, and at most {max_failed_ratio:.1%} may"
    elif ratio is None and max_failed_ratio < 1:
        is_unknown = True
        reason = (
            f"it is not known how many requests failed, and at most {max_failed_ratio:.1%} may: "
            f"{_why_unknown(batch)}. To accept this batch, set max_failed_ratio to 1.0, and count its failed requests "
            "with RespanBatchResultsOperator"
        )
    else:
        has_failed = ratio or batch.error_file_id or (batch.request_counts and batch.request_counts.failed)
        return Outcome(
            accepted=True,
            message=describe_batch(batch),
            needs_warning=bool(has_failed or not batch.output_file_id),
        )
    # The cause comes first, because Airflow shows only the beginning of a message in its lists.
    error = _first_error(batch)
    cause = f"{error} {reason[0].upper()}{reason[1:]}" if error else reason
    details = "; ".join(filter(None, [_duration(batch), _counts(batch), _files(batch)]))
    message = f"Batch {batch.id} is {batch.status}: {cause}. Details: {details}.{_hint(batch)}"
    return Outcome(accepted=False, message=message, is_unknown=is_unknown)


def parse_success_statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    """Check the ``success_statuses`` of a DAG.

    :param statuses: the statuses, or a single one, in any spelling
    :return: the statuses in the spelling of ``statuses.py``
    :raises ValueError: if there is no status, or one is not terminal
    """
    parsed = tuple(map(canonical_status, (statuses,) if isinstance(statuses, str) else statuses))
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


def is_queue_full(batch: Batch) -> bool:
    """Return whether a batch failed because the provider's queue was full, so that it may be created again later."""
    return any(QUEUE_FULL_CODE in line for line in batch.error_lines())


def describe_batch(batch: Batch) -> str:
    """Return status, counts, duration, files and the first error of a terminal batch, in one or two sentences."""
    parts = [f"Batch {batch.id} is {batch.status}", _duration(batch), f"({_counts(batch)}; {_files(batch)})."]
    if error := _first_error(batch):
        parts.append(f"First error: {error}")
    return " ".join(filter(None, parts))


def _first_error(batch: Batch) -> str | None:
    """Return the first error of a batch as a sentence, with the number of the others."""
    error = next(batch.error_lines(), None)
    if error is None:
        return None
    return f"{as_clause(error)} (and {batch.error_count - 1} more)." if batch.error_count > 1 else as_sentence(error)


def _duration(batch: Batch) -> str:
    if not batch.created_at or not batch.ended_at:
        return ""
    return f"after {(batch.ended_at - batch.created_at).in_words()}"


def _counts(batch: Batch) -> str:
    """Return the counts as text; all zero, as services send them before they read the input, are no counts."""
    counts = batch.request_counts
    return str(counts) if counts and (counts.total or counts.done) else "no request counts"


def _failed_ratio(batch: Batch) -> float | None:
    """Return the failed share of all requests (ratio 0-1), or None if counts and files do not say it."""
    ratio = _counted_ratio(batch, is_ended=True)
    # Some providers count failed requests as completed. Then the error file is the only sign of them.
    return None if batch.error_file_id and not ratio else ratio


def _counted_ratio(batch: Batch, *, is_ended: bool) -> float | None:
    return batch.request_counts.failed_ratio(is_ended=is_ended) if batch.request_counts else None


def _why_unknown(batch: Batch) -> str:
    if batch.request_counts is None:
        return "the service gave no request_counts"
    if batch.error_file_id and not batch.request_counts.failed:
        return "there is an error file, but no failed request in request_counts"
    return "request_counts does not say it"


def _nothing_completed(batch: Batch) -> str | None:
    """Return why a batch has no completed request, or None if it has one, or if nothing is known about this."""
    if batch.output_file_id is None and batch.error_file_id is not None:
        return "every request failed"
    counts = batch.request_counts
    if counts is None or counts.completed:
        return None
    if counts.failed and (counts.completed == 0 or 0 < (counts.total or 0) <= counts.failed):
        return "every request failed"
    has_no_files = batch.meaning.is_complete and batch.output_file_id is None
    if (counts.failed and not counts.total) or (has_no_files and (counts.failed or counts.total)):
        return "no request is known to have completed"
    return None


def _files(batch: Batch) -> str:
    files = {"output": batch.output_file_id, "error": batch.error_file_id}
    return ", ".join(f"{name} file {file_id}" for name, file_id in files.items() if file_id) or "no files"


def _hint(batch: Batch) -> str:
    if is_queue_full(batch):
        return " The provider's queue was full: submit the batch again later."
    if batch.output_file_id:
        return f" Results that were ready, and are billed, are in {batch.output_file_id}."
    if batch.error_file_id:
        return f" The reasons are in {batch.error_file_id}."
    return ""
