"""The figures of the benchmark are computed correctly."""

from __future__ import annotations

import asyncio
import math
import time
from operator import attrgetter

import pytest

from dev.benchmark.figures import figures_of, max_in_window, percentile
from dev.benchmark.loop_iterations import MeasuringSelector, stall_percentile

seconds = attrgetter("seconds")

RUN = {
    "provider": "respan",
    "waits": 4,
    "interval": 10.0,
    "started": 100.0,
    "startup": 20.0,
    "startup_cpu": 0.4,
    "startup_iterations": [(101.0, 0.001, 0.001), (102.0, 0.5, 0.4)],
    "all_checked": 112.0,
    "measured_from": 120.0,
    "measured_to": 180.0,
    "cpu": 0.03,
    "machine_busy": 30.03,
    "memory": 8000,
    "waiting": 2,
    "iterations": [(130.0, 0.9, 0.1), (131.0, 0.001, 0.0)],
    "ends": {"a": 130.0, "b": 140.0, "c": 150.0},
    "events": {"a": 134.0, "b": 139.0, "d": 150.0},
    "service": {
        "requests": [
            [99.0, "other_0", 1, 0],
            [101.0, "a", 2, 1],
            [121.0, "list", 2, 4],
            [160.0, "a", 2, 1],
            [190.0, "a", 2, 1],
        ],
        "connections": 2,
    },
}


def test_figures_are_for_the_measured_time_and_the_waits_in_it():
    figures = figures_of(RUN, scenario="some", budget=60)
    assert figures.cpu == pytest.approx(30 / 3)  # milliseconds; four batches first and two at last for a minute
    assert figures.cpu_with_startup == pytest.approx(430 / (3 + 4 / 3))
    assert figures.cpu_per_check == pytest.approx(30 / 5)
    assert figures.cpu_per_check_with_startup == pytest.approx(430 / 6)
    assert (figures.startup_cpu, figures.all_checked, figures.startup_stall) == pytest.approx((100, 12, 500))
    assert (figures.memory, figures.total_memory) == (2000, 8000)
    assert (figures.requests, figures.list_ratio, figures.max_requests_in_window) == (2, 0.5, 3)
    assert (figures.stall_p99, figures.stall, figures.stall_cpu) == pytest.approx((300, 900, 100))
    assert figures.other_cores == pytest.approx(0.5)


def test_an_event_counts_only_for_a_batch_that_had_ended():
    figures = figures_of(RUN, scenario="some", budget=60)
    assert figures.delays == [4.0]
    assert (figures.missed, figures.wrong_events) == (2, 2)
    assert (figures.delay(1 / 3), figures.delay(0.5)) == (4.0, math.inf)


def test_a_batch_that_was_not_checked_in_time():
    assert figures_of({**RUN, "all_checked": None}, scenario="some", budget=0).all_checked == math.inf


def test_the_most_moments_in_any_window():
    assert max_in_window([], 60) == 0
    assert max_in_window([0, 1, 59.9, 60.0, 60.5, 200], 60) == 4


def test_percentile():
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_the_seconds_within_which_a_loop_is_free_again():
    assert stall_percentile([], 0.99, seconds=100) == 0
    assert stall_percentile([0.1] * 10, 0.99, seconds=100) == 0  # busy at a hundredth of all moments
    assert stall_percentile([100.0], 0.99, seconds=100) == pytest.approx(99)
    assert stall_percentile([1.0, 3.0], 0.99, seconds=100) == pytest.approx(2)
    assert stall_percentile([3.0, 3.0], 0.99, seconds=100) == pytest.approx(2.5)


def test_the_iterations_of_a_loop_are_recorded_also_the_running_one():
    iterations = MeasuringSelector()
    began = time.monotonic()
    running = []

    async def block() -> None:
        await asyncio.sleep(0.1)  # not an iteration of its own
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        running.extend(iterations.between(began, time.monotonic()))

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(iterations)) as runner:
        runner.run(block())
    for longest in max(running, key=seconds), max(iterations.between(began, time.monotonic()), key=seconds):
        assert 0.3 <= longest.seconds < time.monotonic() - began - 0.09
    assert longest.cpu_seconds > 0.01
