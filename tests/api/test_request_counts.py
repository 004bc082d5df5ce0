"""``request_counts``: read in every spelling, and shown without claims about what is not known."""

from __future__ import annotations

import pytest

from airflow_respan.api.request_counts import RequestCounts


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (None, None),
        ({}, None),
        ("many", None),
        ([1, 2], None),
        ({"total": None}, None),
        ({"total": "100 ", "completed": 95.0, "failed": "5.0"}, RequestCounts(total=100, completed=95, failed=5)),
        ({"total": 100.5, "completed": True, "failed": -1}, None),
        ({"total": "", "completed": "1e999", "failed": "nan"}, None),
        ({"total": "-1", "completed": float("inf"), "failed": [1]}, None),
        ({"total": 100}, RequestCounts(total=100)),
        ({"total": 100, "completed": -1, "failed": 100}, RequestCounts(total=100, failed=100)),
        ({"total": 0, "completed": 0, "failed": 0}, RequestCounts(total=0, completed=0, failed=0)),
    ],
)
def test_counts_are_read_in_every_spelling_and_what_is_not_known_is_none(
    data: object, counts: RequestCounts | None
) -> None:
    assert RequestCounts.from_dict(data) == counts


@pytest.mark.parametrize(
    ("counts", "processed", "complete"),
    [
        (RequestCounts(total=100, completed=95, failed=5), 0.05, 0.05),
        (RequestCounts(completed=3, failed=1), 0.25, 0.25),
        (RequestCounts(total=0, completed=3, failed=1), 0.25, 0.25),
        (RequestCounts(total=10, completed=4, failed=0), 0.0, 0.6),
        (RequestCounts(total=10, completed=4, failed=1), 0.1, 0.6),
        (RequestCounts(total=10, completed=4), None, 0.6),
        (RequestCounts(total=10, failed=1), 0.1, None),
        (RequestCounts(total=0, completed=0, failed=0), None, None),
        (RequestCounts(total=10, completed=10, failed=1), None, None),
        (RequestCounts(total=10, completed=11), None, None),
        (RequestCounts(completed=10), None, None),
        (RequestCounts(total=100), None, None),
    ],
)
def test_the_failed_ratio_is_none_unless_the_counts_say_it(
    counts: RequestCounts, processed: float | None, complete: float | None
) -> None:
    assert counts.failed_ratio(is_ended=False) == processed
    assert counts.failed_ratio(is_ended=True) == complete


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (RequestCounts(total=100, completed=95, failed=5), "95 of 100 requests completed, 5 failed"),
        (RequestCounts(completed=95, failed=5), "95 requests completed, 5 failed"),
        (RequestCounts(total=100, completed=95), "95 of 100 requests completed, an unknown number failed"),
        (RequestCounts(total=100, failed=5), "an unknown number of 100 requests completed, 5 failed"),
        (RequestCounts(failed=5), "an unknown number of requests completed, 5 failed"),
        (RequestCounts(total=100), "100 requests in all"),
        (RequestCounts(total=0, completed=0, failed=0), "no requests"),
        (RequestCounts(total=0), "no requests"),
    ],
)
def test_an_unknown_count_is_not_shown_as_zero(counts: RequestCounts, text: str) -> None:
    assert str(counts) == text
