"""When the list is of use; each moment is told, so nothing waits here."""

from __future__ import annotations

import pytest

from airflow_respan.api.page import PageItem
from airflow_respan.exceptions import RespanAPIError, RespanTransientError
from airflow_respan.polling.list_health import AGAIN_AFTER, LATE, OUT_OF_DATE_FOR, Key, Listing

NOW = 1000.0
BATCH: Key = ("batch_1", None)


def item(status: str = "in_progress") -> PageItem:
    return PageItem(data={"id": "batch_1", "status": status})


@pytest.mark.parametrize("error", [RespanAPIError("Forbidden.", status_code=403), RespanTransientError("No answer.")])
def test_a_list_that_fails_is_left_alone_for_a_while(error: Exception) -> None:
    listing = Listing()
    listing.failed(error, NOW)

    assert not listing.is_of_use(NOW + AGAIN_AFTER - 1)
    assert listing.is_of_use(NOW + AGAIN_AFTER)


def test_a_rate_limit_says_nothing_against_the_list() -> None:
    listing = Listing()
    listing.failed(RespanTransientError("Slow down.", retry_after=5), NOW)

    assert listing.is_of_use(NOW)


def test_a_list_that_failed_while_nothing_worked_is_read_once_something_works() -> None:
    listing = Listing()
    listing.failed(RespanTransientError("No answer."), NOW)
    listing.retrieve_failed()
    listing.retrieve_worked()

    assert listing.is_of_use(NOW)


def test_a_list_that_was_refused_is_not_read_because_something_else_works_again() -> None:
    listing = Listing()
    listing.failed(RespanAPIError("Forbidden.", status_code=403), NOW)
    listing.retrieve_failed()
    listing.retrieve_worked()

    assert not listing.is_of_use(NOW)


def test_a_list_that_lags_behind_a_little_is_of_use() -> None:
    listing = Listing()
    listing.missed(BATCH, NOW)
    listing.told(BATCH, item(), NOW + LATE)
    listing.told(BATCH, item("completed"), NOW + LATE + 1)
    listing.told(BATCH, item(), NOW + LATE + 2)

    assert listing.is_of_use(NOW + LATE + 2)


def test_a_list_that_lags_behind_far_is_of_none_for_long_whatever_else_works_again() -> None:
    listing = Listing()
    listing.missed(BATCH, NOW)
    listing.told(BATCH, item(), late := NOW + LATE + 1)
    listing.retrieve_failed()
    listing.retrieve_worked()

    assert not listing.is_of_use(late + OUT_OF_DATE_FOR - 1)
    assert listing.is_of_use(late + OUT_OF_DATE_FOR)


def test_an_item_that_is_no_batch_and_an_end_of_long_ago_say_nothing() -> None:
    listing = Listing()
    listing.missed(BATCH, NOW)
    listing.told(BATCH, item(""), NOW + LATE + 1)
    listing.missed(("batch_2", None), NOW + OUT_OF_DATE_FOR + 1)
    listing.told(BATCH, item(), NOW + OUT_OF_DATE_FOR + 1)

    assert listing.is_of_use(NOW + OUT_OF_DATE_FOR + 1)
