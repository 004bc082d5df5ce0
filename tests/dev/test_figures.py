"""The benchmark's arithmetic."""

from __future__ import annotations

import asyncio
import math
import time
from operator import attrgetter

import pytest

from dev.benchmark.figures import figures_of, most_within, percentile
from dev.benchmark.turns import Turns, longest_wait

wall = attrgetter("wall")

RUN = {
    "contender": "respan",
    "waits": 4,
    "interval": 10.0,
    "started": 100.0,
    "startup": 20.0,
    "startup_cpu": 0.4,
    "startup_turns": [(101.0, 0.001, 0.001), (102.0, 0.5, 0.4)],
    "all_told": 112.0,
    "measured_from": 120.0,
    "measured_to": 180.0,
    "cpu": 0.03,
    "machine_busy": 30.03,
    "memory": 8000,
    "waiting": 2,
    "turns": [(130.0, 0.9, 0.1), (131.0, 0.001, 0.0)],
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
        "cpu": 1.5,
    },
}


def test_figures_are_those_of_the_measured_time_and_of_what_was_waiting():
    figures = figures_of(RUN, scenario="some", budget=60)
    assert figures.cpu == pytest.approx(30 / 3)  # milliseconds; four batches first and two at last for a minute
    assert figures.cpu_in_all == pytest.approx(430 / (3 + 4 / 3))
    assert figures.cpu_per_look == pytest.approx(30 / 5)
    assert figures.cpu_per_look_in_all == pytest.approx(430 / 6)
    assert (figures.startup_cpu, figures.all_told, figures.startup_stall) == pytest.approx((100, 12, 500))
    assert (figures.memory, figures.memory_in_all) == (2000, 8000)
    assert (figures.requests, figures.lists, figures.most_requests) == (2, 0.5, 3)
    assert (figures.stall_p99, figures.stall, figures.stall_cpu) == pytest.approx((300, 900, 100))
    assert figures.others == pytest.approx(0.5)


def test_an_event_counts_only_for_a_batch_that_had_ended():
    figures = figures_of(RUN, scenario="some", budget=60)
    assert figures.delays == [4.0]
    assert (figures.unseen, figures.wrong) == (2, 2)
    assert (figures.late(1 / 3), figures.late(0.5)) == (4.0, math.inf)


def test_a_batch_that_nobody_was_told_of_in_time():
    assert figures_of({**RUN, "all_told": None}, scenario="some", budget=0).all_told == math.inf


def test_most_within_any_window():
    assert most_within([], 60) == 0
    assert most_within([0, 1, 59.9, 60.0, 60.5, 200], 60) == 4


def test_percentile():
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_how_soon_a_loop_is_free_again():
    assert longest_wait([], 0.99, seconds=100) == 0
    assert longest_wait([0.1] * 10, 0.99, seconds=100) == 0  # busy at a hundredth of all moments
    assert longest_wait([100.0], 0.99, seconds=100) == pytest.approx(99)
    assert longest_wait([1.0, 3.0], 0.99, seconds=100) == pytest.approx(2)
    assert longest_wait([3.0, 3.0], 0.99, seconds=100) == pytest.approx(2.5)


def test_the_turns_of_a_loop_are_noted_also_the_one_that_goes_on():
    turns = Turns()
    began = time.monotonic()
    running = []

    async def block() -> None:
        await asyncio.sleep(0.1)  # no turn of the loop
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        running.extend(turns.between(began, time.monotonic()))

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(block())
    for longest in max(running, key=wall), max(turns.between(began, time.monotonic()), key=wall):
        assert 0.3 <= longest.wall < time.monotonic() - began - 0.09
    assert longest.cpu > 0.01
