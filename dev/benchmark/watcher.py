"""The measured process: many triggers of one contender in one event loop, as a triggerer runs them.

python -m dev.benchmark.watcher '{"contender": "respan", "url": ..., ...}' run.json

writes what it has seen into the file. The loop runs in the main thread, as in a triggerer; another thread keeps the
time, so that a loop that stands still cannot stop the measurement. Logs go where Airflow's own settings send them.
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

from dev.benchmark.contenders import CONTENDERS
from dev.benchmark.turns import Turns


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be measured.

    :param contender: its name
    :param url: the service
    :param waits: how many triggers
    :param interval: their interval (seconds)
    :param ends: how many batches end within the measured time
    :param startup: seconds before it, at least and at most, until the service has told of every batch
    :param measured: seconds of it
    :param drain: seconds after it, at most, until every end has been seen
    """

    contender: str
    url: str
    waits: int
    interval: float
    ends: int
    startup: tuple[float, float]
    measured: float
    drain: float


class Watcher:
    """Runs the triggers, and measures."""

    def __init__(self, task: Task, result: Path, turns: Turns) -> None:
        self.task = task
        self.result = result
        self.trigger: Callable[[str, float], Any] = CONTENDERS[task.contender].triggers()
        self.turns = turns
        self.events: dict[str, float] = {}
        self._waits: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run the loop's side; never returns."""
        threading.Thread(target=self.keep_time, args=(asyncio.get_running_loop(),), daemon=True).start()
        await asyncio.Event().wait()

    async def wait(self, batch_id: str, interval: float) -> None:
        """Do with one trigger what a triggerer does."""
        async for _event in self.trigger(batch_id, interval).run():
            self.events.setdefault(batch_id, time.monotonic())

    async def begin(self) -> None:
        """Start all waits, as a triggerer that finds them in its database."""
        for number in range(self.task.waits):
            self._waits.add(asyncio.create_task(self.wait(f"batch_{number:05d}", self.task.interval)))
            await asyncio.sleep(0)

    def keep_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure, and end the process."""
        try:
            self.result.write_text(json.dumps(self.measure(loop)))
        except Exception:  # noqa: BLE001 (all of them: the process ends)
            traceback.print_exc()
        # Thousands of waits, some in threads or blocking the loop, would take their time to end.
        os._exit(0)

    def measure(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Give the figures, in seconds and bytes; moments by ``time.monotonic``."""
        task = self.task
        # One whole wait first, so that what is imported and loaded at a first call is there.
        asyncio.run_coroutine_threadsafe(self.wait("other_0", 0.01), loop).result(60)
        del self.events["other_0"]
        self.ask("/control/begin")
        memory = memory_in_use()

        started, cpu = time.monotonic(), time.process_time()
        asyncio.run_coroutine_threadsafe(self.begin(), loop)
        time.sleep(task.startup[0])
        while not (told := self.ask("/control/told")) and time.monotonic() < started + task.startup[1]:
            time.sleep(2)
        startup, startup_cpu = time.monotonic() - started, time.process_time() - cpu
        startup_turns = self.turns.between(started, started + startup)
        memory = memory_in_use() - memory

        ends = self.ask(f"/control/end?number={task.ends}&seconds={task.measured}")
        busy, cpu, measured_from = machine_busy(), time.process_time(), time.monotonic()
        time.sleep(task.measured)
        busy, cpu, measured_to = machine_busy() - busy, time.process_time() - cpu, time.monotonic()
        turns = self.turns.between(measured_from, measured_to)
        waiting = task.waits - len(self.events)

        while not ends.keys() <= self.events.keys() and time.monotonic() < measured_to + task.drain:
            time.sleep(0.5)
        return {
            **asdict(task),  # its start-up is told as it was, below
            "started": started,
            "all_told": told,
            "measured_from": measured_from,
            "measured_to": measured_to,
            "startup": startup,
            "startup_cpu": startup_cpu,
            "cpu": cpu,
            "machine_busy": busy,
            "memory": memory,
            "waiting": waiting,
            "startup_turns": startup_turns,
            "turns": turns,
            "ends": ends,
            "events": self.events,
            "service": self.ask("/control/log"),
        }

    def ask(self, path: str) -> Any:
        """Ask the service about itself."""
        with urllib.request.urlopen(self.task.url + path, timeout=60) as answer:  # noqa: S310 (ours, on loopback)
            return json.load(answer)


def memory_in_use() -> int:
    """Give the memory that only this process uses, and its share of what it has in common with others (bytes)."""
    gc.collect()
    return int(psutil.Process().memory_full_info().pss)


def machine_busy() -> float:
    """Give the processor time that the whole machine has used (seconds)."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


if __name__ == "__main__":
    turns = Turns()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(Watcher(Task(**json.loads(sys.argv[1])), Path(sys.argv[2]), turns).run())
