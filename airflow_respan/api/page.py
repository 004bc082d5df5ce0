"""What a page of a list is: no I/O, no Airflow."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.json_safe import sanitize_json


@dataclass(kw_only=True, slots=True)
class PageItem:
    """One item of a list as it came: who has seen most of a page before need not read all of it again.

    :param data: the decoded JSON, perhaps with a secret that the service has echoed
    :param sanitize: takes out of it what must not be kept, and makes it plain
    """

    data: Any = field(repr=False)
    sanitize: Callable[[Any], Any] = field(repr=False, default=sanitize_json)

    @property
    def id(self) -> str | None:
        """The id that the item claims, or None."""
        claimed = self.data.get("id") if isinstance(self.data, dict) else None
        return claimed if isinstance(claimed, str) else None

    def digest(self) -> int:
        """Give a number that is the same only if the item says the same, within this process."""
        # Quicker than reading it by far. In version 2, as later ones depend on who else refers to a value.
        return hash(marshal.dumps(self.data, 2))

    def read(self) -> Batch:
        """Read the item as a batch.

        :raises ValueError: if it is none
        """
        return Batch.from_sanitized(self.sanitize(self.data))


@dataclass(frozen=True, kw_only=True)
class BatchPage:
    """One page of the list of batches, newest first.

    A list can be stale for weeks while retrieving is right: take it as a hint, never as the truth.

    :param items: up to 100 items, as they came
    :param next_after: what to pass as ``after`` for the next page, or None on the last
    :param has_more: whether the service says that more follows, or None if it does not say
    """

    items: tuple[PageItem, ...]
    next_after: str | None
    has_more: bool | None = None

    @classmethod
    def from_dict(cls, data: Any, *, sanitize: Callable[[Any], Any] = sanitize_json) -> BatchPage:
        """Read a page from an API answer.

        :param sanitize: takes out of an item what must not be kept
        :raises ValueError: if it is no list
        """
        items = items_of(data)
        last = sanitize(items[-1].get("id")) if items and isinstance(items[-1], Mapping) else None
        # Going on after an id that is none would begin anew, and never end.
        more = data.get("has_more") is True and isinstance(last, str) and last.strip()
        has_more = data.get("has_more")
        return cls(
            items=tuple(PageItem(data=item, sanitize=sanitize) for item in items),
            next_after=last if more else None,
            has_more=has_more if isinstance(has_more, bool) else None,
        )

    @property
    def last_id(self) -> str | None:
        """The id of the last item that has one, to continue after, whatever ``has_more`` says."""
        ids = [item.id for item in self.items if item.id and item.id.strip()]
        return ids[-1] if ids else None

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The batches of the page; fields may be missing in them that retrieving would give."""
        return self._read[0]

    @property
    def unreadable(self) -> int:
        """How many items of the page are no batches, and are left out."""
        return len(self.items) - len(self.batches)

    @property
    def unreadable_ids(self) -> tuple[str, ...]:
        """The ids of those that have one: retrieving may give what the list has left out."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[tuple[Batch, ...], tuple[str, ...]]:
        batches, unreadable_ids = [], []
        for item in self.items:
            # One bad item must not hide the other 99, nor the pages behind it.
            try:
                batches.append(item.read())
            except ValueError:
                if item.id and item.id.strip():
                    unreadable_ids.append(item.id)
        return tuple(batches), tuple(unreadable_ids)


def items_of(data: object) -> list[Any]:
    """Give the items of any of the API's lists.

    :raises ValueError: if it is no list
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
        raise ValueError("'data' is not a list")
    items: list[Any] = data["data"]
    return items
