"""The outcome of each request of a landed part: it is answered, has failed, or is to be asked again."""

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
    """Whether a request is to be asked again."""

    ANSWERED = "answered"
    FAILED = "failed"
    """The request has no answer, and would fail again."""
    UNSETTLED = "unsettled"
    """The request has no answer, but may get one if it is asked again."""


@dataclass(frozen=True, kw_only=True)
class RowOutcome:
    """One row of a landed part.

    :param line: the row as it came
    :param row: the row as it was read; if its answer is of another type, with this error
    :param outcome: the outcome of its request
    :param is_misfit: whether the request succeeded, but its answer is of another type than the task demands
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

    :param check_answer: returns why an answer is not of the type that the task demands, or None if it is
    :param retry_invalid: whether to ask again if an answer is not of the type; never if the model has refused to answer
    """

    check_answer: CheckAnswer | None = None
    retry_invalid: bool = False

    def decide(self, row: Row) -> tuple[Row, Outcome]:
        """Return a row and its outcome; if the answer is of another type, the row has this error."""
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
