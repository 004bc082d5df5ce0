"""Whether the rows of a batch may be written: they are complete and usable, or the options allow it. No I/O."""

from __future__ import annotations

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanResultsError
from airflow_respan.landing_options import OnBadRows, OnMissing
from airflow_respan.results.summary import RowSummary

AGAIN_ADVICE = "Clear the task to download the files again."
ABSENT_ADVICE = (
    "If the rows are still missing, ask Respan's support for them before the files expire. To write the rows that "
    "there are, set on_missing='warn'."
)
BAD_ROWS_ADVICE = (
    "If these lines are still the same, set on_bad_rows='drop' to write the other rows, and these lines into "
    "rejected.jsonl."
)


class RowsMissingError(RespanResultsError):
    """Requests have no row, and nothing else is wrong."""


def check_complete(
    summary: RowSummary, batch: Batch | None, *, on_missing: OnMissing, on_bad_rows: OnBadRows = "fail"
) -> list[str]:
    """Check that the rows of a batch are complete and usable.

    :param summary: all rows
    :param batch: the batch, or None if only its files are known
    :param on_missing: what to do if requests have no row
    :param on_bad_rows: what to do if lines are no usable rows; if all lines are bad, nothing may be written
    :return: warnings, if the rows may be written
    :raises RespanResultsError: if the rows must not be written
    """
    warnings = [*summary.unusual(), *_warn_of_input(summary)]
    wrong: list[str] = []
    advice: list[str] = []
    bad_rows = summary.bad_rows
    if bad_rows.count and summary.rows and on_bad_rows != "fail":
        place = "also in rejected.jsonl" if on_bad_rows == "warn" else "in rejected.jsonl only"
        lines = "line is no usable row, and is" if bad_rows.count == 1 else "lines are no usable rows, and are"
        warnings.append(f"{bad_rows.count} {lines} {place}: {bad_rows.message()}")
    elif bad_rows.count:
        wrong.append(bad_rows.message())
        advice += [BAD_ROWS_ADVICE] if summary.rows else []
    absent, is_allowed = _find_absent(summary, batch, on_missing=on_missing)
    if absent and not is_allowed:
        advice.append(ABSENT_ADVICE)
    elif absent:
        warnings += absent
        absent = []
    if wrong or absent:
        error_class = RespanResultsError if wrong else RowsMissingError
        cause = ". ".join(wrong + absent)
        raise error_class(
            f"{cause[:1].upper()}{cause[1:]}. So nothing was written of the results of {batch_label(batch)}. "
            f"{' '.join([AGAIN_ADVICE, *advice])}"
        )
    return warnings + _warn_of_counts(summary, batch)


def batch_label(batch: Batch | None) -> str:
    """Return id and status of a batch for a message, or "the batch" if it is not known."""
    return f"batch {batch.id} ({batch.status})" if batch else "the batch"


def _find_absent(summary: RowSummary, batch: Batch | None, *, on_missing: OnMissing) -> tuple[list[str], bool]:
    """Return what is absent, and whether that is allowed."""
    counts = batch.request_counts if batch else None
    is_complete = batch is not None and batch.meaning.is_complete
    missing = summary.missing(batch)
    answered = summary.answered + summary.bad_rows.without_id_count  # each of these lines may be an answer
    lost = (counts.completed or 0) - answered if counts else 0
    if is_complete and missing == 0:
        lost = 0  # every request has a row, so the service counts otherwise, but nothing is lost
    is_partial = batch is not None and not is_complete
    is_allowed = on_missing == "warn" or (on_missing == "by_status" and is_partial and lost <= 0)
    absent: list[str] = []
    if missing and missing > 0:
        absent.append(f"{missing} of {summary.rows + missing} requests have no row{summary.missing_lines()}")
    if lost > 0 and not is_allowed:  # if it is allowed, the warning about the counts says it
        absent.append(
            f"The service counts {answered + lost} completed requests, but only {answered} rows "
            "have an answer, so completed answers have no row"
        )
    return absent, is_allowed


def _warn_of_input(summary: RowSummary) -> list[str]:
    repeated = summary.requested.repeated_count if summary.requested else 0
    return [f"{repeated} requests of the input have the custom_id of another one"] if repeated else []


def _warn_of_counts(summary: RowSummary, batch: Batch | None) -> list[str]:
    counts = batch.request_counts if batch else None
    if counts is None:
        return []
    service_counts = counts.to_dict()
    row_counts = {"completed": summary.succeeded, "failed": summary.failed}
    if all(service_counts.get(name, count) == count for name, count in row_counts.items()):
        return []
    return [f"The service counts {counts}, but {summary.succeeded} rows succeeded, {summary.failed} failed"]
