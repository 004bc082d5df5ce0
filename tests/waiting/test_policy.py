from __future__ import annotations

import json
import logging
import re
from typing import Any

import pendulum
import pytest
import time_machine

from airflow_respan.api.batch import Batch
from airflow_respan.api.request_counts import RequestCounts
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanTransientError,
)
from airflow_respan.waiting.pauses import JITTER_RATIO
from airflow_respan.waiting.policy import MAX_UNKNOWN_STATUSES, BatchWait

NOW = pendulum.datetime(2026, 1, 1, 12, 0, 0)


def running_batch(**counts: int) -> Batch:
    return Batch(id="batch_1", status="in_progress", request_counts=RequestCounts(**counts))


def wait_started(seconds_ago: float = 0, **options: Any) -> BatchWait:
    started_at = pendulum.now("UTC").subtract(seconds=seconds_ago).isoformat()
    return BatchWait(batch_id="batch_1", started_at=started_at, **options)


def test_the_pause_is_the_interval_with_jitter_on_top() -> None:
    with time_machine.travel(NOW, tick=False):
        wait = wait_started(1000, poke_interval=60, max_wait=30)
        wait.on_batch(running_batch())
        pauses = {wait.pause_seconds() for _ in range(100)}

    assert len(pauses) > 1
    assert 60 <= min(pauses) <= max(pauses) <= 60 * (1 + JITTER_RATIO)


@pytest.mark.parametrize("seconds_ago", [0, 30, 300, 5 * 3600])
@pytest.mark.parametrize("was_planned", [True, False])
def test_no_pause_is_longer_than_max_wait(seconds_ago: float, was_planned: bool) -> None:
    planned = {"next_check_at": NOW.subtract(seconds=seconds_ago).isoformat()} if was_planned else {}
    with time_machine.travel(NOW, tick=False):
        wait = wait_started(seconds_ago, poke_interval=60, exponential_backoff=True, max_wait=300, **planned)
        pauses = {wait.pause_seconds() for _ in range(100)}
        wait.on_batch(running_batch())
        pauses |= {wait.pause_seconds() for _ in range(100)}

    assert max(pauses) <= 300
    assert len(pauses) > 1


def test_with_backoff_the_age_doubles_from_check_to_check() -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started(poke_interval=60, exponential_backoff=True)
        ages = []
        for _ in range(8):
            wait.on_batch(running_batch())
            clock.shift(wait.pause_seconds())
            ages.append(pendulum.now("UTC").timestamp() - NOW.timestamp())

    for number, age in enumerate(ages):
        assert 60 * 2**number <= age <= 60 * 2**number * (1 + JITTER_RATIO)


def test_with_backoff_a_check_that_was_a_quarter_of_its_pause_early_counts_as_the_planned_one() -> None:
    with time_machine.travel(NOW, tick=False):
        wait = wait_started(3600 * (4 - 0.25 * 2), poke_interval=3600, exponential_backoff=True)
        wait.on_batch(running_batch())

        assert wait.pause_seconds() >= 3600 * (8 - 4)


@pytest.mark.parametrize("age_hours", [5, 9, 11, 13.9, 15.9])
def test_a_restarted_wait_with_backoff_checks_at_once_and_then_when_the_wait_before_would_have(
    age_hours: float,
) -> None:
    first_check = NOW.add(hours=1).isoformat()
    with time_machine.travel(NOW, tick=False) as clock:
        deferred = wait_started(poke_interval=3600, exponential_backoff=True, next_check_at=first_check)
        clock.shift(age_hours * 3600)
        restarted = BatchWait(**deferred.options())
        assert restarted.pause_seconds() == 0
        restarted.on_batch(running_batch())
        next_age = age_hours + restarted.pause_seconds() / 3600

    before, planned = (4, 8) if age_hours < 8 else (8, 16)
    if age_hours < planned - 0.25 * (planned - before) / 2:
        assert planned <= next_age <= planned * (1 + JITTER_RATIO)
    else:  # the check at once was nearly the planned one
        assert next_age <= 2 * planned * (1 + JITTER_RATIO)


def test_the_pause_ends_at_the_deadline() -> None:
    assert 9 < wait_started(90, timeout=100, poke_interval=60).pause_seconds() <= 10
    assert wait_started(200, timeout=100, poke_interval=60).pause_seconds() == 0


def test_a_check_planned_just_before_the_deadline_is_made_at_the_deadline() -> None:
    with time_machine.travel(NOW, tick=False):
        planned = NOW.add(seconds=9.9996).isoformat()
        wait = wait_started(90, timeout=100, poke_interval=60, next_check_at=planned)

        assert wait.pause_seconds() == wait.seconds_left() == 10


def test_the_first_pause_ends_when_the_process_before_had_planned_its_next_check() -> None:
    planned = pendulum.now("UTC").add(seconds=300)

    assert 299 < wait_started(poke_interval=60, next_check_at=planned.isoformat()).pause_seconds() <= 300


def test_a_check_that_the_process_before_could_not_make_any_more_is_made_at_once() -> None:
    planned = pendulum.now("UTC").subtract(hours=1)

    assert wait_started(7200, poke_interval=60, next_check_at=planned.isoformat()).pause_seconds() == 0


def handed_over(wait: BatchWait, *, pause: float) -> BatchWait:
    """Return the wait of the next process, with its check planned by the clock of this one."""
    now = pendulum.now("UTC")
    wait.checked_at, wait.next_check_at = now.isoformat(), now.add(seconds=pause).isoformat()
    return BatchWait(**json.loads(json.dumps(wait.options())))


@pytest.mark.parametrize("ahead", [600, 86_400])
@pytest.mark.parametrize("age", [0, 3600])
def test_the_first_check_is_as_planned_although_the_clock_of_the_process_before_was_ahead(
    ahead: float, age: float
) -> None:
    with time_machine.travel(NOW.add(seconds=ahead), tick=False) as clock:
        worker = wait_started(age, poke_interval=60, timeout=7200)
        clock.move_to(NOW)
        clock.shift(ahead)
        now = pendulum.now("UTC")
        worker.checked_at, worker.next_check_at = now.isoformat(), now.add(seconds=60).isoformat()
        clock.move_to(NOW)
        triggerer = BatchWait(**worker.options())

        assert triggerer.pause_seconds() == 60
        assert triggerer.seconds_left() == 7200 - age


def test_a_planned_check_far_in_the_future_is_kept_if_the_service_asked_for_it() -> None:
    with time_machine.travel(NOW, tick=False):
        assert handed_over(wait_started(poke_interval=60), pause=3600).pause_seconds() == 3600


def test_progress_is_logged_although_the_clock_was_set_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started()
        wait.on_batch(running_batch())
        clock.shift(-86_400)
        wait.on_batch(running_batch())
        clock.shift(60)
        wait.on_batch(running_batch())

    assert len(caplog.messages) == 2


@pytest.mark.parametrize("result", [running_batch(), RespanTransientError("busy")])
def test_after_an_early_check_the_plan_of_the_process_before_is_not_used(result: Batch | RespanError) -> None:
    wait = wait_started(poke_interval=60, next_check_at=pendulum.now("UTC").add(seconds=5).isoformat())

    wait.on_batch(result) if isinstance(result, Batch) else wait.on_error(result)

    assert wait.pause_seconds() >= 60


def test_the_pause_is_at_least_the_retry_after() -> None:
    wait = wait_started(poke_interval=60)
    wait.on_error(RespanTransientError("busy", status_code=429, retry_after=600))

    assert wait.pause_seconds() >= 600


@pytest.mark.parametrize("name", ["timeout", "poke_interval", "max_wait", "not_found_grace"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e300, "60"])
def test_an_invalid_number_of_seconds_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        BatchWait(batch_id="batch_1", **{name: value})

    assert str(refused.value) == f"{name} is {value!r}; it must be a number of seconds from 0 to 3153600000"


@pytest.mark.parametrize("name", ["started_at", "next_check_at", "checked_at", "missing_since"])
@pytest.mark.parametrize("value", ["yesterday", "P1D", 7])
def test_an_invalid_time_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        BatchWait(batch_id="batch_1", **{name: value})

    assert str(refused.value) == f"{name} is {value!r}; it must be a time in ISO 8601 with offset"


def test_a_wait_that_began_on_a_clock_ahead_starts_now() -> None:
    wait = wait_started(-3600, timeout=100, poke_interval=10)

    assert 10 <= wait.pause_seconds() <= 11
    assert 99 < wait.seconds_left() <= 100


def test_a_transient_error_does_not_end_the_wait() -> None:
    wait_started(10_000).on_error(RespanTransientError("busy"))


def test_a_connection_that_was_used_before_may_be_missing_for_ten_minutes() -> None:
    error = RespanMissingConnectionError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started(3600, next_check_at=NOW.isoformat())
        for minutes in (0, 5, 4):
            clock.shift(minutes * 60)
            wait.on_error(error)

        wait.on_batch(Batch(id="batch_1", status="in_progress"))
        clock.shift(3600)
        wait.on_error(error)
        clock.shift(600)
        with pytest.raises(RespanMissingConnectionError):
            wait.on_error(error)


def test_a_batch_that_was_found_before_may_be_missing_for_the_grace_period() -> None:
    error = RespanNotFoundError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started(3600, not_found_grace=60)
        for _ in range(2):
            wait.on_batch(Batch(id="batch_1", status="in_progress"))
            clock.shift(3600)
            wait.on_error(error)
            clock.shift(59)
            wait.on_error(error)
        clock.shift(1)
        with pytest.raises(RespanNotFoundError):
            wait.on_error(error)


def test_each_404_of_one_absence_counts_from_the_first() -> None:
    error = RespanNotFoundError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started(not_found_grace=60)
        for _ in range(3):
            wait.on_error(error)
            wait.on_error(RespanTransientError("busy"))
            clock.shift(20)
        with pytest.raises(RespanNotFoundError):
            wait.on_error(error)


@pytest.mark.parametrize("is_found", [True, False])
def test_the_process_that_continues_counts_from_the_404_of_the_process_before(is_found: bool) -> None:
    error = RespanNotFoundError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        worker = wait_started(5 * 3600, not_found_grace=60)
        worker.on_error(error)
        if is_found:
            worker.on_batch(running_batch())
        triggerer = handed_over(worker, pause=60)
        clock.shift(60)
        if is_found:
            triggerer.on_error(error)
        else:
            with pytest.raises(RespanNotFoundError):
                triggerer.on_error(error)


def test_a_404_of_long_ago_does_not_count_after_a_restart() -> None:
    error = RespanNotFoundError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        worker = wait_started(not_found_grace=60)
        worker.on_error(error)
        deferred = handed_over(worker, pause=60)
        # The triggerer has found the batch, and has been restarted after five hours.
        clock.shift(5 * 3600)
        restarted = BatchWait(**deferred.options())
        restarted.on_error(error)
        assert restarted.missing_since == pendulum.now("UTC").isoformat()
        clock.shift(60)
        with pytest.raises(RespanNotFoundError):
            restarted.on_error(error)


def test_a_check_is_made_when_the_grace_period_ends() -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started(5 * 3600, poke_interval=3600, not_found_grace=60)
        wait.on_batch(running_batch())
        wait.on_error(RespanNotFoundError("not there"))

        assert wait.pause_seconds() == 60
        assert wait.must_stay(60)
        clock.shift(60)
        with pytest.raises(RespanNotFoundError):
            wait.on_error(RespanNotFoundError("not there"))


@pytest.mark.parametrize("error", [RespanTransientError("busy"), RespanNotFoundError("no"), None])
def test_another_process_may_make_the_next_check_unless_the_batch_is_missing(error: RespanError | None) -> None:
    wait = wait_started(silent_fail=True)
    wait.on_batch(running_batch()) if error is None else wait.on_error(error)

    assert not wait.must_stay(wait.pause_seconds())


def test_the_grace_period_of_the_batch_is_not_used_up_by_a_missing_connection() -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started(3600, checked_at=NOW.isoformat())
        wait.on_error(RespanMissingConnectionError("not there"))
        clock.shift(500)
        wait.on_error(RespanNotFoundError("not there"))
        clock.shift(50)
        wait.on_error(RespanMissingConnectionError("not there"))
        clock.shift(500)
        wait.on_error(RespanMissingConnectionError("not there"))


def test_only_some_statuses_that_are_not_documented_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    wait = wait_started()
    for number in range(1000):
        wait.on_batch(Batch(id="batch_1", status=f"status_{number}"))

    assert [record.levelname for record in caplog.records].count("WARNING") == MAX_UNKNOWN_STATUSES


def test_a_connection_that_was_never_used_may_not_be_missing() -> None:
    with pytest.raises(RespanMissingConnectionError):
        wait_started().on_error(RespanMissingConnectionError("not there"))


@pytest.mark.parametrize("error", [RespanAPIError("no"), RespanConfigurationError("no"), RespanNotFoundError("no")])
def test_a_permanent_error_ends_the_wait(error: Exception) -> None:
    with pytest.raises(type(error)) as ended:
        wait_started(not_found_grace=0).on_error(error)

    assert ended.value is error


def test_not_found_does_not_end_a_wait_within_the_grace_period() -> None:
    wait_started().on_error(RespanNotFoundError("no"))


@pytest.mark.parametrize("error", [RespanAPIError("no"), RespanConfigurationError("no"), RespanNotFoundError("no")])
def test_with_silent_fail_no_error_ends_the_wait(error: Exception) -> None:
    wait_started(10_000, silent_fail=True).on_error(error)


def test_an_outage_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    wait = wait_started()
    for _ in range(5):
        wait.on_error(RespanTransientError("Respan gave no answer."))
    wait.on_batch(Batch(id="batch_1", status="in_progress"))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Batch batch_1 could not be checked; the wait continues: Respan gave no answer."),
        ("INFO", "Batch batch_1 can be checked again."),
        ("INFO", "Batch batch_1 is in_progress."),
    ]


def test_each_percent_and_the_first_failed_request_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    wait = wait_started()
    for completed in range(0, 2000, 10):
        wait.on_batch(running_batch(total=50_000, completed=completed, failed=0))
    for failed in range(5):
        wait.on_batch(running_batch(total=50_000, completed=1990, failed=failed))

    done = [re.search(r"(\d+) of 50000 requests completed, (\d) failed", line) for line in caplog.messages]
    assert [found and found.groups() for found in done] == [
        ("0", "0"),
        ("500", "0"),
        ("1000", "0"),
        ("1500", "0"),
        ("1990", "1"),
    ]


def test_counts_without_a_total_are_logged_whenever_they_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    wait = wait_started()
    for completed in (1, 1, 2):
        wait.on_batch(running_batch(completed=completed))

    assert len(caplog.messages) == 2


def test_unchanged_progress_is_logged_every_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = wait_started()
        for _minute in range(31):
            wait.on_batch(Batch(id="batch_1", status="in_progress"))
            clock.shift(60)

    assert len(caplog.records) == 4


def test_the_process_that_continues_a_wait_does_not_repeat_the_last_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    with time_machine.travel(NOW, tick=False) as clock:
        before = wait_started()
        before.on_batch(running_batch(total=100, completed=1, failed=0))
        after = BatchWait(**json.loads(json.dumps(before.options())))
        clock.shift(60)
        after.on_batch(running_batch(total=100, completed=1, failed=0))
        after.on_batch(running_batch(total=100, completed=2, failed=0))
        restarted = BatchWait(**before.options())
        clock.shift(540)
        restarted.on_batch(running_batch(total=100, completed=1, failed=0))

    assert [line.partition(",")[2] for line in caplog.messages] == [
        f" {completed} of 100 requests completed, 0 failed ({completed}%)." for completed in (1, 2, 1)
    ]


def test_the_process_that_continues_in_an_outage_does_not_repeat_the_error_and_no_text_of_it_is_saved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = wait_started()
    before.on_error(RespanTransientError("Respan answered: something private."))
    options = json.dumps(before.options())
    BatchWait(**json.loads(options)).on_error(RespanTransientError("Respan answered: something private."))

    assert len(caplog.messages) == 1
    assert "private" not in options
