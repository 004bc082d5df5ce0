"""The plan of the benchmark: scenarios, each with providers and numbers of waits."""

from __future__ import annotations

from dataclasses import dataclass

from dev.benchmark.providers import OURS, PROVIDERS, Provider


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way to wait, done by one provider after the other.

    :param name: the heading in the report
    :param interval: seconds between two checks
    :param budget: requests per minute, 0 for no limit; the other providers have no limit
    :param ends_per_minute: how many batches end a minute, spread over the measured time
    :param measured: the measured time (seconds)
    :param drain: seconds after it, at most, until every end has had its event
    :param max_startup: seconds before it, at most, until every batch has been checked
    """

    name: str
    runs: tuple[tuple[Provider, int], ...]
    interval: float
    budget: int
    ends_per_minute: float
    measured: float
    drain: float
    max_startup: float

    @property
    def startup(self) -> tuple[float, float]:
        """Seconds before the measured time, at least and at most.

        At least more than an interval, because our trigger pauses first.
        """
        return self.interval * 1.2 + 3, self.max_startup

    @property
    def ends(self) -> int:
        """The number of batches that end."""
        return round(self.ends_per_minute * self.measured / 60)


HUNDRED = "100 waits, every 10 s"
THOUSAND = "1,000 waits, every 10 s"
BUDGETED = "Every 60 s, with 60 requests a minute"


def _side_by_side(name: str, waits: int, *, measured: float, drain: float) -> Scenario:
    return Scenario(
        name=name,
        runs=tuple((provider, waits) for provider in PROVIDERS.values()),
        interval=10,
        budget=0,
        ends_per_minute=30,
        measured=measured,
        drain=drain,
        max_startup=120,
    )


def _budgeted(*waits: int, measured: float, drain: float) -> Scenario:
    return Scenario(
        name=BUDGETED,
        runs=tuple((OURS, number) for number in waits),
        interval=60,
        budget=60,
        ends_per_minute=10,
        measured=measured,
        drain=drain,
        max_startup=300,
    )


PLAN = (
    _side_by_side(HUNDRED, 100, measured=40, drain=30),
    _side_by_side(THOUSAND, 1000, measured=60, drain=60),
    _budgeted(1000, 5000, measured=240, drain=300),
    _budgeted(10_000, measured=120, drain=300),
)
QUICK = (
    _side_by_side(HUNDRED, 100, measured=20, drain=20),
    _budgeted(1000, measured=60, drain=120),
)
