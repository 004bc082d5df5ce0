from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.polling.list_scan import (
    BATCHES_PER_EMPTY_PAGE,
    MIN_EMPTY_PAGES,
    NOT_LISTED,
    ListScan,
    pages_worth_reading,
)
from airflow_respan.polling.watched_batch import WatchedBatch


@pytest.mark.parametrize(
    ("pages", "worth"),
    [
        ([], 0),
        ([0], 0),
        ([0, 0], 1),
        ([0] * 100 + [1] * 100, 2),
        ([0] * 100 + [1], 1),
        ([5] * 6, 0),
        ([5] * 7, 6),
        ([NOT_LISTED] * 1000, 0),
        ([0, 0, NOT_LISTED], 1),
    ],
)
def test_pages_are_read_where_they_save_requests(pages: list[int], worth: int) -> None:
    assert pages_worth_reading(Counter(pages)) == worth


@given(st.lists(st.integers(0, 30), max_size=60))
def test_no_other_number_of_pages_is_cheaper(pages: list[int]) -> None:
    def cost(read: int) -> int:
        return read + sum(page >= read for page in pages)

    assert cost(pages_worth_reading(Counter(pages))) == min(cost(read) for read in range(32))


def scan_for(number: int, *, pages: Mapping[int, int] | None = None) -> tuple[ListScan, list[WatchedBatch]]:
    """Return a scan for so many batches, some of them expected on other pages than the first."""
    batches = [WatchedBatch(f"batch_{position}", None, None) for position in range(number)]
    for position, page in (pages or {}).items():
        batches[position].expected_page = page
    return ListScan(
        provider_id=None, missing={watched.batch_id: watched for watched in batches}, started_at=0.0
    ), batches


def test_a_scan_ends_when_all_batches_are_found_and_records_their_pages() -> None:
    scan, batches = scan_for(200)

    assert scan.record_page([f"batch_{position}" for position in range(100)], "batch_99")
    assert not scan.record_page([f"batch_{position}" for position in range(100, 200)], "batch_199")
    assert [watched.expected_page for watched in batches] == [0] * 100 + [1] * 100


def test_a_batch_that_no_page_shows_is_not_listed() -> None:
    scan, batches = scan_for(10)

    assert not scan.record_page(["batch_0", "batch_1"], None)
    assert [watched.expected_page for watched in batches] == [0, 0] + [NOT_LISTED] * 8


@pytest.mark.parametrize(("number", "empty_pages"), [(3, MIN_EMPTY_PAGES), (1000, 1000 // BATCHES_PER_EMPTY_PAGE)])
def test_a_search_in_vain_takes_a_quarter_of_the_requests_of_retrieving(number: int, empty_pages: int) -> None:
    scan, batches = scan_for(number)
    pages = 0
    while scan.record_page([f"other_{pages}"], f"other_{pages}"):
        pages += 1

    assert pages + 1 == empty_pages
    assert {watched.expected_page for watched in batches} == {NOT_LISTED}


@pytest.mark.parametrize("period", [1, 3])
def test_a_list_that_repeats_its_pages_ends_where_it_repeats(period: int) -> None:
    scan, batches = scan_for(1000)
    pages = 0
    while scan.record_page([f"other_{pages}"], f"other_{pages % period}"):
        pages += 1

    assert pages == period
    assert {watched.expected_page for watched in batches} == {NOT_LISTED}


def test_empty_pages_before_the_expected_ones_do_not_end_a_scan() -> None:
    scan, batches = scan_for(30, pages={position: 5 + position % 5 for position in range(30)})
    pages = [[]] * 5 + [[each.batch_id for each in batches if each.expected_page == page] for page in range(5, 10)]

    continued = [scan.record_page(page, f"page_{number}") for number, page in enumerate(pages)]

    assert continued == [True] * 9 + [False]
    assert [watched.expected_page for watched in batches] == [5 + position % 5 for position in range(30)]


def test_batches_expected_on_later_pages_are_not_given_up_with_the_missed_ones() -> None:
    scan, batches = scan_for(20, pages=dict.fromkeys(range(10, 20), 4))

    assert scan.record_page([], "batch_a")
    assert scan.record_page([], "batch_b")
    assert [watched.expected_page for watched in batches] == [NOT_LISTED] * 10 + [4] * 10


def test_a_scan_of_a_list_that_never_ends_stops_when_pages_show_too_few_batches() -> None:
    scan, _batches = scan_for(1000)
    pages = 0
    while scan.record_page([f"batch_{pages}"] if pages < 3 else [], f"batch_{pages}"):
        pages += 1

    assert pages < 3 + 1000 // BATCHES_PER_EMPTY_PAGE
