from __future__ import annotations

import bisect
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.polling.rate_limit import WINDOW_SECONDS, RateLimit


def sent_by_a_greedy_client(per_minute: int, pauses: list[float], number: int = 200) -> list[float]:
    """When requests go out of a client that always has one, but sleeps now and then."""
    budget, now, sent = RateLimit(), 1000.0, []
    for position in range(number):
        now += pauses[position % len(pauses)]
        while seconds := budget.seconds_until_free(per_minute, now):
            now += seconds
        budget.record_request(now)
        sent.append(now)
    return sent


def most_in_a_minute(sent: list[float]) -> int:
    return max(position - bisect.bisect_right(sent, moment - 60) + 1 for position, moment in enumerate(sent))


@given(st.integers(1, 100), st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_no_minute_sees_more_than_nine_tenths_of_the_budget(per_minute: int, pauses: list[float]) -> None:
    assert most_in_a_minute(sent_by_a_greedy_client(per_minute, pauses)) <= max(1, per_minute * 0.9)


def test_the_budget_is_used_up_when_there_is_enough_to_ask() -> None:
    sent = sent_by_a_greedy_client(60, [0.0], number=540)

    assert 540 / (sent[-1] - sent[0]) * 60 > 52


def test_some_of_it_may_go_out_at_once_and_the_rest_evenly() -> None:
    sent = sent_by_a_greedy_client(60, [0.0])
    gaps = [round(later - sooner, 3) for sooner, later in itertools.pairwise(sent)]

    assert gaps[:16] == [0] * 16
    assert set(gaps[54:]) == {round(WINDOW_SECONDS / 54, 3)}


def test_no_budget_is_no_limit() -> None:
    sent = sent_by_a_greedy_client(0, [0.0])

    assert sent[0] == sent[-1]


def test_what_the_service_asks_for_holds_until_its_end() -> None:
    budget = RateLimit()
    budget.pause_until(1030.0)
    budget.pause_until(1010.0)

    assert budget.seconds_paused(1000.0) == 30
    assert budget.seconds_paused(1030.0) == 0


@pytest.mark.parametrize(("held_until", "scarce"), [(float("-inf"), True), (999.0, False)])
def test_a_budget_is_not_blamed_for_what_the_service_asked_for(held_until: float, scarce: bool) -> None:
    budget = RateLimit()
    budget.pause_until(held_until)
    for _ in range(30):
        budget.record_request(1000.0)

    assert budget.is_limiting(60, 1000.0) is scarce
    assert not budget.is_limiting(0, 1000.0)
