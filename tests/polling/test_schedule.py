"""The order in which requests are sent. Each test passes the time, so no test waits."""

from __future__ import annotations

import time
from typing import Any

import pendulum
import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.polling.list_health import MAX_LAG_SECONDS, OUTDATED_LIST_SECONDS
from airflow_respan.polling.list_scan import NOT_LISTED, ListScan
from airflow_respan.polling.schedule import (
    MAX_CONFIRMATIONS_IN_A_ROW,
    PAGES_PER_RETRIEVE,
    RETRIEVES_PER_EMPTY_PAGE,
    RETRIEVES_PER_ROUND,
)
from airflow_respan.polling.watched_batch import WatchedBatch
from tests.polling.planned_checks import NOW, PlannedChecks, page_of


@pytest.fixture
def checks() -> PlannedChecks:
    """Return an empty schedule."""
    return PlannedChecks()


def test_nothing_is_chosen_before_it_is_due(checks: PlannedChecks) -> None:
    watched = checks.plan("batch_1", due=NOW + 10)

    assert checks.choose() is None
    assert checks.schedule.next_due() == NOW + 10
    assert checks.choose(NOW + 10) is watched


def test_a_check_that_was_made_early_is_not_due_again(checks: PlannedChecks) -> None:
    served = checks.plan("batch_1", due=NOW + 10)
    checks.plan("batch_2", due=NOW + 20)
    served.notify(Batch(id="batch_1", status="in_progress"), until=NOW + 10)

    assert checks.schedule.next_due() == NOW + 20


def test_during_a_scan_only_a_last_check_is_due(checks: PlannedChecks) -> None:
    for number in range(3):
        checks.plan(f"batch_{number}")
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    soon = checks.plan("batch_soon", due=NOW + 1)
    last = checks.plan("batch_last", due=NOW + 2, is_last=True)

    assert checks.schedule.next_due() == NOW + 2
    assert checks.choose(NOW + 2) is last
    last.subscribers.clear()
    checks.schedule.record_page(scan, page_of(), NOW + 2)
    assert soon in [checks.choose(NOW + 2) for _ in range(5)]


def test_the_most_overdue_checks_come_first(checks: PlannedChecks) -> None:
    batches = [checks.plan(f"batch_{age}", due=NOW - age, expected_page=NOT_LISTED) for age in (3, 9, 6)]

    assert [checks.choose() for _ in range(4)] == [batches[1], batches[2], batches[0], None]


def test_a_last_check_comes_first_even_during_a_pause(checks: PlannedChecks) -> None:
    checks.plan("batch_1", due=NOW - 100, expected_page=NOT_LISTED)
    last = checks.plan("batch_2", is_last=True)

    assert checks.choose(is_paused=True) is last
    assert checks.choose(is_paused=True) is None
    assert checks.choose() is not None


def test_a_page_serves_checks_that_are_due_soon_but_no_last_check(checks: PlannedChecks) -> None:
    due = checks.plan("batch_due")
    soon = checks.plan("batch_soon", due=NOW + 15, pause=60)
    later = checks.plan("batch_later", due=NOW + 16, pause=60)
    last = checks.plan("batch_last", due=NOW + 1, pause=60, is_last=True)

    scan = checks.choose()

    assert isinstance(scan, ListScan)
    assert set(scan.missing.values()) == {due, soon}
    running = [Batch(id=each.batch_id, status="in_progress") for each in (due, soon, later, last)]
    checks.schedule.record_page(scan, page_of(*running), NOW)
    assert [watched.has_planned_check() for watched in (due, soon, later, last)] == [False, False, True, True]


def test_ends_are_confirmed_first_but_after_some_another_request_is_sent(checks: PlannedChecks) -> None:
    ending = [checks.plan(f"batch_{number}") for number in range(10)]
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    ended = tuple(Batch(id=watched.batch_id, status="completed") for watched in ending)
    checks.schedule.record_page(scan, page_of(*ended), NOW)
    others = [checks.plan(f"other_{number}", expected_page=NOT_LISTED) for number in range(3)]

    order = [checks.choose() for _ in range(13)]

    assert [watched in ending for watched in order] == ([True] * MAX_CONFIRMATIONS_IN_A_ROW + [False]) * 3 + [True]
    assert [watched for watched in order if watched in others] == others
    assert all(watched.has_planned_check() for watched in ending)


def test_many_batches_that_are_not_listed_do_not_delay_the_scan(checks: PlannedChecks) -> None:
    unlisted = [checks.plan(f"unlisted_{number}", expected_page=NOT_LISTED) for number in range(100)]
    assert checks.choose() is unlisted[0]
    for number in range(5):
        checks.plan(f"batch_{number}", due=NOW + 1)

    chosen = [checks.choose(NOW + 1) for _ in range(3)]

    assert isinstance(chosen[0], ListScan)
    assert chosen[1:] == unlisted[1:3]


def test_a_batch_in_flight_is_not_retrieved_again_when_the_list_shows_its_end(checks: PlannedChecks) -> None:
    need_retrieve = [checks.plan(f"batch_{number}", retrieved_at=NOW - 10_000) for number in range(2)]
    for number in range(5):
        checks.plan(f"other_{number}")
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    sent, queued = need_retrieve
    assert checks.choose() is sent

    ended = [Batch(id=watched.batch_id, status="completed") for watched in need_retrieve]
    checks.schedule.record_page(scan, page_of(*ended), NOW)

    chosen = [checks.choose() for _ in range(7)]
    assert chosen[0] is queued
    assert not set(need_retrieve) & set(chosen[1:])
    # One retrieve was sent before the end, and the other failed: both batches are checked again.
    checks.schedule.record_retrieve(sent, Batch(id=sent.batch_id, status="in_progress"), NOW)
    checks.schedule.record_retrieve_failure(queued, TimeoutError(), NOW)
    for watched in need_retrieve:
        checks.plan(watched.batch_id, due=NOW + 60, expected_page=NOT_LISTED)
    assert [checks.choose(NOW + 60) for _ in range(2)] == need_retrieve


def test_a_queued_batch_is_retrieved_once_even_if_the_list_shows_it(checks: PlannedChecks) -> None:
    running = page_of(*(Batch(id=f"batch_{number}", status="in_progress") for number in range(10)))

    def check_all(due: float) -> list[WatchedBatch]:
        batches = [checks.plan(f"batch_{number}", due=due) for number in range(10)]
        for watched in batches[:3]:
            watched.retrieved_at = NOW - 10_000
        return batches[:3]

    order: list[WatchedBatch | None] = []
    for now in (NOW, NOW + 60):
        check_all(now)
        while not isinstance(chosen := checks.choose(now), ListScan):
            order.append(chosen)
        checks.schedule.record_page(chosen, running, now)
    need_retrieve = check_all(NOW + 120)
    order += [checks.choose(now) for _ in range(5)]

    assert [watched for watched in order if watched] == need_retrieve


def test_a_last_check_is_sent_while_another_retrieve_of_the_batch_is_in_flight(checks: PlannedChecks) -> None:
    watched = checks.plan("batch_1", expected_page=NOT_LISTED)
    assert checks.choose() is watched
    checks.plan("batch_1", due=NOW + 1, is_last=True)

    assert [checks.choose(NOW + 1) for _ in range(2)] == [watched, None]


def test_a_page_does_not_serve_a_last_check_whose_retrieve_is_in_flight(checks: PlannedChecks) -> None:
    others = [checks.plan(f"batch_{number}") for number in range(3)]
    last = checks.plan("batch_last", is_last=True)
    assert checks.choose() is last
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    running = [Batch(id=watched.batch_id, status="in_progress") for watched in (*others, last)]

    checks.schedule.record_page(scan, page_of(*running), NOW + 1)

    assert [watched.has_planned_check() for watched in (*others, last)] == [False, False, False, True]
    checks.schedule.record_retrieve(last, running[-1], NOW + 2)
    assert not last.has_planned_check()


def test_each_provider_has_a_scan_of_its_own(checks: PlannedChecks) -> None:
    for number in range(5):
        checks.plan(f"batch_{number}", due=NOW - 2, provider_id="openai")
        checks.plan(f"batch_{number}", due=NOW - 1, provider_id="parasail")

    providers = []
    while scan := checks.choose():
        assert isinstance(scan, ListScan)
        providers.append(scan.provider_id)
        found = tuple(Batch(id=batch_id, status="in_progress") for batch_id in scan.missing)
        checks.schedule.record_page(scan, page_of(*found), NOW)

    assert providers == ["openai", "parasail"]


def test_a_round_retrieves_only_some_of_the_batches_that_were_retrieved_long_ago(checks: PlannedChecks) -> None:
    batches = [
        checks.plan(f"batch_{number}", due=NOW + number % 2, retrieved_at=NOW - 10_000 + number) for number in range(20)
    ]

    scan = checks.choose()
    assert isinstance(scan, ListScan)

    assert [checks.choose() for _ in range(RETRIEVES_PER_ROUND + 1)] == [*batches[:RETRIEVES_PER_ROUND], None]
    assert set(scan.missing.values()) == set(batches[RETRIEVES_PER_ROUND:])


def test_a_scan_of_many_pages_comes_with_more_retrieves(checks: PlannedChecks) -> None:
    for number in range(8000):
        checks.plan(f"batch_{number}", expected_page=number // 100, retrieved_at=NOW - 10_000)

    assert isinstance(checks.choose(), ListScan)
    assert len(list(iter(checks.choose, None))) == 80 // PAGES_PER_RETRIEVE


def test_a_scan_includes_batches_whose_check_is_due_when_it_reaches_their_page(checks: PlannedChecks) -> None:
    first = [checks.plan(f"batch_{number}") for number in range(5)]
    second = [checks.plan(f"batch_{number}", expected_page=1) for number in range(5, 10)]

    def running(batches: list[WatchedBatch], *, has_more: bool) -> BatchPage:
        data = [{"id": watched.batch_id, "status": "in_progress"} for watched in batches]
        return BatchPage.from_dict({"data": data, "has_more": has_more})

    scan = checks.choose()
    assert isinstance(scan, ListScan)
    checks.schedule.record_page(scan, running(first, has_more=True), NOW + 10)
    checks.schedule.record_page(scan, running(second, has_more=False), NOW + 20)
    for watched in first:
        checks.plan(watched.batch_id, due=NOW + 70)
    for watched in second:
        checks.plan(watched.batch_id, due=NOW + 95, expected_page=1)  # may be checked from NOW + 80 on

    scan = checks.choose(NOW + 70)

    assert isinstance(scan, ListScan)
    assert set(scan.missing.values()) == {*first, *second}


def test_a_list_that_still_shows_an_ended_batch_as_running_is_not_read_for_an_hour(
    checks: PlannedChecks, caplog: pytest.LogCaptureFixture
) -> None:
    batches = [checks.plan(f"batch_{number}") for number in range(4)]
    running = page_of(*(Batch(id=watched.batch_id, status="in_progress") for watched in batches))
    checks.schedule.record_retrieve(batches[0], Batch(id="batch_0", status="completed"), NOW)
    checks.schedule.unwatch(batches.pop(0))

    for now in (NOW + MAX_LAG_SECONDS, NOW + MAX_LAG_SECONDS + 1):
        for watched in batches:
            checks.plan(watched.batch_id, due=now)
        scan = checks.choose(now)
        assert isinstance(scan, ListScan)
        checks.schedule.record_page(scan, running, now)

    for watched in batches:
        checks.plan(watched.batch_id, due=now)
    assert [checks.choose(now) for _ in batches] == batches
    assert caplog.messages == [
        "Respan's list of batches is out of date: 61 seconds after batch batch_0 was retrieved as ended, the list "
        "still shows it as running. Retrieving batches one by one for the next 60 minutes."
    ]
    later = now + OUTDATED_LIST_SECONDS
    for watched in batches:
        checks.schedule.record_retrieve(watched, Batch(id=watched.batch_id, status="in_progress"), later)
        checks.plan(watched.batch_id, due=later, retrieved_at=later)
    assert isinstance(checks.choose(later), ListScan)


def test_a_batch_without_subscribers_is_not_retrieved(checks: PlannedChecks) -> None:
    watched = checks.plan("batch_1", expected_page=NOT_LISTED)
    other = checks.plan("batch_2", expected_page=NOT_LISTED)
    assert checks.choose() is watched
    other.subscribers.clear()
    checks.schedule.unwatch(other)

    assert checks.choose() is None


def read_list(checks: PlannedChecks, listed: list[str], now: float) -> list[WatchedBatch]:
    """Send all requests that are due, with this list; return the batches that are retrieved."""
    pages, retrieved = 0, []
    while (chosen := checks.choose(now)) is not None:
        if isinstance(chosen, ListScan):
            pages += 1
            start = listed.index(chosen.after) + 1 if chosen.after else 0
            data = [{"id": batch_id, "status": "in_progress"} for batch_id in listed[start : start + 100]]
            page = BatchPage.from_dict({"data": data, "has_more": start + 100 < len(listed)})
            chosen.request_in_flight = False
            checks.schedule.record_page(chosen, page, now)
        else:
            retrieved.append(chosen)
            checks.schedule.record_retrieve(chosen, Batch(id=chosen.batch_id, status="in_progress"), now)
    checks.pages += pages
    return retrieved


def test_batches_behind_many_newer_ones_are_found_by_the_list(checks: PlannedChecks) -> None:
    batch_ids = [f"batch_{number}" for number in range(300)]
    listed = [f"other_{number}" for number in range(200)] + batch_ids

    for now in (NOW, NOW + 60, NOW + 120):
        for batch_id in batch_ids:
            checks.plan(batch_id, due=now, retrieved_at=now)
        assert read_list(checks, listed, now) == []

    assert checks.pages == 3 * 5


def test_batches_that_were_not_listed_at_the_start_are_found_a_round_later(checks: PlannedChecks) -> None:
    batch_ids = [f"batch_{number}" for number in range(300)]

    retrieved = []
    for now, listed in ((NOW, []), (NOW + 60, batch_ids)):
        for batch_id in batch_ids:
            checks.plan(batch_id, due=now, retrieved_at=now)
        retrieved.append(len(read_list(checks, listed, now)))

    assert retrieved == [300, 0]
    assert checks.pages == 1 + 3


def test_a_list_without_the_batches_takes_a_tenth_of_their_requests(checks: PlannedChecks) -> None:
    batch_ids = [f"batch_{number}" for number in range(40)]
    listed = [f"other_{number}" for number in range(5000)]

    retrieved = 0
    for round_number in range(60):
        now = NOW + 60 * round_number
        for batch_id in batch_ids:
            checks.plan(batch_id, due=now, retrieved_at=now)
        retrieved += len(read_list(checks, listed, now))

    assert retrieved == 60 * 40
    assert checks.pages <= retrieved / RETRIEVES_PER_EMPTY_PAGE + 10


def test_each_provider_has_its_own_search_for_batches_that_are_not_listed(checks: PlannedChecks) -> None:
    for number in range(30):
        checks.plan(f"batch_{number}", provider_id="openai")
        checks.plan(f"batch_{number}", provider_id="parasail")
    read_list(checks, [], NOW)
    for number in range(30):
        checks.plan(f"batch_{number}", due=NOW + 60, provider_id="openai", retrieved_at=NOW + 60)

    assert read_list(checks, [f"batch_{number}" for number in range(30)], NOW + 60) == []


def test_a_batch_that_a_page_has_shown_is_not_retrieved_any_more(checks: PlannedChecks) -> None:
    unlisted = [checks.plan(f"batch_{number}", expected_page=NOT_LISTED) for number in range(10)]
    assert checks.choose() is unlisted[0]
    for number in range(5):
        checks.plan(f"other_{number}", due=NOW + 1)
    scan = checks.choose(NOW + 1)
    assert isinstance(scan, ListScan)

    running = [Batch(id=watched.batch_id, status="in_progress") for watched in unlisted]
    checks.schedule.record_page(scan, page_of(*running), NOW + 1)

    assert not set(unlisted) & {checks.choose(NOW + 1) for _ in range(10)}


@pytest.mark.parametrize(
    ("expires_in", "need_retrieve"), [(-86_400, False), (-500, True), (-5, True), (50, True), (3600, False)]
)
def test_batches_are_retrieved_about_the_time_when_they_expire(
    checks: PlannedChecks, expires_in: float, need_retrieve: bool
) -> None:
    batches = [checks.plan(f"batch_{number}", expires_at=time.time() + expires_in) for number in range(20)]

    scan = checks.choose()
    assert isinstance(scan, ListScan)

    assert len(scan.missing) == len(batches) - (RETRIEVES_PER_ROUND if need_retrieve else 0)


def test_a_page_with_times_in_the_future_is_a_check_like_any_other(checks: PlannedChecks) -> None:
    batches = [checks.plan(f"batch_{number}") for number in range(3)]
    scan = checks.choose()
    assert isinstance(scan, ListScan)

    future = pendulum.now("UTC").add(days=1)
    running = (
        Batch(id=each.batch_id, status="in_progress", created_at=future, in_progress_at=future) for each in batches
    )
    checks.schedule.record_page(scan, page_of(*running), NOW)

    assert not any(watched.has_planned_check() for watched in batches)


def test_an_item_that_cannot_be_read_does_not_hide_the_others_of_its_page(checks: PlannedChecks) -> None:
    odd, *others = [checks.plan(f"batch_{number}") for number in range(4)]
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    deep: list[Any] = []
    for _ in range(3000):  # some versions of Python decode it, but marshal does not encode it
        deep = [deep]
    data = [{"id": watched.batch_id, "status": "in_progress"} for watched in others]
    items = [{"id": "batch_foreign", "metadata": deep}, {"id": odd.batch_id, "status": "failed", "metadata": deep}]

    checks.schedule.record_page(scan, BatchPage.from_dict({"data": items + data}), NOW)

    assert [watched.has_planned_check() for watched in others] == [False] * 3
    assert checks.choose() is odd


def test_a_page_of_the_service_before_is_ignored(checks: PlannedChecks) -> None:
    watched, *others = [checks.plan(f"batch_{number}") for number in range(4)]
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    checks.schedule.forget_list(NOW)

    checks.schedule.record_page(scan, page_of(Batch(id=watched.batch_id, status="failed")), NOW)
    checks.schedule.record_list_failure(scan, ValueError("old"), NOW)

    assert checks.schedule.list_health.usable(NOW)
    assert {checks.choose() for _ in range(4)} == {watched, *others}
