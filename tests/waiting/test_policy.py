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
from airflow_respan.waiting.policy import JITTER_RATIO, BatchWait

NOW = pendulum.datetime(2026, 1, 1, 12, 0, 0)


def running_batch(**counts: int) -> Batch:
    return Batch(id="batch_1", status="in_progress", request_counts=RequestCounts(**counts))


def wait_started(seconds_ago: float = 0, **options: Any) -> BatchWait:
    started_at = pendulum.now("UTC").subtract(seconds=seconds_ago).isoformat()
    return BatchWait(batch_id="batch_1", started_at=started_at, **options)


@pytest.mark.parametrize(
    ("seconds_ago", "options", "shortest"),
    [
        (0, {}, 60),
        (1000, {"exponential_backoff": True}, 1000),
        (10, {"exponential_backoff": True}, 60),
        (1000, {"exponential_backoff": True, "max_wait": 300}, 300),
        (1000, {"max_wait": 300}, 60),
    ],
)
def test_the_pause_is_the_interval_or_the_wait_so_far_with_jitter_on_top(
    seconds_ago: float, options: dict[str, Any], shortest: float
) -> None:
    with time_machine.travel(NOW, tick=False):
        wait = wait_started(seconds_ago, poke_interval=60, **options)
        pauses = {wait.pause_seconds() for _ in range(100)}

    assert len(pauses) > 1
    assert shortest <= min(pauses) <= max(pauses) <= shortest * (1 + JITTER_RATIO)


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
    assert wait_started(poke_interval=60, next_check_at=planned.subtract(hours=1).isoformat()).pause_seconds() >= 60


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


@pytest.mark.parametrize("name", ["started_at", "next_check_at"])
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


def test_a_connection_that_was_never_used_may_not_be_missing() -> None:
    with pytest.raises(RespanMissingConnectionError):
        wait_started().on_error(RespanMissingConnectionError("not there"))


@pytest.mark.parametrize("error", [RespanAPIError("no"), RespanConfigurationError("no"), RespanNotFoundError("no")])
def test_a_permanent_error_ends_the_wait(error: Exception) -> None:
    with pytest.raises(type(error)) as ended:
        wait_started(61).on_error(error)

    assert ended.value is error


def test_not_found_does_not_end_a_wait_within_the_grace_period() -> None:
    wait_started(59).on_error(RespanNotFoundError("no"))


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
