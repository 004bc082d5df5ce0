"""From what a run has written down to the figures of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dev.benchmark.turns import longest_wait

WINDOW = 60.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One contender with so many waits.

    :param scenario: its name in the plan
    :param budget: requests per minute, 0 for none
    :param all_told: seconds until the service had told of every batch, infinite if it had not in time
    :param startup_cpu: milliseconds of processor time for each wait during start-up
    :param cpu: milliseconds of processor time per watched batch and minute, after start-up
    :param cpu_in_all: the same, start-up included
    :param cpu_per_look: milliseconds for each time that the service has told of a watched batch, after start-up
    :param cpu_per_look_in_all: the same, start-up included
    :param memory: bytes per wait
    :param memory_in_all: bytes of all waits, when start-up is over
    :param requests: per minute, after start-up
    :param lists: the share of them that listed
    :param most_requests: in any 60 seconds of the whole run
    :param connections: opened in the whole run
    :param startup_stall: the longest turn of the event loop during start-up (milliseconds)
    :param stall_p99: after start-up, the milliseconds within which the loop was free again at 99 of 100 moments
    :param stall: the longest turn after start-up (milliseconds)
    :param stall_cpu: the most processor time that a turn after start-up took (milliseconds)
    :param delays: seconds from each batch's end to its event, in order
    :param unseen: how many batches ended whose event had not come when the run was over
    :param wrong: how many events there were for batches that had not ended
    :param others: processors that the rest of the machine used meanwhile, the service included
    :param service_cpu: seconds of processor time that the service used in the whole run
    """

    scenario: str
    contender: str
    waits: int
    interval: float
    budget: int
    all_told: float
    startup_cpu: float
    cpu: float
    cpu_in_all: float
    cpu_per_look: float
    cpu_per_look_in_all: float
    memory: float
    memory_in_all: int
    requests: float
    lists: float
    most_requests: int
    connections: int
    startup_stall: float
    stall_p99: float
    stall: float
    stall_cpu: float
    delays: list[float]
    unseen: int
    wrong: int
    others: float
    service_cpu: float

    def late(self, share: float) -> float:
        """Give the seconds after which so large a share of the ends had been seen, infinite if it never was."""
        return percentile([*self.delays, *[math.inf] * self.unseen], share)


def figures_of(run: Mapping[str, Any], *, scenario: str, budget: int) -> Figures:
    """Work a run out.

    :param run: what :mod:`dev.benchmark.watcher` has written
    """
    seconds = run["measured_to"] - run["measured_from"]
    asked = [(at, kind, looks) for at, kind, _connection, looks in run["service"]["requests"] if at >= run["started"]]
    measured = [kind for at, kind, _looks in asked if run["measured_from"] <= at < run["measured_to"]]
    all_looks = sum(looks for at, _kind, looks in asked if at < run["measured_to"])
    looks = sum(looks for at, _kind, looks in asked if run["measured_from"] <= at < run["measured_to"])
    batch_minutes = (run["waits"] + run["waiting"]) / 2 * seconds / 60
    all_minutes = batch_minutes + run["waits"] * run["startup"] / 60
    ends, events = run["ends"], run["events"]
    right = {batch_id: at for batch_id, at in events.items() if batch_id in ends and at >= ends[batch_id]}
    return Figures(
        scenario=scenario,
        contender=run["contender"],
        waits=run["waits"],
        interval=run["interval"],
        budget=budget,
        all_told=(run["all_told"] or math.inf) - run["started"],
        startup_cpu=run["startup_cpu"] * 1000 / run["waits"],
        cpu=run["cpu"] * 1000 / batch_minutes,
        cpu_in_all=(run["cpu"] + run["startup_cpu"]) * 1000 / all_minutes,
        cpu_per_look=run["cpu"] * 1000 / looks if looks else math.inf,
        cpu_per_look_in_all=(run["cpu"] + run["startup_cpu"]) * 1000 / all_looks if all_looks else math.inf,
        memory=run["memory"] / run["waits"],
        memory_in_all=run["memory"],
        requests=len(measured) * 60 / seconds,
        lists=measured.count("list") / len(measured) if measured else 0.0,
        most_requests=most_within(sorted(at for at, _kind, _looks in asked), WINDOW),
        connections=run["service"]["connections"],
        startup_stall=max(wall for _ended, wall, _cpu in run["startup_turns"]) * 1000,
        stall_p99=longest_wait([wall for _ended, wall, _cpu in run["turns"]], 0.99, seconds=seconds) * 1000,
        stall=max(wall for _ended, wall, _cpu in run["turns"]) * 1000,
        stall_cpu=max(cpu for _ended, _wall, cpu in run["turns"]) * 1000,
        delays=sorted(at - ends[batch_id] for batch_id, at in right.items()),
        unseen=len(ends) - len(right),
        wrong=len(events) - len(right),
        others=(run["machine_busy"] - run["cpu"]) / seconds,
        service_cpu=run["service"]["cpu"],
    )


def most_within(moments: Sequence[float], window: float) -> int:
    """Give the largest number of moments within any window; they are in order."""
    most = first = 0
    for last, at in enumerate(moments):
        while moments[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest of the values that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan
