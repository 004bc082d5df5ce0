"""How a watched batch reads the items of a list that show it."""

from __future__ import annotations

from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage, PageItem
from airflow_respan.polling.watched_batch import WatchedBatch


def item(status: str = "in_progress", **fields: Any) -> PageItem:
    data = {"id": "batch_1", "object": "batch", "status": status, **fields}
    return BatchPage.from_dict({"data": [data]}).items[0]


def watched_batch_after(first: PageItem) -> WatchedBatch:
    watched = WatchedBatch("batch_1", None, None)
    batch = watched.merge_item(first)
    assert batch is not None
    watched.on_listed(batch, now=0.0)
    return watched


def counts(completed: int) -> dict[str, int]:
    return {"total": 10, "completed": completed, "failed": 0}


def test_an_item_that_has_not_changed_is_not_read_again() -> None:
    watched = watched_batch_after(item(request_counts=counts(1)))

    assert watched.merge_item(item(request_counts=counts(1))) is watched.batch


def test_an_item_that_has_changed_is_read() -> None:
    watched = watched_batch_after(item(request_counts=counts(1)))

    batch = watched.merge_item(item(request_counts=counts(2)))

    assert batch is not None
    assert str(batch.request_counts) == "2 of 10 requests completed, 0 failed"


def test_an_item_that_has_not_changed_does_not_replace_a_batch_retrieved_since() -> None:
    watched = watched_batch_after(item(request_counts=counts(1)))
    watched.on_retrieved(Batch.from_dict({"id": "batch_1", "status": "finalizing"}), now=1.0)

    batch = watched.merge_item(item(request_counts=counts(1)))

    assert batch is not None
    assert batch.status == "finalizing"


def test_an_item_that_shows_an_end_is_read_each_time_until_a_retrieve_confirms_it() -> None:
    watched = watched_batch_after(item())

    for _ in range(2):
        batch = watched.merge_item(item("completed"))
        assert batch is not None
        assert batch.is_terminal
        watched.on_retrieved(Batch.from_dict({"id": "batch_1", "status": "in_progress"}), now=1.0)


def test_an_item_that_is_not_a_batch_is_ignored() -> None:
    watched = watched_batch_after(item())

    assert watched.merge_item(item("")) is None


def test_fields_that_the_list_leaves_out_are_filled_in_from_before() -> None:
    watched = watched_batch_after(item(request_counts=counts(1), expires_at=1795567148))

    batch = watched.merge_item(item("finalizing"))

    assert batch is not None
    assert batch.expires_at is not None
    assert str(batch.request_counts) == "1 of 10 requests completed, 0 failed"
