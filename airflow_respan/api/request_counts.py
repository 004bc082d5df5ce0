"""The field ``request_counts`` of a batch: read in every spelling, and written as JSON. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from airflow_respan.api.counts import read_count


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCounts:
    """How many requests of a batch succeeded and failed. A hint only: the counts can be missing, partial or wrong.

    :param total: requests in the batch, or None if unknown
    :param completed: requests that succeeded, or None if unknown
    :param failed: requests that failed, or None if unknown
    """

    total: int | None = None
    completed: int | None = None
    failed: int | None = None

    @classmethod
    def from_dict(cls, data: object) -> RequestCounts | None:
        """Return the counts from the field ``request_counts`` of a batch.

        :param data: the decoded JSON of the field, of any type
        :return: the counts, or None if there are none; a count that is missing or not a number is None, never 0
        """
        if not isinstance(data, Mapping):
            return None
        total, completed, failed = (read_count(data.get(name)) for name in ("total", "completed", "failed"))
        if total is None and completed is None and failed is None:
            return None
        return cls(total=total, completed=completed, failed=failed)

    def to_dict(self) -> dict[str, int]:
        """Return the known counts as JSON."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @property
    def done(self) -> int:
        """Requests that are known to have succeeded or failed."""
        return (self.completed or 0) + (self.failed or 0)

    def failed_ratio(self, *, is_ended: bool) -> float | None:
        """Return the failed share of all requests.

        :param is_ended: whether the batch has ended; then each request that did not succeed has failed
        :return: the share (ratio 0-1), or None if the counts do not say it, or contradict each other
        """
        total, completed, failed = self.total, self.completed, self.failed
        if not total and completed is not None and failed is not None:
            total = completed + failed
        if not total or self.done > total:
            return None
        if is_ended:
            failed = None if completed is None else total - completed
        return None if failed is None else failed / total

    def __str__(self) -> str:
        if not self.total and not self.done:
            return "no requests"
        if self.completed is None and self.failed is None:
            return f"{self.total} requests in all"
        of_total = "" if self.total is None else f" of {self.total}"
        completed, failed = ("an unknown number" if n is None else n for n in (self.completed, self.failed))
        if self.completed is None and self.total is None:
            of_total = " of"
        return f"{completed}{of_total} requests completed, {failed} failed"
