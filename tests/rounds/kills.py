"""Kills a task with rounds at each of its steps and at random moments, and counts what was paid.

``python -m tests.rounds.kills [--moments 100] [--stride 1] [--only poking]``; see ``docs/never-paid-twice.md``.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_respan.sandbox import RespanSandbox
from tests.rounds.asking import MODES
from tests.rounds.processes import Attempt, Driver, Strike, Task, faults, make_outcome, strike_at_random

SIGNALS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one run.

    :param name: what was done to it
    :param has_struck: whether the signal came before the end
    :param faults: what is wrong afterwards
    :param cancelled: batches that were cancelled as soon as they were created, as another attempt had created one
    """

    name: str
    has_struck: bool
    faults: list[str]
    cancelled: int = 0


def run_once(
    mode: str,
    *,
    step: int | None = None,
    number: int = signal.SIGKILL,
    seconds: float | None = None,
    max_tries: int = 10,
    raises_max_tries: bool = False,
    only_creates: bool = False,
    options: dict[str, Any] | None = None,
) -> Result:
    """Run a task whose first attempt gets a signal, and then further attempts until one ends; check what was paid.

    :param step: the step before which the signal comes, from 1
    :param number: the signal; after SIGSTOP another attempt runs beside the suspended one
    :param seconds: or when it comes
    :param only_creates: whether a step is only that a create is sent
    :param raises_max_tries: whether further attempts have a raised ``max_tries``, as after a clear
    """
    pace = 0.1 if number == signal.SIGSTOP else 0.0  # a batch that ends at once cannot be cancelled
    with tempfile.TemporaryDirectory() as place, RespanSandbox(pace=pace, outcomes=make_outcome) as sandbox:
        task = Task(
            mode=mode,
            folder=Path(place) / "folder",
            state=Path(place) / "first.json",
            host=sandbox.url,
            options=options or {},
        )
        strike = Strike.at(step or 0, number, only_creates=only_creates)
        driver = Driver(task, strike)
        timer = None if seconds is None else strike_at_random(driver, number, seconds)
        manifest = driver.run(Attempt(try_number=1, max_tries=max_tries))
        if timer:
            timer.cancel()
        is_suspended = driver.is_suspended
        has_struck = strike.has_come
        other = Driver(Task(**{**vars(task), "state": Path(place) / "other.json"}))
        errors = [driver.last_error]
        for try_number in range(2, 6):
            if manifest is not None:
                break
            clears = try_number - 1 if raises_max_tries else 0
            manifest = other.run(Attempt(try_number=try_number, max_tries=max_tries + clears))
            errors.append(other.last_error)
        if is_suspended:
            driver.wake()
        found = faults(sandbox, task.folder, manifest)
        if found:
            found += [error for error in errors if error]
        name = strike.name.value.decode(errors="replace") if step else f"after {seconds or 0:.3f} s"
        cancelled = sum(batch["status"] in ("cancelling", "cancelled") for batch in sandbox.batches)
        return Result(
            name=f"{mode}, {signal.Signals(number).name} {name}",
            has_struck=has_struck,
            faults=found,
            cancelled=cancelled,
        )


def each_step(mode: str, number: int, *, start: int = 1, stride: int = 1, **more: Any) -> Iterator[Result]:
    """Yield the result of a signal at each step, until there is no such step."""
    step = start
    while (result := run_once(mode, step=step, number=number, **more)).has_struck:
        yield result
        step += stride
    yield result


def random_moments(mode: str, count: int, seed: int) -> Iterator[Result]:
    """Yield the results of a signal at so many random moments."""
    run_once(mode)  # the first process starts the server from which the others are forked
    began = time.monotonic()
    yield run_once(mode)
    duration = time.monotonic() - began
    source = random.Random(seed)
    for _ in range(count):
        yield run_once(
            mode,
            number=source.choice(SIGNALS),
            seconds=source.uniform(0, duration),
            raises_max_tries=source.random() < 0.5,
        )


def report(title: str, results: Iterator[Result]) -> bool:
    """Say what came of runs, and return whether all were right."""
    done = struck = wrong = cancelled = 0
    began = time.monotonic()
    for result in results:
        done, struck, wrong = done + 1, struck + result.has_struck, wrong + bool(result.faults)
        cancelled += result.cancelled
        if result.faults:
            sys.stdout.write(f"WRONG {result.name}: {result.faults}\n")
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{title}: {done} runs, {struck} struck, {wrong} wrong, {cancelled} batches cancelled at once, "
        f"{seconds:.0f} s\n"
    )
    sys.stdout.flush()
    return not wrong


def main() -> None:
    """Run all, and say how many of them were right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=100, help="how many random moments for each mode")
    parser.add_argument("--stride", type=int, default=1, help="only each so many-th step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=MODES, help="only this mode")
    arguments = parser.parse_args()
    is_right = True
    for mode in [arguments.only] if arguments.only else MODES:
        is_right &= report(f"{mode}, random moments", random_moments(mode, arguments.moments, arguments.seed))
        for number in SIGNALS:
            is_right &= report(f"{mode}, {number.name} at steps", each_step(mode, number, stride=arguments.stride))
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
