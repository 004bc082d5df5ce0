from __future__ import annotations

import bisect
import itertools
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.polling.rate_limit import MAX_SHARED_PAUSE_SECONDS, WINDOW_SECONDS, RateLimit


def send_times(per_minute: int, pauses: list[float], number: int = 200) -> list[float]:
    """Return when a client sends that always has a request to send, but sleeps between them."""
    limit, now, sent = RateLimit(), 1000.0, []
    for position in range(number):
        now += pauses[position % len(pauses)]
        while seconds := limit.seconds_until_free(per_minute, now):
            now += seconds
        limit.record_request(now)
        sent.append(now)
    return sent


def max_in_a_minute(sent: list[float]) -> int:
    return max(position - bisect.bisect_right(sent, moment - 60) + 1 for position, moment in enumerate(sent))


@given(st.integers(1, 100), st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_no_minute_has_more_requests_than_nine_tenths_of_the_limit(per_minute: int, pauses: list[float]) -> None:
    assert max_in_a_minute(send_times(per_minute, pauses)) <= max(1, per_minute * 0.9)


def test_nine_tenths_of_the_limit_are_used_when_there_are_enough_requests() -> None:
    sent = send_times(60, [0.0], number=540)

    assert 540 / (sent[-1] - sent[0]) * 60 > 52


def test_three_tenths_of_the_requests_are_sent_at_once_and_the_rest_evenly() -> None:
    sent = send_times(60, [0.0])
    gaps = [round(later - sooner, 3) for sooner, later in itertools.pairwise(sent)]

    assert gaps[:16] == [0] * 16
    assert set(gaps[54:]) == {round(WINDOW_SECONDS / 54, 3)}


def test_zero_requests_a_minute_means_no_limit() -> None:
    sent = send_times(0, [0.0])

    assert sent[0] == sent[-1]


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    limit = RateLimit()
    limit.pause_until(1030.0)
    limit.pause_until(1010.0)

    assert limit.seconds_paused(1000.0) == 30
    assert limit.seconds_paused(1030.0) == 0


@pytest.mark.parametrize(("paused_until", "is_limiting"), [(float("-inf"), True), (999.0, False)])
def test_a_pause_of_the_service_is_not_reported_as_the_limit(paused_until: float, is_limiting: bool) -> None:
    limit = RateLimit()
    limit.pause_until(paused_until)
    for _ in range(30):
        limit.record_request(1000.0)

    assert limit.is_limiting(60, 1000.0) is is_limiting
    assert not limit.is_limiting(0, 1000.0)


@pytest.mark.parametrize("per_minute", [0, 60])
@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_the_memory_of_requests_does_not_grow(per_minute: int, pause: float) -> None:
    limit, now = RateLimit(), 1000.0
    kept = []
    for number in range(20_000):
        now += pause + limit.seconds_until_free(per_minute, now)
        limit.record_request(now)
        if number % 1000 == 0:
            kept.append(getsizeof(limit._sent_at))

    assert max(kept) < 2000


@pytest.mark.parametrize(("retry_after", "pause"), [(5, 5), (3600, MAX_SHARED_PAUSE_SECONDS)])
def test_a_refused_request_pauses_all_others_for_a_minute_at_most(retry_after: float, pause: float) -> None:
    limit = RateLimit()

    limit.record_refusal("batch_1", retry_after, 1000.0)

    assert limit.seconds_paused(1000.0) == pause


def test_after_a_pause_it_is_tested_whether_others_are_answered() -> None:
    limit = RateLimit()
    assert limit.is_tested

    limit.record_refusal("batch_1", 3600, 1000.0)
    limit.record_answer("batch_2", 1001.0)  # sent before the refusal
    assert not limit.is_tested

    limit.record_refusal("batch_2", 3600, 1060.0)
    assert limit.seconds_paused(1060.0) == MAX_SHARED_PAUSE_SECONDS

    limit.record_answer("batch_3", 1120.0)
    assert limit.is_tested


def test_a_batch_that_is_refused_while_others_are_answered_pauses_nobody() -> None:
    limit = RateLimit()
    limit.record_refusal("batch_1", 10, 1000.0)
    limit.record_answer("batch_2", 1010.0)

    limit.record_refusal("batch_1", 10, 1011.0)
    assert limit.seconds_paused(1011.0) == 0

    limit.record_refusal("batch_2", 10, 1012.0)
    assert limit.seconds_paused(1012.0) == 10


def test_a_batch_that_was_answered_or_left_can_pause_all_again() -> None:
    limit = RateLimit()
    for batch_id in ("batch_1", "batch_2"):
        limit.record_refusal(batch_id, 10, 1000.0)
        limit.record_answer("batch_3", 1010.0)
    limit.record_answer("batch_1", 1010.0)
    limit.forget("batch_2")

    limit.record_refusal("batch_1", 10, 1011.0)
    assert limit.seconds_paused(1011.0) == 10
    limit.end_pause()
    assert limit.seconds_paused(1011.0) == 0
    limit.record_refusal("batch_2", 10, 1011.0)
    assert limit.seconds_paused(1011.0) == 10
