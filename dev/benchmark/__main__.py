"""Thousands of waits in one event loop, with our trigger and those of other providers: ``make benchmark``.

It prints tables and which targets are met, and writes both and a plot beside this file, and an excerpt into
docs/scale.md. If only a part is measured, it writes into ``.benchmark/runs`` only. The figures of each run are kept
there too; ``--again`` makes the report from them without measuring.
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

from dev.benchmark.figures import Figures, figures_of
from dev.benchmark.measured_process import Options
from dev.benchmark.plan import PLAN, QUICK, Scenario
from dev.benchmark.plot import plot
from dev.benchmark.providers import Provider
from dev.benchmark.report import excerpt, report, table, write_excerpt
from dev.benchmark.service import serving
from dev.local_airflow import fresh_home
from dev.settings import CHECKOUT

HERE = Path(__file__).parent
WORK = CHECKOUT / ".benchmark" / "runs"


def folder_of(scenario: Scenario, provider: Provider, waits: int) -> Path:
    """Return the folder for the figures and logs of a run."""
    return WORK / f"{provider.name}-{waits}-every-{scenario.interval:.0f}-s"


def measure(scenario: Scenario, provider: Provider, waits: int) -> Figures:
    """Measure one provider in a process of its own."""
    home = folder_of(scenario, provider, waits)
    fresh_home(home)
    with serving(waits) as url:
        options = Options(
            provider=provider.name,
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
            **provider.environment(url, scenario.budget),
        }
        result, log = home / "run.json", home / "watcher.log"
        subprocess.run(
            [sys.executable, "-m", "dev.benchmark.measured_process", json.dumps(asdict(options)), str(result)],
            cwd=CHECKOUT,
            env={**os.environ, **settings},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            check=False,
            timeout=scenario.startup[1] + scenario.measured + scenario.drain + 300,
        )
    if not result.exists():
        sys.exit(f"{provider.name} with {waits} waits could not be measured:\n{log.read_text()[-3000:]}")
    run = json.loads(result.read_text())
    figures = figures_of(run, scenario=scenario.name, budget=scenario.budget)
    (home / "figures.json").write_text(json.dumps(asdict(figures)))
    return figures


def main() -> int:
    """Measure the providers one after the other, and write the report."""
    parser = argparse.ArgumentParser(prog="make benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer waits and shorter runs: a few minutes")
    parser.add_argument("--only", metavar="NAME", help="one provider")
    parser.add_argument("--waits", metavar="N", type=int, help="only the runs with this number of waits")
    parser.add_argument("--again", action="store_true", help="make the report from earlier measurements")
    options = parser.parse_args()
    started, runs = time.monotonic(), []
    for scenario in QUICK if options.quick else PLAN:
        for provider, waits in scenario.runs:
            if options.only not in (None, provider.name) or options.waits not in (None, waits):
                continue
            if options.again:
                figures = folder_of(scenario, provider, waits) / "figures.json"
                runs += [Figures(**json.loads(figures.read_text()))] if figures.exists() else []
                continue
            print(f"{provider.name}, {waits:,} waits, every {scenario.interval:.0f} s ...", flush=True)
            runs.append(measure(scenario, provider, waits))
            print(table(runs[-1:]), flush=True)
    if not runs:
        sys.exit("Nothing was measured.")
    whole = not (options.quick or options.only or options.waits)
    text = report(runs, command="make benchmark" if whole else f"python {' '.join(sys.orig_argv[1:])}")
    folder = HERE if whole else WORK
    (folder / "results.md").write_text(text)
    if whole:
        write_excerpt(excerpt(runs))
    plot(runs, folder / "results.png")
    print(f"\n{text}\nWritten to {folder.relative_to(CHECKOUT)}, {(time.monotonic() - started) / 60:.0f} minutes.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
