"""All rows of a batch together: are they what the batch should have left, and what do they amount to? No I/O."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, NoReturn

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import decode_object, get_custom_id, read_lines
from airflow_respan.results.row import Row, Usage, parse_row

MAX_ERRORS = 10
MAX_EXAMPLES = 5
MAX_MESSAGE_LENGTH = 200
MAX_DISTINCT_ERRORS = 1000
"""Errors that are counted one by one; of those beyond, only the codes are."""

_MAX_KEPT_ID_LENGTH = 64

Read = Callable[[int], bytes]
IdKey = str | bytes


def _key(custom_id: str) -> IdKey:
    """Make what is remembered of an id: of a long one its digest, as there may be 50,000 of them."""
    if len(custom_id) <= _MAX_KEPT_ID_LENGTH:
        return custom_id
    return hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_requested_ids(read: Read, source: str) -> dict[IdKey, int]:
    """Read the ids of a batch's input, and the lines that they are in.

    :param read: gives the next bytes of the input
    :param source: its name, for errors
    :raises RespanResultsError: if it is no input of a batch
    """
    found: dict[IdKey, int] = {}
    try:
        for number, line in read_lines(read):
            key = _requested(number, line)
            if (before := found.setdefault(key, number)) != number:
                _refuse(f"line {number} has the custom_id of line {before}")
    except ValueError as reason:
        raise RespanResultsError(
            f"The results cannot be compared with the input {source}: {reason}. Name the file that the batch was "
            "made of, or none."
        ) from None
    return found


def _requested(number: int, line: bytes) -> IdKey:
    try:
        return _key(get_custom_id(decode_object(line)))
    except ValueError as reason:
        _refuse(f"line {number}: {reason}")


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)


class RowSummary:
    """Counts the rows of a batch and remembers what is wrong with them.

    :param redact: makes foreign words fit to be shown; redacts them
    :param requested: the ids of the input, see :func:`read_requested_ids`; None if they are not known
    """

    def __init__(self, *, redact: Callable[[str], str], requested: Mapping[IdKey, int] | None = None) -> None:
        self.succeeded = 0
        self.failed = 0
        self.problems: list[str] = []
        self.problem_count = 0
        self.unexpected: list[str] = []
        self.unexpected_count = 0
        self._redact = redact
        self._requested = requested
        self._seen: dict[IdKey, tuple[str, int]] = {}
        self._usage: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()

    @property
    def rows(self) -> int:
        """Requests that have a row."""
        return self.succeeded + self.failed

    def read(self, name: str, read: Read) -> Iterator[Row]:
        """Count the rows of a file while giving them.

        :param name: what the file is called in messages: ``output file 'file-1'``
        :param read: gives the next bytes of it
        """
        try:
            for number, line in read_lines(read):
                if row := self._row(name, number, line):
                    yield row
        except ValueError as reason:
            self._add_problem(f"in {name}, {reason}")

    def usage(self) -> dict[str, int]:
        """Give the sums of tokens over ``rows`` rows, which are those that say what they took."""
        return {"rows": self._usage["rows"], **{name: self._usage[name] for name in asdict(Usage())}}

    def errors(self) -> list[dict[str, Any]]:
        """Give the most frequent errors, the most frequent first."""
        frequent = self._errors.most_common(MAX_ERRORS)
        return [{"code": code, "message": message, "count": count} for (code, message), count in frequent]

    def missing(self, batch: Batch | None) -> int | None:
        """Say how many requests have no row; None if nobody knows how many there were."""
        if self._requested is not None:
            return len(self._requested) - (self.rows - self.unexpected_count)
        counts = batch.request_counts if batch else None
        if counts is None:
            return None
        missing = max(counts.total or 0, counts.done) - self.rows
        return missing if missing >= 0 else None  # counts that are too low know nothing

    def missing_lines(self) -> str:
        """Name the first few requests without a row, by their lines in the input."""
        lines = [line for key, line in (self._requested or {}).items() if key not in self._seen]
        more = ", ..." if len(lines) > MAX_EXAMPLES else ""
        return f" (lines {', '.join(map(str, lines[:MAX_EXAMPLES]))}{more} of the input)" if lines else ""

    def _row(self, name: str, number: int, line: bytes) -> Row | None:
        where = f"line {number} of {name}"
        try:
            row = parse_row(decode_object(line, unique_keys=True))
        except ValueError as reason:
            self._add_problem(f"{where}: {reason}")
            return None
        key = _key(row.custom_id)
        if key in self._seen:
            before, line_before = self._seen[key]
            self._add_problem(f"{where} has the custom_id of line {line_before} of {before}")
            return None
        self._seen[key] = (name, number)
        if self._requested is not None and key not in self._requested:
            self.unexpected_count += 1
            self.unexpected += [where][: MAX_EXAMPLES - len(self.unexpected)]
        self._count(row)
        return row

    def _count(self, row: Row) -> None:
        if row.usage:
            self._usage.update(rows=1, **asdict(row.usage))
        if row.error is None:
            self.succeeded += 1
            return
        self.failed += 1
        error = self.shorten(row.error.code), self.shorten(row.error.message)
        if error not in self._errors and len(self._errors) >= MAX_DISTINCT_ERRORS:
            error = error[0] if len(self._errors) < 2 * MAX_DISTINCT_ERRORS else "others", "(various messages)"
        self._errors[error] += 1

    def shorten(self, text: str) -> str:
        """Make foreign words fit for a manifest."""
        redact = self._redact(text)
        return redact if len(redact) <= MAX_MESSAGE_LENGTH else f"{redact[:MAX_MESSAGE_LENGTH]} ..."

    def _add_problem(self, text: str) -> None:
        self.problem_count += 1
        self.problems += [text][: MAX_EXAMPLES - len(self.problems)]


def check_complete(tally: RowSummary, batch: Batch | None, *, on_missing: str) -> list[str]:
    """Decide whether the rows are fit to land.

    :param tally: all rows
    :param batch: the batch that left them, or None if only its files are known
    :param on_missing: what to do about requests without a row: ``fail``, ``warn``, or ``by_status``, which warns
        only if the batch did not complete, and has a row for each request that it counts as completed
    :return: what is worth a warning
    :raises RespanResultsError: if they are not
    """
    reasons: list[str] = []
    warnings: list[str] = []
    if tally.problem_count:
        more = (
            f"; and {tally.problem_count - len(tally.problems)} more"
            if tally.problem_count > len(tally.problems)
            else ""
        )
        reasons.append(f"{'; '.join(tally.problems)}{more}")
    if tally.unexpected_count:
        reasons.append(
            f"{tally.unexpected_count} rows answer requests that are not in the input: {', '.join(tally.unexpected)}"
        )
    counts = batch.request_counts if batch else None
    is_partial = batch is not None and not batch.meaning.is_complete
    if (missing := tally.missing(batch) or 0) > 0:
        text = f"{missing} of {tally.rows + missing} requests have no row{tally.missing_lines()}"
        lost = counts is not None and tally.rows < (counts.completed or 0)
        may = on_missing == "warn" or (on_missing == "by_status" and is_partial and not lost)
        (warnings if may else reasons).append(text)
    if counts is not None:
        said = {"completed": tally.succeeded, "failed": tally.failed}
        told = counts.to_dict()
        if any(told.get(name, count) != count for name, count in said.items()):
            warnings.append(f"The service counts {counts}, but {tally.succeeded} rows succeeded, {tally.failed} failed")
    if reasons:
        raise RespanResultsError(
            f"The results of {batch_label(batch)} are not what it should have left, and nothing of them was landed: "
            f"{'. '.join(reasons)}."
        )
    return warnings


def batch_label(batch: Batch | None) -> str:
    """Name a batch, whether it is known or not."""
    return f"batch {batch.id} ({batch.status})" if batch else "the batch"
