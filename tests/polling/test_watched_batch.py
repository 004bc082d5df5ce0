"""What a target makes of what the list says of its batch."""

from __future__ import annotations

from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage, PageItem
from airflow_respan.polling.watched_batch import WatchedBatch


def item(status: str = "in_progress", **fields: Any) -> PageItem:
    data = {"id": "batch_1", "object": "batch", "status": status, **fields}
    return BatchPage.from_dict({"data": [data]}).items[0]


def target_that_read(first: PageItem) -> WatchedBatch:
    target = WatchedBatch("batch_1", None, None)
    batch = target.read(first)
    assert batch is not None
    target.on_listed(batch, now=0.0)
    return target


def counts(completed: int) -> dict[str, int]:
    return {"total": 10, "completed": completed, "failed": 0}


def test_an_item_that_says_the_same_again_is_the_same_batch() -> None:
    target = target_that_read(item(request_counts=counts(1)))

    assert target.read(item(request_counts=counts(1))) is target.batch


def test_an_item_that_says_something_new_is_read() -> None:
    target = target_that_read(item(request_counts=counts(1)))

    batch = target.read(item(request_counts=counts(2)))

    assert batch is not None
    assert str(batch.request_counts) == "2 of 10 requests completed, 0 failed"


def test_a_list_that_repeats_itself_does_not_outdo_what_was_retrieved_since() -> None:
    target = target_that_read(item(request_counts=counts(1)))
    target.on_retrieved(Batch.from_dict({"id": "batch_1", "status": "finalizing"}), now=1.0)

    batch = target.read(item(request_counts=counts(1)))

    assert batch is not None
    assert batch.status == "finalizing"


def test_an_end_in_the_list_is_news_each_time_until_a_retrieve_has_seen_it() -> None:
    target = target_that_read(item())

    for _ in range(2):
        batch = target.read(item("completed"))
        assert batch is not None
        assert batch.is_terminal
        target.on_retrieved(Batch.from_dict({"id": "batch_1", "status": "in_progress"}), now=1.0)


def test_an_item_that_is_no_batch_says_nothing() -> None:
    target = target_that_read(item())

    assert target.read(item("")) is None


def test_what_the_list_leaves_out_is_known_from_before() -> None:
    target = target_that_read(item(request_counts=counts(1), expires_at=1795567148))

    batch = target.read(item("finalizing"))

    assert batch is not None
    assert batch.expires_at is not None
    assert str(batch.request_counts) == "1 of 10 requests completed, 0 failed"
