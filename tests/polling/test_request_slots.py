"""How many requests may be under way. Each test passes the time, so no test waits."""

from __future__ import annotations

from airflow_respan.polling.request_slots import (
    MAX_CONCURRENT_REQUESTS,
    MAX_OPEN_REQUESTS,
    SLOW_SECONDS,
    RequestSlots,
)
from airflow_respan.polling.watched_batch import WatchedBatch

NOW = 1000.0
FULL = range(MAX_CONCURRENT_REQUESTS)


def slots_with(requests: range, sent_at: float = NOW) -> RequestSlots:
    slots = RequestSlots()
    for request in requests:
        slots.record_start(request, sent_at)
    return slots


def test_a_request_waits_until_another_one_has_ended_or_is_slow() -> None:
    slots = slots_with(FULL)
    assert slots.seconds_until_free(NOW + SLOW_SECONDS / 2) == SLOW_SECONDS / 2
    assert slots.seconds_until_free(NOW + SLOW_SECONDS) == 0

    slots.record_end(0)
    assert slots.seconds_until_free(NOW + SLOW_SECONDS / 2) == 0
    assert slots.seconds_until_free(NOW + SLOW_SECONDS / 2, at_most=1) == SLOW_SECONDS / 2


def test_a_request_that_is_sent_again_counts_again() -> None:
    slots = slots_with(FULL)

    slots.record_start(0, NOW + SLOW_SECONDS)

    assert not slots.is_slow(0, NOW + SLOW_SECONDS)
    assert slots.is_slow(1, NOW + SLOW_SECONDS)
    assert slots.seconds_until_free(NOW + SLOW_SECONDS, at_most=1) == SLOW_SECONDS


def test_slow_requests_are_limited_too() -> None:
    slots = slots_with(range(MAX_OPEN_REQUESTS))
    assert slots.seconds_until_free(NOW + 60) == float("inf")

    slots.record_end(0)
    assert slots.seconds_until_free(NOW + 60) == 0


def test_a_batch_that_was_slow_alternates_with_others_and_takes_no_place_of_theirs() -> None:
    slots = RequestSlots()
    batches = [WatchedBatch(f"batch_{number}", None, None) for number in range(MAX_CONCURRENT_REQUESTS + 1)]
    for watched in batches:
        slots.postpone(watched)

    assert slots.pop_postponed(is_idle=False) is batches[0]
    assert slots.pop_postponed(is_idle=False) is None
    assert slots.pop_postponed(is_idle=False) is batches[1]
    assert slots.pop_postponed(is_idle=True) is batches[2]
    for request in FULL:
        slots.record_start(request, NOW, is_slow=True)
    assert slots.seconds_until_free(NOW) == 0
    assert slots.pop_postponed(is_idle=True) is None
    slots.record_end(0)
    assert slots.pop_postponed(is_idle=True) is batches[3]
