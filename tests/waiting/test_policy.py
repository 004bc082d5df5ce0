from __future__ import annotations

import json
import logging
import re
from typing import Any

import pendulum
import pytest
import time_machine

from airflow_respan.api.batch import Batch, RequestCounts
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


def going_on(**counts: int) -> Batch:
    return Batch(id="batch_1", status="in_progress", request_counts=RequestCounts(**counts))


def begun(seconds_ago: float = 0, **options: Any) -> BatchWait:
    started_at = pendulum.now("UTC").subtract(seconds=seconds_ago).isoformat()
    return BatchWait(batch_id="batch_1", started_at=started_at, **options)


@pytest.mark.parametrize(
    ("seconds_ago", "options", "least"),
    [
        (0, {}, 60),
        (1000, {"exponential_backoff": True}, 1000),
        (10, {"exponential_backoff": True}, 60),
        (1000, {"exponential_backoff": True, "max_wait": 300}, 300),
        (1000, {"max_wait": 300}, 60),
    ],
)
def test_the_pause_is_the_interval_or_the_wait_so_far_with_jitter_on_top(
    seconds_ago: float, options: dict[str, Any], least: float
) -> None:
    with time_machine.travel(NOW, tick=False):
        wait = begun(seconds_ago, poke_interval=60, **options)
        pauses = {wait.pause_seconds() for _ in range(100)}

    assert len(pauses) > 1
    assert least <= min(pauses) <= max(pauses) <= least * (1 + JITTER_RATIO)


def test_the_pause_ends_at_the_deadline() -> None:
    assert 9 < begun(90, timeout=100, poke_interval=60).pause_seconds() <= 10
    assert begun(200, timeout=100, poke_interval=60).pause_seconds() == 0


def test_a_look_planned_for_the_moment_before_the_deadline_is_the_one_at_the_deadline() -> None:
    with time_machine.travel(NOW, tick=False):
        planned = NOW.add(seconds=9.9996).isoformat()
        wait = begun(90, timeout=100, poke_interval=60, next_check_at=planned)

        assert wait.pause_seconds() == wait.seconds_left() == 10


def test_the_pause_keeps_to_what_the_one_before_had_planned() -> None:
    planned = pendulum.now("UTC").add(seconds=300)

    assert 299 < begun(poke_interval=60, next_check_at=planned.isoformat()).pause_seconds() <= 300
    assert begun(poke_interval=60, next_check_at=planned.subtract(hours=1).isoformat()).pause_seconds() >= 60


@pytest.mark.parametrize("seen", [going_on(), RespanTransientError("busy")])
def test_what_the_one_before_had_planned_is_over_with_a_look_though_that_be_early(seen: Batch | RespanError) -> None:
    wait = begun(poke_interval=60, next_check_at=pendulum.now("UTC").add(seconds=5).isoformat())

    wait.on_batch(seen) if isinstance(seen, Batch) else wait.on_error(seen)

    assert wait.pause_seconds() >= 60


def test_the_pause_lasts_as_long_as_the_service_asked() -> None:
    wait = begun(poke_interval=60)
    wait.on_error(RespanTransientError("busy", status_code=429, retry_after=600))

    assert wait.pause_seconds() >= 600


@pytest.mark.parametrize("name", ["timeout", "poke_interval", "max_wait", "not_found_grace"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e300, "60"])
def test_a_number_of_seconds_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        BatchWait(batch_id="batch_1", **{name: value})

    assert str(refused.value) == f"{name} is {value!r}; it is a number of seconds, from 0 to 3153600000"


@pytest.mark.parametrize("name", ["started_at", "next_check_at"])
@pytest.mark.parametrize("value", ["yesterday", "P1D", 7])
def test_a_moment_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        BatchWait(batch_id="batch_1", **{name: value})

    assert str(refused.value) == f"{name} is {value!r}; it is a moment, ISO 8601 with offset"


def test_a_wait_that_begins_in_the_future_by_another_clock_begins_now() -> None:
    wait = begun(-3600, timeout=100, poke_interval=10)

    assert 10 <= wait.pause_seconds() <= 11
    assert 99 < wait.seconds_left() <= 100


def test_an_error_that_passes_is_waited_out() -> None:
    begun(10_000).on_error(RespanTransientError("busy"))


def test_a_connection_that_somebody_has_looked_by_may_be_missing_for_ten_minutes() -> None:
    error = RespanMissingConnectionError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = begun(3600, next_check_at=NOW.isoformat())
        for minutes in (0, 5, 4):
            clock.shift(minutes * 60)
            wait.on_error(error)

        wait.on_batch(Batch(id="batch_1", status="in_progress"))
        clock.shift(3600)
        wait.on_error(error)
        clock.shift(600)
        with pytest.raises(RespanMissingConnectionError):
            wait.on_error(error)


def test_a_batch_that_was_there_may_be_gone_for_as_long_as_a_new_one() -> None:
    error = RespanNotFoundError("not there")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = begun(3600, not_found_grace=60)
        for _ in range(2):
            wait.on_batch(Batch(id="batch_1", status="in_progress"))
            clock.shift(3600)
            wait.on_error(error)
            clock.shift(59)
            wait.on_error(error)
        clock.shift(1)
        with pytest.raises(RespanNotFoundError):
            wait.on_error(error)


def test_a_connection_that_nobody_has_looked_by_may_not_be_missing() -> None:
    with pytest.raises(RespanMissingConnectionError):
        begun().on_error(RespanMissingConnectionError("not there"))


@pytest.mark.parametrize("error", [RespanAPIError("no"), RespanConfigurationError("no"), RespanNotFoundError("no")])
def test_an_error_that_does_not_pass_ends_the_wait(error: Exception) -> None:
    with pytest.raises(type(error)) as ended:
        begun(61).on_error(error)

    assert ended.value is error


def test_not_found_means_not_yet_at_first() -> None:
    begun(59).on_error(RespanNotFoundError("no"))


@pytest.mark.parametrize("error", [RespanAPIError("no"), RespanConfigurationError("no"), RespanNotFoundError("no")])
def test_silent_fail_waits_out_everything(error: Exception) -> None:
    begun(10_000, silent_fail=True).on_error(error)


def test_an_outage_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    wait = begun()
    for _ in range(5):
        wait.on_error(RespanTransientError("Respan gave no answer."))
    wait.on_batch(Batch(id="batch_1", status="in_progress"))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Waiting on for batch batch_1: Respan gave no answer."),
        ("INFO", "Respan answers again about batch batch_1."),
        ("INFO", "Batch batch_1 is in_progress."),
    ]


def test_of_many_requests_each_percent_and_the_first_failure_are_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    wait = begun()
    for completed in range(0, 2000, 10):
        wait.on_batch(going_on(total=50_000, completed=completed, failed=0))
    for failed in range(5):
        wait.on_batch(going_on(total=50_000, completed=1990, failed=failed))

    done = [re.search(r"(\d+) of 50000 requests completed, (\d) failed", line) for line in caplog.messages]
    assert [found and found.groups() for found in done] == [
        ("0", "0"),
        ("500", "0"),
        ("1000", "0"),
        ("1500", "0"),
        ("1990", "1"),
    ]


def test_counts_without_a_total_are_news_whenever_they_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    wait = begun()
    for completed in (1, 1, 2):
        wait.on_batch(going_on(completed=completed))

    assert len(caplog.messages) == 2


def test_a_long_wait_without_news_has_a_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    with time_machine.travel(NOW, tick=False) as clock:
        wait = begun()
        for _minute in range(31):
            wait.on_batch(Batch(id="batch_1", status="in_progress"))
            clock.shift(60)

    assert len(caplog.records) == 4


def test_who_waits_on_does_not_repeat_what_the_log_was_told_before(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")
    with time_machine.travel(NOW, tick=False) as clock:
        before = begun()
        before.on_batch(going_on(total=100, completed=1, failed=0))
        after = BatchWait(**json.loads(json.dumps(before.options())))
        clock.shift(60)
        after.on_batch(going_on(total=100, completed=1, failed=0))
        after.on_batch(going_on(total=100, completed=2, failed=0))
        restarted = BatchWait(**before.options())
        clock.shift(540)
        restarted.on_batch(going_on(total=100, completed=1, failed=0))

    assert [line.partition(",")[2] for line in caplog.messages] == [
        f" {completed} of 100 requests completed, 0 failed ({completed}%)." for completed in (1, 2, 1)
    ]


def test_who_waits_on_in_an_outage_does_not_repeat_it_and_carries_nothing_that_was_said_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = begun()
    before.on_error(RespanTransientError("Respan said: something private."))
    options = json.dumps(before.options())
    BatchWait(**json.loads(options)).on_error(RespanTransientError("Respan said: something private."))

    assert len(caplog.messages) == 1
    assert "private" not in options
