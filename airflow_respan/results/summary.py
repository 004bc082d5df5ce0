"""The summary of all rows of a batch: counts, usage, errors, and whether the rows are complete. No I/O, no Airflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import decode_object, read_lines
from airflow_respan.results.error_counts import ErrorCounts
from airflow_respan.results.requested_ids import IdKey, Read, make_id_key
from airflow_respan.results.row import Row, Usage, parse_row

MAX_EXAMPLES = 5
"""A message names at most so many rows or lines."""

ABSENT_ADVICE = (
    "Clear the task to download the files again. If the rows are still missing, ask Respan's support for them before "
    "the files expire. To write the rows that there are, set on_missing='warn'."
)


class RowSummary:
    """The counts of a batch's rows, and what is wrong with the rows.

    :param redact: removes secrets and control characters from a text of the service
    :param requested: the ids of the input, see :func:`~airflow_respan.results.requested_ids.read_requested_ids`; None
        if the input is not known
    """

    def __init__(self, *, redact: Callable[[str], str], requested: Mapping[IdKey, int] | None = None) -> None:
        self.succeeded = 0
        self.failed = 0
        self.answered = 0
        """Rows that the service may count as completed, also if their answers are not whole."""
        self.problems: list[str] = []
        self.problem_count = 0
        self.unexpected: list[str] = []
        self.unexpected_count = 0
        self._requested = requested
        self._rows_by_id: dict[IdKey, tuple[str, int]] = {}
        self._usage: Counter[str] = Counter()
        self._errors = ErrorCounts(redact)

    @property
    def rows(self) -> int:
        """The number of requests that have a row."""
        return self.succeeded + self.failed

    def read(self, name: str, read: Read) -> Iterator[Row]:
        """Count the rows of a file, and yield each of them that can be parsed.

        :param name: the file in messages: ``file 'file-1'``
        :param read: returns the next bytes of the file
        """
        try:
            for number, line in read_lines(read):
                if row := self._read_row(name, number, line):
                    yield row
        except ValueError as reason:
            self._add_problem(f"in {name}, {reason}")

    def usage(self) -> dict[str, int]:
        """Return the sums of the tokens; ``rows`` is the number of rows that report tokens."""
        return {"rows": self._usage["rows"], **{name: self._usage[name] for name in asdict(Usage())}}

    def errors(self) -> list[dict[str, Any]]:
        """Return the ten most frequent errors, the most frequent first."""
        return self._errors.most_frequent()

    def missing(self, batch: Batch | None) -> int | None:
        """Return how many requests have no row; None if the number of requests is not known.

        :param batch: its counts are used if the input is not known
        """
        if self._requested is not None:
            return len(self._requested) - (self.rows - self.unexpected_count)
        counts = batch.request_counts if batch else None
        if counts is None:
            return None
        missing = max(counts.total or 0, counts.done) - self.rows
        return missing if missing >= 0 else None  # the counts are too low, so they are wrong

    def missing_lines(self) -> str:
        """Return a text with the lines of the first requests without a row, or nothing if the input is not known."""
        lines = [line for key, line in (self._requested or {}).items() if key not in self._rows_by_id]
        more = ", ..." if len(lines) > MAX_EXAMPLES else ""
        return f" (lines {', '.join(map(str, lines[:MAX_EXAMPLES]))}{more} of the input)" if lines else ""

    def _read_row(self, name: str, number: int, line: bytes) -> Row | None:
        place = f"line {number} of {name}"
        try:
            row = parse_row(decode_object(line, unique_keys=True))
        except ValueError as reason:
            self._add_problem(f"{place}: {reason}")
            return None
        key = make_id_key(row.custom_id)
        if key in self._rows_by_id:
            first_name, first_number = self._rows_by_id[key]
            self._add_problem(f"{place} has the custom_id of line {first_number} of {first_name}")
            return None
        self._rows_by_id[key] = (name, number)
        if self._requested is not None and key not in self._requested:
            self.unexpected_count += 1
            self.unexpected += [place][: MAX_EXAMPLES - len(self.unexpected)]
        self._count(row)
        return row

    def _count(self, row: Row) -> None:
        self.answered += row.answered
        if row.usage:
            self._usage.update(rows=1, **asdict(row.usage))
        if row.error is None:
            self.succeeded += 1
        else:
            self.failed += 1
            self._errors.add(row.error)

    def _add_problem(self, text: str) -> None:
        self.problem_count += 1
        self.problems += [text][: MAX_EXAMPLES - len(self.problems)]


def check_complete(summary: RowSummary, batch: Batch | None, *, on_missing: str) -> list[str]:
    """Check that the rows of a batch are complete and valid.

    :param summary: all rows
    :param batch: the batch, or None if only its files are known
    :param on_missing: what requests without a row do: ``fail``; ``warn``; or ``by_status``, which only warns if the
        batch did not complete, and at least as many rows have an answer as its counts have completed requests
    :return: warnings, if the rows may be written
    :raises RespanResultsError: if the rows must not be written
    """
    reasons: list[str] = []
    warnings: list[str] = []
    if summary.problem_count:
        unnamed = summary.problem_count - len(summary.problems)
        reasons.append("; ".join(summary.problems) + (f"; and {unnamed} more" if unnamed else ""))
    if summary.unexpected_count:
        places = ", ".join(summary.unexpected)
        reasons.append(f"{summary.unexpected_count} rows are of requests that are not in the input: {places}")
    counts = batch.request_counts if batch else None
    is_complete = batch is not None and batch.meaning.is_complete
    missing = summary.missing(batch)
    lost = (counts.completed or 0) - summary.answered if counts else 0
    if is_complete and missing == 0:
        lost = 0  # every request has a row, so the service counts otherwise, but nothing is lost
    is_partial = batch is not None and not is_complete
    is_allowed = on_missing == "warn" or (on_missing == "by_status" and is_partial and lost <= 0)
    absent: list[str] = []
    if missing and missing > 0:
        absent.append(f"{missing} of {summary.rows + missing} requests have no row{summary.missing_lines()}")
    if lost > 0 and not is_allowed:  # if it is allowed, the warning about the counts says it
        absent.append(
            f"The service counts {summary.answered + lost} completed requests, but only {summary.answered} rows "
            "have an answer, so completed answers have no row"
        )
    (warnings if is_allowed else reasons).extend(absent)
    if counts is not None:
        service_counts = counts.to_dict()
        row_counts = {"completed": summary.succeeded, "failed": summary.failed}
        if any(service_counts.get(name, count) != count for name, count in row_counts.items()):
            warnings.append(
                f"The service counts {counts}, but {summary.succeeded} rows succeeded, {summary.failed} failed"
            )
    if reasons:
        raise RespanResultsError(
            f"The results of {batch_label(batch)} are incomplete or wrong, so nothing was written: "
            f"{'. '.join(reasons)}." + (f" {ABSENT_ADVICE}" if absent and not is_allowed else "")
        )
    return warnings


def batch_label(batch: Batch | None) -> str:
    """Return id and status of a batch for a message, or "the batch" if it is not known."""
    return f"batch {batch.id} ({batch.status})" if batch else "the batch"
