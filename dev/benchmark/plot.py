"""The plot that the README shows: our waits beside the other providers'."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from dev.benchmark.contenders import CONTENDERS, OURS
from dev.benchmark.figures import Figures, percentile
from dev.benchmark.plan import THOUSAND

PANELS: dict[str, Callable[[Figures], float]] = {
    "CPU per batch and minute, ms": lambda f: f.cpu,
    "memory per wait, kB": lambda f: f.memory / 1000,
    "requests a minute": lambda f: f.requests,
    "longest event-loop stall, ms": lambda f: f.stall,
    "late by, median, s": lambda f: percentile(f.delays, 0.5),
}
OURS_COLOUR, PEER_COLOUR = "#1a7f4b", "#9aa3ad"


def plot(runs: list[Figures], path: Path) -> None:
    """Draw the largest number of waits that several were measured with, on scales of powers of ten.

    Opaque, so that it can be read on a light and on a dark page.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    alike = [f for f in runs if f.scenario == THOUSAND]
    waits = max((f.waits for f in alike if f.contender != OURS.name), default=0)
    shown = {f.contender: f for f in alike if f.waits == waits}
    if OURS.name not in shown:
        return
    names = [name for name in reversed(CONTENDERS) if name in shown]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 2.3), sharey=True, layout="constrained")
    for axis, (title, value) in zip(axes, PANELS.items(), strict=True):
        values = [value(shown[name]) for name in names]
        known = [x for x in values if not math.isnan(x)]
        axis.set_xscale("log")
        axis.set_xlim(min(known) / 3, max(known) * 12)
        colours = [OURS_COLOUR if name == OURS.name else PEER_COLOUR for name in names]
        bars = axis.barh(names, [0 if math.isnan(x) else x for x in values], color=colours, height=0.7)
        axis.bar_label(bars, ["none seen" if math.isnan(x) else f"{x:,.3g}" for x in values], padding=3, fontsize=9)
        axis.set_title(title, fontsize=10)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    title = f"{waits:,} waits in one event loop, every 10 s (logarithmic scales, shorter is better)"
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)
