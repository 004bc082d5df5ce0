"""Computes the figures of the report from the records of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dev.benchmark.loop_iterations import stall_percentile

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One provider with so many waits.

    :param scenario: its name in the plan
    :param budget: requests per minute, 0 for none
    :param all_checked: seconds until every batch had been checked once, infinite if that took too long
    :param startup_cpu: milliseconds of processor time for each wait during start-up
    :param cpu: milliseconds of processor time per watched batch and minute, after start-up
    :param cpu_with_startup: the same, start-up included
    :param cpu_per_check: milliseconds of processor time for each check of a watched batch, after start-up
    :param cpu_per_check_with_startup: the same, start-up included
    :param memory: bytes per wait
    :param total_memory: bytes of all waits, when start-up is over
    :param requests: per minute, after start-up
    :param list_ratio: the ratio of them that were for the list
    :param max_requests_in_window: the most requests in any 60 seconds of the whole run
    :param connections: opened in the whole run
    :param startup_stall: the longest iteration of the event loop during start-up (milliseconds)
    :param stall_p99: after start-up, the milliseconds within which the loop was free again at 99 of 100 moments
    :param stall: the longest iteration after start-up (milliseconds)
    :param stall_cpu: the most processor time of an iteration after start-up (milliseconds)
    :param delays: seconds from each batch's end to its event, in order
    :param missed: the number of batches that ended, but whose event had not come at the end of the run
    :param wrong_events: the number of events for batches that had not ended
    :param other_cores: the processor cores that other programs used meanwhile, the service included
    """

    scenario: str
    provider: str
    waits: int
    interval: float
    budget: int
    all_checked: float
    startup_cpu: float
    cpu: float
    cpu_with_startup: float
    cpu_per_check: float
    cpu_per_check_with_startup: float
    memory: float
    total_memory: int
    requests: float
    list_ratio: float
    max_requests_in_window: int
    connections: int
    startup_stall: float
    stall_p99: float
    stall: float
    stall_cpu: float
    delays: list[float]
    missed: int
    wrong_events: int
    other_cores: float

    def delay(self, ratio: float) -> float:
        """Return the seconds within which this ratio of the ends had their event, infinite if that did not happen."""
        return percentile([*self.delays, *[math.inf] * self.missed], ratio)


def figures_of(run: Mapping[str, Any], *, scenario: str, budget: int) -> Figures:
    """Compute the figures of a run.

    :param run: the records that :mod:`dev.benchmark.measured_process` has written
    """
    seconds = run["measured_to"] - run["measured_from"]
    requests = [
        (at, kind, checks) for at, kind, _connection, checks in run["service"]["requests"] if at >= run["started"]
    ]
    measured = [kind for at, kind, _checks in requests if run["measured_from"] <= at < run["measured_to"]]
    all_checks = sum(checks for at, _kind, checks in requests if at < run["measured_to"])
    checks = sum(checks for at, _kind, checks in requests if run["measured_from"] <= at < run["measured_to"])
    batch_minutes = (run["waits"] + run["waiting"]) / 2 * seconds / 60
    all_minutes = batch_minutes + run["waits"] * run["startup"] / 60
    lengths = [length for _ended_at, length, _cpu in run["iterations"]]
    ends, events = run["ends"], run["events"]
    correct = {batch_id: at for batch_id, at in events.items() if batch_id in ends and at >= ends[batch_id]}
    return Figures(
        scenario=scenario,
        provider=run["provider"],
        waits=run["waits"],
        interval=run["interval"],
        budget=budget,
        all_checked=(run["all_checked"] or math.inf) - run["started"],
        startup_cpu=run["startup_cpu"] * 1000 / run["waits"],
        cpu=run["cpu"] * 1000 / batch_minutes,
        cpu_with_startup=(run["cpu"] + run["startup_cpu"]) * 1000 / all_minutes,
        cpu_per_check=run["cpu"] * 1000 / checks if checks else math.inf,
        cpu_per_check_with_startup=(run["cpu"] + run["startup_cpu"]) * 1000 / all_checks if all_checks else math.inf,
        memory=run["memory"] / run["waits"],
        total_memory=run["memory"],
        requests=len(measured) * 60 / seconds,
        list_ratio=measured.count("list") / len(measured) if measured else 0.0,
        max_requests_in_window=max_in_window(sorted(at for at, _kind, _checks in requests), WINDOW_SECONDS),
        connections=run["service"]["connections"],
        startup_stall=max(length for _ended_at, length, _cpu in run["startup_iterations"]) * 1000,
        stall_p99=stall_percentile(lengths, 0.99, seconds=seconds) * 1000,
        stall=max(lengths) * 1000,
        stall_cpu=max(cpu for _ended_at, _length, cpu in run["iterations"]) * 1000,
        delays=sorted(at - ends[batch_id] for batch_id, at in correct.items()),
        missed=len(ends) - len(correct),
        wrong_events=len(events) - len(correct),
        other_cores=(run["machine_busy"] - run["cpu"]) / seconds,
    )


def max_in_window(moments: Sequence[float], window: float) -> int:
    """Return the largest number of moments within any window.

    :param moments: in order
    :param window: seconds
    """
    largest = first = 0
    for last, at in enumerate(moments):
        while moments[first] <= at - window:
            first += 1
        largest = max(largest, last - first + 1)
    return largest


def percentile(values: Sequence[float], ratio: float) -> float:
    """Return the smallest value that is not exceeded by this ratio of the values."""
    ordered = sorted(values)
    return ordered[max(math.ceil(ratio * len(ordered)) - 1, 0)] if ordered else math.nan
