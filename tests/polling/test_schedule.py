"""The order in which requests are sent. Each test passes the time, so no test waits."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.polling.list_health import MAX_LAG_SECONDS, OUTDATED_LIST_SECONDS
from airflow_respan.polling.list_scan import NOT_LISTED, ListScan
from airflow_respan.polling.schedule import (
    MAX_CONFIRMATIONS_IN_A_ROW,
    PAGES_PER_RETRIEVE,
    RETRIEVES_PER_ROUND,
    Schedule,
)
from airflow_respan.polling.subscriber import EARLY_RATIO, NEVER, Subscriber
from airflow_respan.polling.watched_batch import WatchedBatch

NOW = 1000.0


def page_of(*batches: Batch) -> BatchPage:
    """Return a page with these batches, the last of its list."""
    return BatchPage.from_dict({"data": [batch.to_dict() for batch in batches], "has_more": False})


class OneCheck(Subscriber):
    """A subscriber with one check, due when the test says."""

    def __init__(self, due: float, pause: float, *, is_last: bool) -> None:
        self.due, self.pause, self.is_last = due, pause, is_last
        self.earliest = due if is_last else due - EARLY_RATIO * pause

    def on_result(self, result: Batch | Exception) -> None:
        self.due = self.earliest = NEVER


class PlannedChecks:
    """A schedule, to which a test adds checks."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        # Let the first round pass: it sets each batch that is NOT_LISTED back to page 0.
        first = self.plan("first")
        assert self.choose() is first
        self.schedule.unwatch(first)
        first.subscribers.clear()

    def plan(
        self, batch_id: str, *, due: float = NOW, pause: float = 60, is_last: bool = False, **fields: Any
    ) -> WatchedBatch:
        watched = self.schedule.watch(batch_id, fields.pop("provider_id", None), None)
        watched.retrieved_at = NOW
        for name, value in fields.items():
            setattr(watched, name, value)
        subscriber = OneCheck(due, pause, is_last=is_last)
        watched.subscribers[subscriber] = None
        self.schedule.add_check(watched, subscriber)
        return watched

    def choose(self, now: float = NOW, *, is_paused: bool = False) -> WatchedBatch | ListScan | None:
        return self.schedule.choose(now, is_paused=is_paused)


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
