"""The lines of results that are no usable rows: how many, and why. No I/O, no Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_EXAMPLES = 5
"""A message names at most so many rows or lines."""

DUPLICATE = "the custom_id of another row"
NOT_REQUESTED = "a custom_id that is not in the input"


@dataclass(kw_only=True, slots=True)
class Occurrences:
    """How often something was found.

    :param count: the number of lines
    :param first: the first line: ``line 3 of file 'file-1'``
    """

    count: int
    first: str


class BadRows:
    """Counts the lines that are no usable rows."""

    def __init__(self) -> None:
        self.count = 0
        self.without_id_count = 0
        """Lines whose ids are not known. Each may be the row of a request that seems to have none."""
        self.problems: list[str] = []
        """The first problems, for a message. They quote nothing of a line, which may be confidential."""
        self._reasons: dict[str, Occurrences] = {}

    def add(self, place: str, reason: str, problem: str, *, has_id: bool) -> None:
        """Count a line.

        :param place: ``line 3 of file 'file-1'``
        :param reason: why it is not usable: a text that is equal for all lines with this reason
        :param problem: place and reason with its details
        :param has_id: whether the line names its request
        """
        self.count += 1
        self.without_id_count += not has_id
        if len(self.problems) < MAX_EXAMPLES:
            self.problems.append(problem)
        self._reasons.setdefault(reason, Occurrences(count=0, first=place)).count += 1

    def message(self) -> str:
        """Return the first problems, and the number of the others."""
        more = self.count - len(self.problems)
        return "; ".join(self.problems) + (f"; and {more} more" if more else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain JSON, the most frequent reason first."""
        found = sorted(self._reasons.items(), key=lambda item: item[1].count, reverse=True)
        reasons = [{"reason": reason, "count": each.count, "first": each.first} for reason, each in found]
        return {"count": self.count, "reasons": reasons}
