"""The problems of an input as one error: each different problem once, with the first requests that have it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from airflow_respan.submission.request_check import example_request

MAX_PROBLEMS = 10
"""The error names so many different problems; the others are only counted."""

MAX_PLACES = 3
"""The error names so many requests with the same problem; the others are only counted."""

Unit = Literal["line", "request"]
"""What the numbers in an error count: the lines of a file, or the requests of a list."""

_ADVICE: dict[Unit | None, str] = {
    "line": "Each line must be the JSON of a request like",
    "request": "Each request must be a dict like",
    None: "A request looks like",
}


class InputProblems:
    """The problems that were found so far; true if there are any.

    :param endpoint: the endpoint of the batch, for the example of a right request
    """

    def __init__(self, endpoint: str) -> None:
        self.unit: Unit | None = None
        """None before the first request."""
        self._endpoint = endpoint
        self._places: dict[str, _Places] = {}
        self._last: str | None = None
        self._unnamed = 0

    def __bool__(self) -> bool:
        return bool(self._places or self._last)

    def add(self, number: int, reason: str) -> None:
        """Add a problem of a request.

        :param number: the number of the request, which counts from 1
        :param reason: completes "line 3: ..."
        """
        if reason in self._places or len(self._places) < MAX_PROBLEMS:
            self._places.setdefault(reason, _Places()).add(number)
        else:
            self._unnamed += 1

    def add_last(self, problem: str) -> None:
        """Add a problem that ends the check; the error names it even after ten other problems."""
        self._last = f"{problem}; the rest was not checked"

    def message(self) -> str:
        """Return the text of the error; if there is no problem, there was no request."""
        texts = [f"{places.text(self.unit)}: {reason}" for reason, places in self._places.items()]
        if self._last:
            texts.append(self._last)
        if self._unnamed:
            texts.append(f"and {self._unnamed} more problems")
        return (
            f"Invalid input: {'; '.join(texts) or 'there is no request in it'}. Nothing was uploaded or created. "
            f"{_ADVICE[self.unit]} {example_request(self._endpoint)}"
        )


@dataclass
class _Places:
    """The requests that have the same problem."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.first) < MAX_PLACES:
            self.first.append(number)

    def text(self, unit: Unit | None) -> str:
        """Return ``line 3``, ``lines 3 and 4``, or ``lines 3, 4, 5 and 17 more``."""
        more = [f"{self.count - MAX_PLACES} more"] if self.count > MAX_PLACES else []
        *others, last = [*map(str, self.first), *more]
        return f"{unit}s {', '.join(others)} and {last}" if others else f"{unit} {last}"
