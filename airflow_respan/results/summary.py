"""The summary of all rows of a batch: counts, usage, errors, and lines that are no usable rows. No Airflow.

An unusual line that can be read counts as a row, with a warning. Whether the rows may be written
is decided in ``completeness.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from airflow_respan.api.batch import Batch
from airflow_respan.api.service_errors import ServiceError, read_error
from airflow_respan.jsonl import Line
from airflow_respan.results.bad_rows import DUPLICATE, MAX_EXAMPLES, NOT_REQUESTED, BadRows, Occurrences
from airflow_respan.results.downloaded_file import DownloadedFile
from airflow_respan.results.error_counts import ErrorCounts
from airflow_respan.results.lenient_json import decode_leniently
from airflow_respan.results.requested_ids import IdKey, RequestedIds, make_id_key
from airflow_respan.results.row import Row, Usage, read_row


class _FirstRow(NamedTuple):
    """Where the first row with an id is."""

    file: DownloadedFile
    number: int
    start: int


class RowSummary:
    """The counts of a batch's rows, and what is wrong with the rows.

    :param redact: removes secrets and control characters from a text of the service
    :param requested: the ids of the input, see :func:`~airflow_respan.results.requested_ids.read_requested_ids`; None
        if the input is not known
    """

    def __init__(self, *, redact: Callable[[str], str], requested: RequestedIds | None = None) -> None:
        self.succeeded = 0
        self.failed = 0
        self.answered = 0
        """Rows that the service may count as completed, also if their answers are not whole."""
        self.bad_rows = BadRows()
        self.requested = requested
        self._redact = redact
        self._rows_by_id: dict[IdKey, _FirstRow] = {}
        self._usage: Counter[str] = Counter()
        self._errors = ErrorCounts(redact)
        self._unusual: dict[str, Occurrences] = {}

    @property
    def rows(self) -> int:
        """The number of requests that have a row."""
        return self.succeeded + self.failed

    def read(self, file: DownloadedFile) -> Iterator[Row]:
        """Count the rows of a file, and yield each of them that can be used, once.

        :param file: the file, which learns from this which of its lines are no usable rows
        """
        for line in file.lines():
            bad_before = self.bad_rows.count
            row = self._read_row(file, line)
            file.record(line, is_bad=self.bad_rows.count > bad_before)
            if row:
                yield row

    def usage(self) -> dict[str, int]:
        """Return the sums of the tokens; ``rows`` is the number of rows that report tokens."""
        return {"rows": self._usage["rows"], **{name: self._usage[name] for name in asdict(Usage())}}

    def errors(self) -> list[dict[str, Any]]:
        """Return the ten most frequent errors, the most frequent first."""
        return self._errors.most_frequent()

    def unusual(self) -> list[str]:
        """Return a warning for each kind of unusual row."""
        return [f"{found.count} rows have {kind} (first: {found.first})" for kind, found in self._unusual.items()]

    def missing(self, batch: Batch | None) -> int | None:
        """Return how many requests have no row; None if the number of requests is not known.

        A line whose id is not known counts as the row of a request.

        :param batch: its counts are used if the input is not known
        """
        rows = self.rows + self.bad_rows.without_id_count
        if self.requested is not None:
            return max(0, len(self.requested.lines) - rows)
        counts = batch.request_counts if batch else None
        if counts is None:
            return None
        missing = max(counts.total or 0, counts.done) - rows
        # If the counts are too low, they are wrong. But a line whose id is not known may be of no request.
        return missing if missing >= 0 else 0 if missing + self.bad_rows.without_id_count >= 0 else None

    def missing_lines(self) -> str:
        """Return a text with the lines of the first requests without a row, or nothing if they are not known."""
        if self.requested is None or self.bad_rows.without_id_count:
            return ""
        lines = [line for key, line in self.requested.lines.items() if key not in self._rows_by_id]
        more = ", ..." if len(lines) > MAX_EXAMPLES else ""
        name = "line" if len(lines) == 1 else "lines"
        return f" ({name} {', '.join(map(str, lines[:MAX_EXAMPLES]))}{more} of the input)" if lines else ""

    def _read_row(self, file: DownloadedFile, line: Line) -> Row | None:
        place = f"line {line.number} of {file.label}"
        try:
            row, data, unusual = read_row(line.content)
        except ValueError as reason:
            self._add_unreadable(place, str(reason), line)
            return None
        key = make_id_key(row.custom_id)
        if first := self._rows_by_id.get(key):
            self._add_repeated(place, first, line, data)
            return None
        if self.requested is not None and key not in self.requested.lines:
            self.bad_rows.add(place, NOT_REQUESTED, f"{place} has {NOT_REQUESTED}", has_id=True)
            return None
        self._rows_by_id[key] = _FirstRow(file, line.number, line.start)
        for kind in unusual:
            self._add_unusual(kind, place)
        self._count(row)
        return row

    def _add_unreadable(self, place: str, reason: str, line: Line) -> None:
        kind = reason.partition(" (")[0]  # without the details, which differ from line to line
        error = _find_error(line)
        details = f", but the error {self._redact(str(error))!r}" if error else ""
        self.bad_rows.add(place, kind, f"{place}: {reason}{details}", has_id=False)

    def _add_repeated(self, place: str, first: _FirstRow, line: Line, data: dict[str, Any]) -> None:
        if _is_same_row(first.file.line_at(first.start), line, data):
            self._add_unusual("the content of an earlier row, and count once", place)
            return
        problem = f"{place} has the custom_id of line {first.number} of {first.file.label}"
        self.bad_rows.add(place, DUPLICATE, problem, has_id=True)

    def _add_unusual(self, kind: str, place: str) -> None:
        self._unusual.setdefault(kind, Occurrences(count=0, first=place)).count += 1

    def _count(self, row: Row) -> None:
        self.answered += row.answered
        if row.usage:
            self._usage.update(rows=1, **asdict(row.usage))
        if row.error is None:
            self.succeeded += 1
        else:
            self.failed += 1
            self._errors.add(row.error)


def _find_error(line: Line) -> ServiceError | None:
    """Return the error in a line that has no id: some services end a file with it if they cannot complete it."""
    try:
        data, _unusual = decode_leniently(line.content or b"")
    except ValueError:
        return None
    return next(filter(None, (read_error(data.get(name)) for name in ("error", "errors", "detail"))), None)


def _is_same_row(first: bytes, line: Line, data: dict[str, Any]) -> bool:
    """Return whether a line has the content of an earlier one, perhaps in another spelling."""
    if line.content is not None and first.strip() == line.content.strip():
        return True
    try:
        return decode_leniently(first)[0] == data
    except (ValueError, RecursionError):
        return False
