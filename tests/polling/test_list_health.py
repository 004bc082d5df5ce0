"""When the list is of use; each moment is told, so nothing waits here."""

from __future__ import annotations

import pytest

from airflow_respan.api.page import PageItem
from airflow_respan.exceptions import RespanAPIError, RespanTransientError
from airflow_respan.polling.list_health import LATE, LIST_RETRY_SECONDS, OUTDATED_LIST_SECONDS, Key, ListHealth

NOW = 1000.0
BATCH: Key = ("batch_1", None)


def item(status: str = "in_progress") -> PageItem:
    return PageItem(data={"id": "batch_1", "status": status})


@pytest.mark.parametrize("error", [RespanAPIError("Forbidden.", status_code=403), RespanTransientError("No answer.")])
def test_a_list_that_fails_is_left_alone_for_a_while(error: Exception) -> None:
    listing = ListHealth()
    listing.record_failure(error, NOW)

    assert not listing.usable(NOW + LIST_RETRY_SECONDS - 1)
    assert listing.usable(NOW + LIST_RETRY_SECONDS)


def test_a_rate_limit_says_nothing_against_the_list() -> None:
    listing = ListHealth()
    listing.record_failure(RespanTransientError("Slow down.", retry_after=5), NOW)

    assert listing.usable(NOW)


def test_a_list_that_failed_while_nothing_worked_is_read_once_something_works() -> None:
    listing = ListHealth()
    listing.record_failure(RespanTransientError("No answer."), NOW)
    listing.record_retrieve_failure()
    listing.record_retrieve_success()

    assert listing.usable(NOW)


def test_a_list_that_was_refused_is_not_read_because_something_else_works_again() -> None:
    listing = ListHealth()
    listing.record_failure(RespanAPIError("Forbidden.", status_code=403), NOW)
    listing.record_retrieve_failure()
    listing.record_retrieve_success()

    assert not listing.usable(NOW)


def test_a_list_that_lags_behind_a_little_is_of_use() -> None:
    listing = ListHealth()
    listing.record_missed_end(BATCH, NOW)
    listing.record_item(BATCH, item(), NOW + LATE)
    listing.record_item(BATCH, item("completed"), NOW + LATE + 1)
    listing.record_item(BATCH, item(), NOW + LATE + 2)

    assert listing.usable(NOW + LATE + 2)


def test_a_list_that_lags_behind_far_is_of_none_for_long_whatever_else_works_again() -> None:
    listing = ListHealth()
    listing.record_missed_end(BATCH, NOW)
    listing.record_item(BATCH, item(), late := NOW + LATE + 1)
    listing.record_retrieve_failure()
    listing.record_retrieve_success()

    assert not listing.usable(late + OUTDATED_LIST_SECONDS - 1)
    assert listing.usable(late + OUTDATED_LIST_SECONDS)


def test_an_item_that_is_no_batch_and_an_end_of_long_ago_say_nothing() -> None:
    listing = ListHealth()
    listing.record_missed_end(BATCH, NOW)
    listing.record_item(BATCH, item(""), NOW + LATE + 1)
    listing.record_missed_end(("batch_2", None), NOW + OUTDATED_LIST_SECONDS + 1)
    listing.record_item(BATCH, item(), NOW + OUTDATED_LIST_SECONDS + 1)

    assert listing.usable(NOW + OUTDATED_LIST_SECONDS + 1)
