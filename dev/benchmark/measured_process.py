"""The measured process: many triggers of one provider in one event loop, as a triggerer runs them.

python -m dev.benchmark.measured_process '{"provider": "respan", "url": ..., ...}' run.json

writes its records into the file. The loop runs in the main thread, as in a triggerer. Another thread measures, so that
a blocked loop does not block the measurement.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from dev.benchmark.loop_iterations import MeasuringSelector
from dev.benchmark.providers import PROVIDERS


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a measurement.

    :param provider: the name of the provider
    :param url: the service
    :param waits: the number of triggers
    :param interval: their interval (seconds)
    :param ends: the number of batches that end within the measured time
    :param startup: seconds before the measured time, at least and at most, until every batch has been checked
    :param measured: the measured time (seconds)
    :param drain: seconds after it, at most, until every end has had its event
    """

    provider: str
    url: str
    waits: int
    interval: float
    ends: int
    startup: tuple[float, float]
    measured: float
    drain: float


class Measurement:
    """Runs the triggers, and measures them."""

    def __init__(self, options: Options, result: Path, selector: MeasuringSelector) -> None:
        self.options = options
        self.result = result
        self.trigger: Callable[[str, float], Any] = PROVIDERS[options.provider].triggers()
        self.selector = selector
        self.events: dict[str, float] = {}
        self._waits: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Start the measuring thread, and keep the loop running; never returns."""
        threading.Thread(target=self.measure_and_exit, args=(asyncio.get_running_loop(),), daemon=True).start()
        await asyncio.Event().wait()

    async def wait(self, batch_id: str, interval: float) -> None:
        """Run one trigger as a triggerer does, and record when its event comes."""
        async for _event in self.trigger(batch_id, interval).run():
            self.events.setdefault(batch_id, time.monotonic())

    async def begin(self) -> None:
        """Start all waits, as a triggerer does that reads them from its database."""
        for number in range(self.options.waits):
            self._waits.add(asyncio.create_task(self.wait(f"batch_{number:05d}", self.options.interval)))
            await asyncio.sleep(0)

    def measure_and_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure, write the records, and end the process."""
        try:
            self.result.write_text(json.dumps(self.measure(loop)))
        except Exception:  # noqa: BLE001 (whatever it is, the process must end)
            traceback.print_exc()
        # To end thousands of waits properly, some of them in threads or blocking the loop, would take long.
        os._exit(0)

    def measure(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Return the records, in seconds and bytes; moments in seconds of ``time.monotonic``."""
        options = self.options
        # One whole wait first, because the first call imports and loads things.
        asyncio.run_coroutine_threadsafe(self.wait("other_0", 0.01), loop).result(60)
        del self.events["other_0"]
        self.ask("/control/reset")
        memory = memory_in_use()

        started, cpu = time.monotonic(), time.process_time()
        asyncio.run_coroutine_threadsafe(self.begin(), loop)
        time.sleep(options.startup[0])
        while not (all_checked := self.ask("/control/all-checked")) and time.monotonic() < started + options.startup[1]:
            time.sleep(2)
        startup, startup_cpu = time.monotonic() - started, time.process_time() - cpu
        startup_iterations = self.selector.between(started, started + startup)
        memory = memory_in_use() - memory

        ends = self.ask(f"/control/end?number={options.ends}&seconds={options.measured}")
        busy, cpu, measured_from = machine_busy(), time.process_time(), time.monotonic()
        time.sleep(options.measured)
        busy, cpu, measured_to = machine_busy() - busy, time.process_time() - cpu, time.monotonic()
        iterations = self.selector.between(measured_from, measured_to)
        waiting = options.waits - len(self.events)

        while not ends.keys() <= self.events.keys() and time.monotonic() < measured_to + options.drain:
            time.sleep(0.5)
        return {
            **asdict(options),  # "startup" is replaced below by the seconds that it took
            "started": started,
            "all_checked": all_checked,
            "measured_from": measured_from,
            "measured_to": measured_to,
            "startup": startup,
            "startup_cpu": startup_cpu,
            "cpu": cpu,
            "machine_busy": busy,
            "memory": memory,
            "waiting": waiting,
            "startup_iterations": startup_iterations,
            "iterations": iterations,
            "ends": ends,
            "events": self.events,
            "service": self.ask("/control/log"),
        }

    def ask(self, path: str) -> Any:
        """Call a control path of the service."""
        with urllib.request.urlopen(self.options.url + path, timeout=60) as response:  # noqa: S310 (ours, on loopback)
            return json.load(response)


def memory_in_use() -> int:
    """Return the memory of this process, and its part of the memory that it shares with others (bytes)."""
    gc.collect()
    return int(psutil.Process().memory_full_info().pss)


def machine_busy() -> float:
    """Return the processor time that the whole machine has used (seconds)."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


if __name__ == "__main__":
    selector = MeasuringSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(Measurement(Options(**json.loads(sys.argv[1])), Path(sys.argv[2]), selector).run())
