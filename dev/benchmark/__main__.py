"""Thousands of waits in one event loop, ours and other providers' side by side: ``make benchmark``.

Prints tables, says which targets are met, writes both and a plot beside this file, and an excerpt into docs/scale.md.
If only a part is measured, it writes into ``.benchmark/runs`` alone. There the figures of each run stay, too, and
``--again`` reports of them without measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dev.benchmark.contenders import Contender
from dev.benchmark.figures import Figures, figures_of
from dev.benchmark.plan import PLAN, QUICK, Scenario
from dev.benchmark.plot import plot
from dev.benchmark.report import excerpt, report, table, write_excerpt
from dev.benchmark.service import serving
from dev.benchmark.watcher import Task
from dev.local_airflow import fresh_home
from dev.settings import CHECKOUT

HERE = Path(__file__).parent
WORK = CHECKOUT / ".benchmark" / "runs"


def folder_of(scenario: Scenario, contender: Contender, waits: int) -> Path:
    """Say where a run leaves its figures and logs."""
    return WORK / f"{contender.name}-{waits}-every-{scenario.interval:.0f}-s"


def measure(scenario: Scenario, contender: Contender, waits: int, *lists: str) -> Figures:
    """Run one contender.

    :param lists: options of the service
    """
    home = folder_of(scenario, contender, waits)
    fresh_home(home)
    with serving(waits, *lists) as url:
        task = Task(
            contender=contender.name,
            url=url,
            waits=waits,
            interval=scenario.interval,
            ends=scenario.ends,
            startup=scenario.startup,
            measured=scenario.measured,
            drain=scenario.drain,
        )
        settings = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "NO_PROXY": "127.0.0.1",
            **contender.environment(url, scenario.budget),
        }
        result, log = home / "run.json", home / "watcher.log"
        subprocess.run(
            [sys.executable, "-m", "dev.benchmark.watcher", json.dumps(asdict(task)), str(result)],
            cwd=CHECKOUT,
            env={**os.environ, **settings},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            check=False,
            timeout=scenario.startup[1] + scenario.measured + scenario.drain + 300,
        )
    if not result.exists():
        sys.exit(f"{contender.name} with {waits} waits could not be measured:\n{log.read_text()[-3000:]}")
    run = json.loads(result.read_text())
    figures = figures_of(run, scenario=scenario.name, budget=scenario.budget)
    (home / "figures.json").write_text(json.dumps(asdict(figures)))
    return figures


def main() -> int:
    """Measure one after the other, and report."""
    parser = argparse.ArgumentParser(prog="make benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: few waits, and short")
    parser.add_argument("--only", metavar="NAME", help="one contender")
    parser.add_argument("--waits", metavar="N", type=int, help="only where there are so many waits")
    parser.add_argument("--stale", metavar="SECONDS", type=float, help="lists lag so far behind")
    parser.add_argument("--lacking", action="store_true", help="items of lists have but few fields")
    parser.add_argument("--again", action="store_true", help="report of runs that were measured before")
    options = parser.parse_args()
    lists = [f"--stale={options.stale}"] if options.stale else []
    lists += ["--lacking"] if options.lacking else []
    began, runs = time.monotonic(), []
    for scenario in QUICK if options.quick else PLAN:
        for contender, waits in scenario.runs:
            if options.only not in (None, contender.name) or options.waits not in (None, waits):
                continue
            if options.again:
                figures = folder_of(scenario, contender, waits) / "figures.json"
                runs += [Figures(**json.loads(figures.read_text()))] if figures.exists() else []
                continue
            print(f"{contender.name}, {waits:,} waits, every {scenario.interval:.0f} s ...", flush=True)
            runs.append(measure(scenario, contender, waits, *lists))
            print(table(runs[-1:]), flush=True)
    if not runs:
        sys.exit("Nothing was measured.")
    whole = not (options.quick or options.only or options.waits or lists)
    text = report(runs, command="make benchmark" if whole else f"python {' '.join(sys.orig_argv[1:])}")
    folder = HERE if whole else WORK
    (folder / "results.md").write_text(text)
    if whole:
        write_excerpt(excerpt(runs))
    plot(runs, folder / "results.png")
    print(f"\n{text}\nWritten to {folder.relative_to(CHECKOUT)}, {(time.monotonic() - began) / 60:.0f} minutes.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
