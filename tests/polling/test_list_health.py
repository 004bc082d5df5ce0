"""When the list can be used. Each test passes the time, so no test waits."""

from __future__ import annotations

import pytest

from airflow_respan.api.page import PageItem
from airflow_respan.exceptions import RespanAPIError, RespanTransientError
from airflow_respan.polling.list_health import (
    LIST_RETRY_SECONDS,
    MAX_LAG_SECONDS,
    OUTDATED_LIST_SECONDS,
    BatchKey,
    ListHealth,
)

NOW = 1000.0
BATCH: BatchKey = ("batch_1", None)


def item(status: str = "in_progress") -> PageItem:
    return PageItem(data={"id": "batch_1", "status": status})


@pytest.mark.parametrize("error", [RespanAPIError("Forbidden.", status_code=403), RespanTransientError("No answer.")])
def test_a_list_that_fails_is_not_read_for_a_while(error: Exception) -> None:
    health = ListHealth()
    health.record_failure(error, NOW)

    assert not health.usable(NOW + LIST_RETRY_SECONDS - 1)
    assert health.usable(NOW + LIST_RETRY_SECONDS)


def test_a_rate_limit_does_not_make_the_list_unusable() -> None:
    health = ListHealth()
    health.record_failure(RespanTransientError("Slow down.", status_code=429, retry_after=5), NOW)

    assert health.usable(NOW)


def test_a_list_that_failed_in_an_outage_is_usable_once_a_retrieve_works() -> None:
    health = ListHealth()
    health.record_failure(RespanTransientError("No answer."), NOW)
    health.record_retrieve_failure()
    health.record_retrieve_success()

    assert health.usable(NOW)


def test_a_list_that_was_refused_stays_unusable_when_a_retrieve_works() -> None:
    health = ListHealth()
    health.record_failure(RespanAPIError("Forbidden.", status_code=403), NOW)
    health.record_retrieve_failure()
    health.record_retrieve_success()

    assert not health.usable(NOW)


def test_a_list_that_shows_an_end_a_little_late_is_usable() -> None:
    health = ListHealth()
    health.record_missed_end(BATCH, NOW)
    health.record_item(BATCH, item(), NOW + MAX_LAG_SECONDS)
    health.record_item(BATCH, item("completed"), NOW + MAX_LAG_SECONDS + 1)
    health.record_item(BATCH, item(), NOW + MAX_LAG_SECONDS + 2)

    assert health.usable(NOW + MAX_LAG_SECONDS + 2)


def test_a_list_that_is_out_of_date_stays_unusable_when_a_retrieve_works() -> None:
    health = ListHealth()
    health.record_missed_end(BATCH, NOW)
    health.record_item(BATCH, item(), found_at := NOW + MAX_LAG_SECONDS + 1)
    health.record_retrieve_failure()
    health.record_retrieve_success()

    assert not health.usable(found_at + OUTDATED_LIST_SECONDS - 1)
    assert health.usable(found_at + OUTDATED_LIST_SECONDS)


def test_an_unreadable_item_and_an_end_of_long_ago_are_ignored() -> None:
    health = ListHealth()
    health.record_missed_end(BATCH, NOW)
    health.record_item(BATCH, item(""), NOW + MAX_LAG_SECONDS + 1)
    health.record_missed_end(("batch_2", None), NOW + OUTDATED_LIST_SECONDS + 1)
    health.record_item(BATCH, item(), NOW + OUTDATED_LIST_SECONDS + 1)

    assert health.usable(NOW + OUTDATED_LIST_SECONDS + 1)
