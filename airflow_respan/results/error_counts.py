"""The most frequent errors of a batch's rows. No I/O, no Airflow.

Errors with the same code are counted together, with the message of the first one. If the code says no more than the
HTTP status, errors with the same message are counted together. Ids and numbers in messages are ignored, because they
differ from row to row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_respan.results.row_error import RowError

MAX_ERRORS = 10
"""The manifest has at most so many errors."""

MAX_MESSAGE_LENGTH = 200
"""Characters of an error's code or message in the manifest."""

MAX_DISTINCT_ERRORS = 1000
"""So many errors are counted one by one. Further ones are counted together, to limit the memory."""

OTHERS = "others"

_IDS = re.compile(
    r"""
    \b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b               # a UUID
    | \b(?=[0-9a-z]*[0-9])(?=[0-9a-z]*[a-z])[0-9a-f]{12,}\b       # a hash
    | \b[a-z]{1,20}[-_](?=[0-9a-z]*[0-9])[0-9a-z]{8,}\b           # req_011CSHoEeqs5C35K2UUqR7Fy
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WORDS_WITH_DIGITS = re.compile(r"\b\w*\d\w*\b")
_IDS_WITHOUT_DIGITS = re.compile(
    r"\b(?:req|request|trace|chatcmpl|resp|msg|batch|file|call|run|org|proj)[-_][0-9a-z]{12,}\b", re.IGNORECASE
)


@dataclass(kw_only=True, slots=True)
class _ErrorCount:
    code: str
    message: str
    count: int = 0


class ErrorCounts:
    """Counts the errors of failed requests.

    :param redact: removes secrets and control characters from a text of the service
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._counts: dict[tuple[str, str], _ErrorCount] = {}

    def add(self, error: RowError) -> None:
        """Count the error of one request."""
        key = self._key_of(error)
        if key not in self._counts and len(self._counts) >= MAX_DISTINCT_ERRORS:
            key = OTHERS, ""
            error = RowError(code=OTHERS, message="(various errors)")
        if key not in self._counts:
            self._counts[key] = _ErrorCount(code=self._shorten(error.code), message=self._shorten(error.message))
        self._counts[key].count += 1

    def most_frequent(self) -> list[dict[str, Any]]:
        """Return the ten most frequent errors as plain JSON, the most frequent first."""
        counts = sorted(self._counts.values(), key=lambda each: each.count, reverse=True)
        return [{"code": each.code, "message": each.message, "count": each.count} for each in counts[:MAX_ERRORS]]

    def _key_of(self, error: RowError) -> tuple[str, str]:
        """Return what is equal for errors that are counted together."""
        code = self._redact(error.code)
        if error.has_own_code:
            return _IDS.sub("#", code)[:MAX_MESSAGE_LENGTH], ""
        return code if code.isdigit() else blot_ids(code), blot_ids(self._redact(error.message))[:MAX_MESSAGE_LENGTH]

    def _shorten(self, text: str) -> str:
        redacted = self._redact(text)
        return redacted if len(redacted) <= MAX_MESSAGE_LENGTH else f"{redacted[:MAX_MESSAGE_LENGTH]} ..."


def blot_ids(text: str) -> str:
    """Return a message with ``#`` in place of each id and number, so that messages of the same kind are equal."""
    for pattern in (_IDS, _IDS_WITHOUT_DIGITS, _WORDS_WITH_DIGITS):
        text = pattern.sub("#", text)
    return text
