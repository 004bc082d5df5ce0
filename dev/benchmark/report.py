"""The report: a table for each scenario, and which targets are met."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import pendulum
import psutil

from dev.benchmark.figures import Figures
from dev.benchmark.plan import BUDGETED, THOUSAND
from dev.benchmark.providers import OURS, PROVIDERS
from dev.settings import CHECKOUT

BYTES_PER_MEGABYTE = 1_000_000
METHOD = """\
All waits begin at once, in one event loop. Start-up is over when the service has reported every batch once. Then
batches begin to end. Figures are of the time after start-up where they do not say otherwise. The service is a process
of its own and answers each request after 50 to 200 ms, over plain HTTP. With TLS, the figures of those who open a
connection for each request would be worse. A provider that makes fewer checks than waits and interval ask for is
overloaded, and spends less than the work would cost. A check is one batch that is waited for in one response, either
a retrieve or a page of the list. A stall is one step of the event loop: while it lasts, all others wait. At 99 of 100
moments the loop is free again within the p99.\
"""
PAGE = CHECKOUT / "docs" / "scale.md"
"""The page that shows an excerpt, between two comments."""


def format_delay(figures: Figures, ratio: float) -> str:
    """Return within how many seconds this ratio of the ends had their event."""
    seconds = figures.delay(ratio)
    return f"{seconds:.1f}" if math.isfinite(seconds) else "not seen"


def format_ends(figures: Figures) -> str:
    """Return how many of the ends had their event."""
    return f"{len(figures.delays)} of {len(figures.delays) + figures.missed}"


ROWS: dict[str, Callable[[Figures], str]] = {
    "CPU per batch and minute, ms": lambda f: f"{f.cpu:.2f}",
    "the same, start-up included": lambda f: f"{f.cpu_with_startup:.2f}",
    "CPU per check of a batch, ms": lambda f: f"{f.cpu_per_check:.3f}",
    "per check, start-up included": lambda f: f"{f.cpu_per_check_with_startup:.3f}",
    "CPU per wait during start-up, ms": lambda f: f"{f.startup_cpu:.2f}",
    "every batch checked after, s": lambda f: f"{f.all_checked:.0f}" if math.isfinite(f.all_checked) else "not in time",
    "memory per wait, kB": lambda f: f"{f.memory / 1000:.1f}",
    "memory of all waits, MB": lambda f: f"{f.total_memory / BYTES_PER_MEGABYTE:.1f}",
    "requests a minute": lambda f: f"{f.requests:,.0f}",
    "most in any 60 s": lambda f: f"{f.max_requests_in_window:,}",
    "share of list requests": lambda f: f"{f.list_ratio:.0%}",
    "connections opened": lambda f: f"{f.connections:,}",
    "event-loop stall, p99, ms": lambda f: f"{f.stall_p99:,.1f}",
    "event-loop stall, longest, ms": lambda f: f"{f.stall:,.0f}",
    "the same, ms of CPU": lambda f: f"{f.stall_cpu:,.0f}",
    "longest during start-up, ms": lambda f: f"{f.startup_stall:,.0f}",
    "event after the end, p50, s": lambda f: format_delay(f, 0.5),
    "event after the end, p99, s": lambda f: format_delay(f, 0.99),
    "event after the end, longest, s": lambda f: format_delay(f, 1),
    "ends seen when the run was over": format_ends,
    "events for batches that had not ended": lambda f: str(f.wrong_events),
    "cores used by the service and others": lambda f: f"{f.other_cores:.1f}",
}

EXCERPTS = {
    THOUSAND: (
        "CPU per batch and minute, ms",
        "the same, start-up included",
        "CPU per check of a batch, ms",
        "memory per wait, kB",
        "requests a minute",
        "connections opened",
        "event-loop stall, longest, ms",
        "event after the end, p50, s",
        "event after the end, longest, s",
    ),
    BUDGETED: (
        "CPU per batch and minute, ms",
        "memory of all waits, MB",
        "most in any 60 s",
        "connections opened",
        "event after the end, p50, s",
        "event after the end, p99, s",
        "ends seen when the run was over",
    ),
}
"""The rows of each scenario on :data:`PAGE`."""


def table(runs: Iterable[Figures], rows: Iterable[str] = tuple(ROWS)) -> str:
    """Return figures as a Markdown table, a column for each run."""
    runs = list(runs)
    lines = [["", *(f"{f.provider}, {f.waits:,}" for f in runs)], ["---", *("--:" for _ in runs)]]
    lines += [[name, *(ROWS[name](f) for f in runs)] for name in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets(runs: list[Figures]) -> Iterator[tuple[str, str, bool]]:
    """Yield each target, what was measured, and whether the target is met."""
    ours = {(f.scenario, f.waits): f for f in runs if f.provider == OURS.name}
    # A provider that did not check every batch once spent less because it did less.
    peers = [f for f in runs if f.provider != OURS.name and f.scenario == THOUSAND and math.isfinite(f.all_checked)]
    for waits in (1000, 5000, 10_000):
        if f := ours.get((BUDGETED, waits)):
            name = f"{waits:,} waits, budget 60"
            yield (
                f"{name}: never over 60 requests in any 60 s",
                f"{f.max_requests_in_window}",
                f.max_requests_in_window <= 60,
            )
            if waits == 1000:
                measured = f"{format_ends(f)}, the last after {format_delay(f, 1)} s"
                yield f"{name}: every end is seen within 2 intervals", measured, f.delay(1) <= 120
            elif waits == 5000:
                measured = f"{format_ends(f)}, p99 {format_delay(f, 0.99)} s"
                yield f"{name}: p99 within 5 minutes", measured, f.delay(0.99) <= 300
            else:
                memory = f.total_memory / BYTES_PER_MEGABYTE
                shown = f"{memory:.0f} MB; {format_ends(f)} ends seen"
                yield f"{name}: run, in less than 300 MB", shown, memory < 300 and not f.missed
    if (f := ours.get((THOUSAND, 1000))) and peers:
        ratios: tuple[tuple[str, int, Callable[[Figures], float]], ...] = (
            ("CPU, start-up included,", 50, lambda f: f.cpu_with_startup),
            ("CPU per check, start-up included,", 50, lambda f: f.cpu_per_check_with_startup),
            ("CPU per check after start-up", 50, lambda f: f.cpu_per_check),
            ("memory per wait", 20, lambda f: f.memory),
        )
        for what, divisor, figure in ratios:
            best = min(peers, key=figure)
            ratio = figure(best) / figure(f)
            yield (
                f"{THOUSAND}: {what} at most 1/{divisor} of the best peer's",
                f"1/{ratio:.1f} ({best.provider})",
                ratio >= divisor,
            )
        yield f"{THOUSAND}: at most 10 connections", f"{f.connections}", f.connections <= 10
        stall = f"{f.stall:.0f} ms (of CPU {f.stall_cpu:.0f} ms)"
        yield f"{THOUSAND}: no event-loop stall above 100 ms after start-up", stall, f.stall <= 100


def report(runs: list[Figures], *, command: str) -> str:
    """Return the whole report as Markdown."""
    machine = f"{platform.system()}, {psutil.cpu_count()} cores"
    parts = [
        "# Benchmark",
        f"{pendulum.now('UTC').to_date_string()}, `{command}`, {machine}, {versions()}.",
        METHOD,
    ]
    for scenario in dict.fromkeys(f.scenario for f in runs):
        parts += [f"## {scenario}", table(f for f in runs if f.scenario == scenario)]
    if lines := [
        f"| {what} | {measured} | {'met' if met else '**not met**'} |" for what, measured, met in targets(runs)
    ]:
        parts += ["## Targets", "\n".join(["| | measured | |", "|---|---|---|", *lines])]
    return "\n\n".join(parts) + "\n"


def excerpt(runs: list[Figures]) -> str:
    """Return the excerpt for :data:`PAGE`."""
    parts = [f"{pendulum.now('UTC').to_date_string()}, {psutil.cpu_count()} cores, {versions()}:"]
    for scenario, rows in EXCERPTS.items():
        if shown := [f for f in runs if f.scenario == scenario]:
            parts += [f"{scenario}:", table(shown, rows)]
    return "\n\n".join(parts)


def write_excerpt(text: str, page: Path = PAGE) -> None:
    """Replace the text between the two comments on the page.

    :param text: what :func:`excerpt` returns
    :raises ValueError: if the page does not have exactly one place for it
    """
    between = re.compile(
        r"(?<=<!-- benchmark: written by make benchmark -->\n).*(?=<!-- end of benchmark -->)", re.DOTALL
    )
    written, places = between.subn(lambda _found: f"\n{text}\n\n", page.read_text())
    if places != 1:
        raise ValueError(f"{page.name} has {places} places for a benchmark, and should have one.")
    page.write_text(written)


def versions() -> str:
    """Return the versions of Python, Airflow and the providers."""
    packages = ["apache-airflow", *(provider.package for provider in PROVIDERS.values())]
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
