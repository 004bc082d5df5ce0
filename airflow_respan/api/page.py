"""One page of the list of batches. No I/O.

Items are read only when they are needed, because a triggerer lists the same batches again and again.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_respan.api.batch import Batch, sanitize_batch
from airflow_respan.api.json_safe import sanitize_json


@dataclass(kw_only=True, slots=True)
class PageItem:
    """One item of a list, not yet read as a batch.

    :param data: the decoded JSON as it arrived; it may hold a secret that the service has repeated
    :param sanitize: returns the data without secrets, and without values that cannot be stored
    """

    data: Any = field(repr=False)
    sanitize: Callable[[Any], Any] = field(repr=False, default=sanitize_json)

    @property
    def id(self) -> str | None:
        """The id in the item, or None; it is not checked otherwise."""
        item_id = self.data.get("id") if isinstance(self.data, dict) else None
        return item_id if isinstance(item_id, str) else None

    def digest(self) -> int:
        """Return a number that changes when the item changes. It is valid only within this process.

        :raises ValueError: if the item is nested too deeply
        """
        # Much faster than reading the item. Not a later version of marshal: its output depends on reference counts.
        return hash(marshal.dumps(self.data, 2))

    def read(self) -> Batch:
        """Return the item as a batch.

        :raises ValueError: if it is not a batch
        """
        try:
            return Batch.from_sanitized(sanitize_batch(self.data, self.sanitize))
        except ValueError:
            raise
        except Exception as error:  # noqa: BLE001 (one odd item must not hide the other 99)
            raise ValueError(f"it cannot be read ({error!r})") from None


@dataclass(frozen=True, kw_only=True)
class BatchPage:
    """One page of the list of batches, newest first.

    The list can be out of date for weeks while a retrieve is right, so use it only as a hint.

    :param items: up to 100 items
    :param next_after: the argument ``after`` for the next page, or None on the last page
    :param has_more: whether the service says that more follows, or None if it does not say
    """

    items: tuple[PageItem, ...]
    next_after: str | None
    has_more: bool | None = None

    @classmethod
    def from_dict(cls, data: Any, *, sanitize: Callable[[Any], Any] = sanitize_json) -> BatchPage:
        """Return a page from an API response.

        :param sanitize: see :class:`PageItem`
        :raises ValueError: if it is not a list
        """
        items = items_of(data)
        last_id = sanitize(items[-1].get("id")) if items and isinstance(items[-1], Mapping) else None
        # After an invalid id, the service would start again at the first page, and the loop would never end.
        has_more = data.get("has_more")
        has_next = has_more is True and isinstance(last_id, str) and last_id.strip()
        return cls(
            items=tuple(PageItem(data=item, sanitize=sanitize) for item in items),
            next_after=last_id if has_next else None,
            has_more=has_more if isinstance(has_more, bool) else None,
        )

    @property
    def last_id(self) -> str | None:
        """The id of the last item that has one: the next page comes after it. ``has_more`` is ignored."""
        ids = [item.id for item in self.items if item.id and item.id.strip()]
        return ids[-1] if ids else None

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The readable batches of the page; they may lack fields that a retrieve has."""
        return self._read[0]

    @property
    def unreadable_ids(self) -> tuple[str, ...]:
        """The ids of the items that cannot be read as batches; a retrieve of such an id may work."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[tuple[Batch, ...], tuple[str, ...]]:
        batches, unreadable_ids = [], []
        for item in self.items:
            # One bad item must not hide the other 99 or the following pages.
            try:
                batches.append(item.read())
            except ValueError:
                if item.id and item.id.strip():
                    unreadable_ids.append(item.id)
        return tuple(batches), tuple(unreadable_ids)


def items_of(data: object) -> list[Any]:
    """Return the items of any list of the API.

    :param data: the decoded JSON of the response
    :raises ValueError: if it is not a list
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
        raise ValueError("'data' is not a list")
    items: list[Any] = data["data"]
    return items
