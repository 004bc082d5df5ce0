"""What became of the requests of a landed part: answered, failed for good, or to be asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from airflow_respan.jsonl import split_lines
from airflow_respan.results.folder import Folder
from airflow_respan.results.output_reader import INVALID_OUTPUT
from airflow_respan.results.requested_ids import IdKey, make_id_key
from airflow_respan.results.row import Row, RowError, read_row
from airflow_respan.results.temporary_errors import is_temporary
from airflow_respan.rounds.folder import landed_files
from airflow_respan.storage import open_for_reading

CheckAnswer = Callable[[Row], RowError | None]


class Outcome(Enum):
    """What became of a request."""

    ANSWERED = "answered"
    FAILED = "failed"
    """It would fail again."""
    UNSETTLED = "unsettled"
    """It may succeed if it is asked again."""


@dataclass(frozen=True, kw_only=True)
class RowOutcome:
    """One row of a landed part.

    :param line: the row as it came
    :param row: the row as it was read, with the error of an answer that does not fit
    :param outcome: what became of its request
    :param is_misfit: whether the request succeeded, and its answer does not fit
    """

    line: bytes
    row: Row
    outcome: Outcome
    is_misfit: bool

    @property
    def key(self) -> IdKey:
        """The id of the request, as a key."""
        return make_id_key(self.row.custom_id)


@dataclass(frozen=True, kw_only=True)
class OutcomeRules:
    """How the outcome of a request is decided.

    :param check_answer: returns why an answer does not fit, or None if it fits
    :param retry_invalid: whether to ask again if an answer is not of the type; after a refusal of the model, never
    """

    check_answer: CheckAnswer | None = None
    retry_invalid: bool = False

    def decide(self, row: Row) -> tuple[Row, Outcome]:
        """Return the outcome of a row, and the row with the error of an answer that does not fit."""
        if row.error is not None:
            return row, Outcome.UNSETTLED if is_temporary(row) else Outcome.FAILED
        if self.check_answer is None or (misfit := self.check_answer(row)) is None:
            return row, Outcome.ANSWERED
        may_fit = self.retry_invalid and misfit.code == INVALID_OUTPUT
        return replace(row, error=misfit), Outcome.UNSETTLED if may_fit else Outcome.FAILED

    def read(self, manifest: dict[str, Any], folder: Folder) -> Iterator[RowOutcome]:
        """Yield the rows of a landed part, in constant memory; a request has one row.

        :param manifest: the manifest of the part
        :param folder: the folder of the part
        :raises RespanStorageError: if the rows cannot be read
        """
        seen: set[IdKey] = set()
        for uri in landed_files(manifest, folder):
            with open_for_reading(uri) as file:
                for line in split_lines(file.read):
                    try:
                        parsed = read_row(line.content).row
                    except ValueError:
                        continue  # the landing has counted it, and its request has no row
                    row, outcome = self.decide(parsed)
                    is_misfit = parsed.error is None and row.error is not None
                    found = RowOutcome(line=line.content or b"", row=row, outcome=outcome, is_misfit=is_misfit)
                    if found.key not in seen:
                        seen.add(found.key)
                        yield found
