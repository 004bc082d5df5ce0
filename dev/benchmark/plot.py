"""The plot in the README: our waits and those of the other providers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from dev.benchmark.figures import Figures
from dev.benchmark.plan import THOUSAND
from dev.benchmark.providers import OURS, PROVIDERS

PANELS: dict[str, Callable[[Figures], float]] = {
    "CPU per batch and minute, ms": lambda f: f.cpu_with_startup,
    "memory per wait, kB": lambda f: f.memory / 1000,
    "connections": lambda f: f.connections,
    "longest event-loop stall, ms": lambda f: f.stall,
    "event after the end, median, s": lambda f: f.delay(0.5),
}
OURS_COLOUR, PEER_COLOUR = "#1a7f4b", "#9aa3ad"


def plot(runs: list[Figures], path: Path) -> None:
    """Draw the figures of the largest number of waits that all providers were measured with, on logarithmic scales.

    The background is opaque, so that the plot can be read on a light and on a dark page.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    comparable = [f for f in runs if f.scenario == THOUSAND]
    waits = max((f.waits for f in comparable if f.provider != OURS.name), default=0)
    shown = {f.provider: f for f in comparable if f.waits == waits}
    if OURS.name not in shown:
        return
    names = [name for name in reversed(PROVIDERS) if name in shown]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 2.3), sharey=True, layout="constrained")
    labels = [name if math.isfinite(shown[name].all_checked) else f"{name} (overrun)" for name in names]
    colours = [OURS_COLOUR if name == OURS.name else PEER_COLOUR for name in names]
    for axis, (title, value) in zip(axes, PANELS.items(), strict=True):
        values = [value(shown[name]) for name in names]
        known = [x for x in values if math.isfinite(x)]
        axis.set_xscale("log")
        axis.set_xlim(min(known) / 3, max(known) * 20)
        bars = axis.barh(labels, [min(x, max(known)) for x in values], color=colours, height=0.7)
        axis.bar_label(bars, [_format(x) for x in values], padding=3, fontsize=9)
        axis.set_title(title, fontsize=10)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    title = f"{waits:,} waits in one event loop, every 10 s from start-up on (logarithmic scales, shorter is better)"
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _format(value: float) -> str:
    if not math.isfinite(value):
        return "not seen"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
