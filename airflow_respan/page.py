"""What a page of a list is: no I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_respan.batch import Batch


@dataclass(frozen=True, kw_only=True)
class BatchPage:
    """One page of the list of batches, newest first.

    A list can be stale for weeks while retrieving is right: take it as a hint, never as the truth.

    :param batches: up to 100 batches; fields may be missing in them that retrieving would give
    :param next_after: what to pass as ``after`` for the next page, or None on the last
    :param unreadable: how many items of the page were no batches, and were left out
    :param unreadable_ids: the ids of those that have one: retrieving may give what the list has left out
    """

    batches: tuple[Batch, ...]
    next_after: str | None
    unreadable: int = 0
    unreadable_ids: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: Any) -> BatchPage:
        """Read a page from an API answer.

        :raises ValueError: if it is no list
        """
        items = items_of(data)
        batches, unreadable_ids = [], []
        for item in items:
            # One bad item must not hide the other 99, nor the pages behind it.
            try:
                batches.append(Batch.from_dict(item))
            except ValueError:
                if isinstance(item, Mapping) and isinstance(item.get("id"), str) and item["id"].strip():
                    unreadable_ids.append(item["id"])
        last = items[-1].get("id") if items and isinstance(items[-1], Mapping) else None
        # Going on after an id that is none would begin anew, and never end.
        more = data.get("has_more") is True and isinstance(last, str) and last.strip()
        return cls(
            batches=tuple(batches),
            next_after=last if more else None,
            unreadable=len(items) - len(batches),
            unreadable_ids=tuple(unreadable_ids),
        )


def items_of(data: object) -> list[Any]:
    """Give the items of any of the API's lists.

    :raises ValueError: if it is no list
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
        raise ValueError("'data' is not a list")
    items: list[Any] = data["data"]
    return items
