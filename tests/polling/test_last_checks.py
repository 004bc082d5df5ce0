"""Many deadlines at the same moment, with a service that allows one request a second. No test waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.api.page import BatchPage
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.polling.last_checks import LATE_SECONDS, SAMPLE_SIZE
from airflow_respan.polling.list_health import LIST_RETRY_SECONDS, MAX_LAG_SECONDS
from airflow_respan.polling.list_scan import ListScan
from airflow_respan.polling.watched_batch import WatchedBatch
from tests.polling.planned_checks import NOW, OneCheck, PlannedChecks

Status = Callable[[str, float], str]
"""The status of a batch at a time."""


def running(_batch_id: str, _now: float) -> str:
    return "in_progress"


class Run:
    """Sends one request a second, until all last checks are served or an hour has passed."""

    def __init__(self, checks: PlannedChecks, *, retrieve: Status, listed: Status, list_fails: bool = False) -> None:
        self.checks, self.retrieve, self.listed, self.list_fails = checks, retrieve, listed, list_fails
        self.batches = list(checks.schedule.watched_batches.values())
        self.retrieves: list[WatchedBatch] = []
        self.pages: list[float] = []
        self.now = NOW
        while checks.schedule.watched_batches and self.now < NOW + 3600:
            chosen = checks.choose(self.now)
            if isinstance(chosen, ListScan):
                self.read_page(chosen)
            elif chosen:
                self.retrieves.append(chosen)
                if (status := retrieve(chosen.batch_id, self.now)) == "no answer":
                    error = RespanTransientError("No answer.")
                    checks.schedule.record_retrieve_failure(chosen, error, self.now)
                else:
                    checks.schedule.record_retrieve(chosen, Batch(id=chosen.batch_id, status=status), self.now)
            self.unwatch_ended()
            self.now += 1

    def read_page(self, scan: ListScan) -> None:
        self.pages.append(self.now)
        scan.request_in_flight = False
        if self.list_fails:
            self.checks.schedule.record_list_failure(scan, RespanTransientError("No answer."), self.now)
            return
        start = 100 * scan.next_page
        part = self.batches[start : start + 100]
        data = [{"id": each.batch_id, "status": self.listed(each.batch_id, self.now)} for each in part]
        page = BatchPage.from_dict({"data": data, "has_more": start + 100 < len(self.batches)})
        self.checks.schedule.record_page(scan, page, self.now)

    def unwatch_ended(self) -> None:
        for watched in list(self.checks.schedule.watched_batches.values()):
            if not watched.has_planned_check():
                self.checks.schedule.unwatch(watched)

    def results(self) -> dict[str, str]:
        """Return the status in which each wait saw its batch last."""
        found = {}
        for watched in self.batches:
            [subscriber] = watched.subscribers
            assert isinstance(subscriber, OneCheck)
            assert isinstance(subscriber.result, Batch)
            found[watched.batch_id] = subscriber.result.status
        return found


@pytest.fixture
def checks() -> PlannedChecks:
    """Return a schedule with 540 deadlines at the same moment."""
    planned = PlannedChecks()
    for number in range(540):
        planned.plan(f"batch_{number}", is_last=True)
    return planned


def test_one_scan_serves_most_deadlines_that_pass_at_the_same_moment(checks: PlannedChecks) -> None:
    run = Run(checks, retrieve=running, listed=running)

    assert set(run.results().values()) == {"in_progress"}
    assert len(run.pages) == 6
    assert run.pages[0] >= NOW + LATE_SECONDS
    assert run.now <= NOW + LATE_SECONDS + SAMPLE_SIZE + 6 + 3
    assert len(run.retrieves) <= LATE_SECONDS + SAMPLE_SIZE + 1


def test_a_batch_that_the_list_shows_as_ended_is_retrieved(checks: PlannedChecks) -> None:
    ended = {f"batch_{number}" for number in range(0, 540, 20)}

    def status(batch_id: str, _now: float) -> str:
        return "completed" if batch_id in ended else "in_progress"

    run = Run(checks, retrieve=status, listed=status)

    assert {batch_id for batch_id, status in run.results().items() if status == "completed"} == ended
    assert ended <= {watched.batch_id for watched in run.retrieves}
    assert len(run.pages) == 6
    assert len(run.retrieves) <= LATE_SECONDS + SAMPLE_SIZE + len(ended) + 1


def test_no_wait_times_out_by_a_list_that_is_out_of_date(checks: PlannedChecks) -> None:
    def completed(_batch_id: str, _now: float) -> str:
        return "completed"

    run = Run(checks, retrieve=completed, listed=running)

    assert set(run.results().values()) == {"completed"}
    assert len(run.retrieves) == 540


@pytest.mark.parametrize("lag", [1, MAX_LAG_SECONDS])
def test_no_wait_times_out_by_a_list_that_is_late_if_the_batch_ended_before_the_deadline(
    checks: PlannedChecks, lag: float
) -> None:
    def listed(_batch_id: str, now: float) -> str:
        return "completed" if now - lag >= NOW else "in_progress"

    run = Run(checks, retrieve=lambda _batch_id, now: "completed", listed=listed)

    assert set(run.results().values()) == {"completed"}


def test_deadlines_are_served_by_retrieves_if_the_list_fails(checks: PlannedChecks) -> None:
    run = Run(checks, retrieve=running, listed=running, list_fails=True)

    assert set(run.results().values()) == {"in_progress"}
    assert len(run.retrieves) == 540
    assert len(run.pages) == 1


def test_the_list_is_used_again_after_it_showed_an_end_late(checks: PlannedChecks) -> None:
    ended_at = NOW + LATE_SECONDS + 2  # while the sample is retrieved
    ended = {f"batch_{number}" for number in range(76, 540, 5)}

    def status(moment: float) -> Status:
        return lambda batch_id, now: "completed" if batch_id in ended and now >= moment else "in_progress"

    run = Run(checks, retrieve=status(ended_at), listed=status(ended_at + 30))

    assert set(run.results().values()) == {"completed", "in_progress"}
    assert len(run.pages) == 2 * 6
    assert run.pages[6] - run.pages[5] >= MAX_LAG_SECONDS
    assert len(run.retrieves) < 300


def test_deadlines_of_long_ago_are_served_after_a_sample() -> None:
    checks = PlannedChecks()
    for number in range(250):
        checks.plan(f"batch_{number}", due=NOW - LATE_SECONDS, is_last=True)

    run = Run(checks, retrieve=running, listed=running)

    assert (len(run.retrieves), len(run.pages)) == (SAMPLE_SIZE, 3)


def test_a_sample_does_not_count_after_the_list_failed_meanwhile() -> None:
    checks = PlannedChecks()
    for number in range(250):
        checks.plan(f"batch_{number}", due=NOW - LATE_SECONDS, is_last=True)

    def retrieve_until_scan(now: float, most: int) -> int:
        for number in range(most):
            chosen = checks.choose(now)
            if not isinstance(chosen, WatchedBatch):
                return number
            checks.schedule.record_retrieve(chosen, Batch(id=chosen.batch_id, status="in_progress"), now)
        return most

    assert retrieve_until_scan(NOW, SAMPLE_SIZE) == SAMPLE_SIZE
    checks.schedule.list_health.record_failure(RespanTransientError("No answer."), NOW)
    assert retrieve_until_scan(NOW, 20) == 20
    assert retrieve_until_scan(NOW + LIST_RETRY_SECONDS, 100) == SAMPLE_SIZE


def test_a_sample_whose_retrieves_fail_does_not_count(checks: PlannedChecks) -> None:
    def retrieve(_batch_id: str, now: float) -> str:
        return "completed" if now > NOW + LATE_SECONDS + 20 else "no answer"

    run = Run(checks, retrieve=retrieve, listed=running)

    assert len(run.retrieves) == 540
    assert not run.pages or run.pages[0] > NOW + LATE_SECONDS + 20


def test_a_page_of_another_scan_does_not_serve_a_deadline() -> None:
    checks = PlannedChecks()
    late = checks.plan("batch_late", due=NOW - LATE_SECONDS, is_last=True)
    assert checks.choose() is late
    for number in range(3):
        checks.plan(f"batch_{number}")
    scan = checks.choose()
    assert isinstance(scan, ListScan)

    page = BatchPage.from_dict({"data": [{"id": "batch_late", "status": "in_progress"}], "has_more": False})
    checks.schedule.record_page(scan, page, NOW)

    assert late.has_planned_check()


def test_few_late_checks_are_retrieved() -> None:
    checks = PlannedChecks()
    for number in range(2 * SAMPLE_SIZE):
        checks.plan(f"batch_{number}", due=NOW - LATE_SECONDS, is_last=True)

    run = Run(checks, retrieve=running, listed=running)

    assert (len(run.retrieves), len(run.pages)) == (2 * SAMPLE_SIZE, 0)


def test_a_scan_that_is_under_way_is_finished_first_and_serves_deadlines_from_there() -> None:
    checks = PlannedChecks()
    for number in range(250):
        checks.plan(f"batch_{number}")
    scan = checks.choose()
    assert isinstance(scan, ListScan)
    data = [{"id": f"batch_{number}", "status": "in_progress"} for number in range(100)]
    scan.request_in_flight = False
    checks.schedule.record_page(scan, BatchPage.from_dict({"data": data, "has_more": True}), NOW)
    for number in range(250, 500):
        checks.plan(f"batch_{number}", due=NOW - LATE_SECONDS, is_last=True)

    run = Run(checks, retrieve=running, listed=running)

    assert set(run.results().values()) == {"in_progress"}
    assert len(run.retrieves) <= 2 * SAMPLE_SIZE + 2
    assert len(run.pages) <= 2 + 5


def test_each_provider_needs_its_own_sample() -> None:
    checks = PlannedChecks()
    for number in range(150):
        for provider_id in ("openai", "parasail"):
            checks.plan(f"batch_{number}", due=NOW - LATE_SECONDS, is_last=True, provider_id=provider_id)

    sample, scans = [], []
    while len(scans) < 2:
        chosen = checks.choose()
        if isinstance(chosen, ListScan):
            scans.append((chosen.provider_id, {watched.provider_id for watched in sample}, len(sample)))
            chosen.request_in_flight, sample = False, []
            data = [{"id": f"batch_{number}", "status": "in_progress"} for number in range(150)]
            checks.schedule.record_page(chosen, BatchPage.from_dict({"data": data, "has_more": False}), NOW)
        else:
            assert chosen is not None
            sample.append(chosen)
            checks.schedule.record_retrieve(chosen, Batch(id=chosen.batch_id, status="in_progress"), NOW)

    assert scans == [(provider_id, {provider_id}, SAMPLE_SIZE) for provider_id in ("openai", "parasail")]
