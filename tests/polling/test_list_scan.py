from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.polling.list_scan import MAX_EMPTY_PAGES, NOT_LISTED, ListScan, pages_worth_reading
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


def sweep_for(number: int, *, pages: Mapping[int, int] | None = None) -> tuple[ListScan, list[WatchedBatch]]:
    """A sweep for so many batches, some of them expected on other pages than the first."""
    targets = [WatchedBatch(f"batch_{position}", None, None) for position in range(number)]
    for position, page in (pages or {}).items():
        targets[position].page = page
    return ListScan(provider_id=None, wanted={target.batch_id: target for target in targets}, began=0.0), targets


def test_a_sweep_ends_when_all_are_found_and_knows_the_pages_then() -> None:
    sweep, targets = sweep_for(200)

    assert sweep.read([f"batch_{position}" for position in range(100)], "batch_99")
    assert not sweep.read([f"batch_{position}" for position in range(100, 200)], "batch_199")
    assert [target.page for target in targets] == [0] * 100 + [1] * 100


def test_what_the_list_does_not_have_is_far() -> None:
    sweep, targets = sweep_for(10)

    assert not sweep.read(["batch_0", "batch_1"], None)
    assert [target.page for target in targets] == [0, 0] + [NOT_LISTED] * 8


def test_a_list_full_of_others_is_given_up() -> None:
    sweep, targets = sweep_for(1000)
    pages = 0
    while sweep.read([f"other_{pages}"], f"other_{pages}"):
        pages += 1

    assert pages + 1 == MAX_EMPTY_PAGES
    assert {target.page for target in targets} == {NOT_LISTED}


def test_pages_on_which_nothing_was_expected_are_no_reason_to_give_up() -> None:
    sweep, targets = sweep_for(30, pages={position: 5 + position % 5 for position in range(30)})
    pages = [[]] * 5 + [[t.batch_id for t in targets if t.page == page] for page in range(5, 10)]

    read_on = [sweep.read(page, "more") for page in pages]

    assert read_on == [True] * 9 + [False]
    assert [target.page for target in targets] == [5 + position % 5 for position in range(30)]


def test_what_is_expected_later_is_not_given_up_with_what_was_missed() -> None:
    sweep, targets = sweep_for(20, pages=dict.fromkeys(range(10, 20), 4))

    assert sweep.read([], "more")
    assert sweep.read([], "more")
    assert [target.page for target in targets] == [NOT_LISTED] * 10 + [4] * 10


def test_a_list_that_never_ends_is_left_when_it_yields_too_little() -> None:
    sweep, _targets = sweep_for(1000)
    pages = 0
    while sweep.read([f"batch_{pages}"] if pages < 3 else [], "again"):
        pages += 1

    assert pages < 3 + MAX_EMPTY_PAGES
