"""Programs that run at the same time, each in a session of its own, which is ended as a whole.

A process group would not be enough, because Airflow runs each task in a group of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

MAX_END_SECONDS = 20.0
MAX_WAIT_SECONDS = 300.0


class Processes:
    """A context manager: every program that is started in its block has ended after it.

    :param logs: the folder for a log file of each program
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Begin without programs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all programs: by SIGTERM, and those that still run after :data:`MAX_END_SECONDS` by SIGKILL."""
        # A second Ctrl-C must not leave some of them running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(signal_number, *self._running.values())

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str]) -> None:
        """Start a program; its output is appended to its log."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=dict(env), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def end(self, name: str, *, by: signal.Signals = signal.SIGTERM) -> None:
        """End a program and all that it has started, and wait until they have ended."""
        process = self._running.pop(name)
        for signal_number in (by, signal.SIGKILL):
            self._signal(signal_number, process)

    def ended(self) -> str | None:
        """Return the name of a program that has ended by itself, or None."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def members(self, name: str) -> list[psutil.Process]:
        """Return the process of a program and all that it has started."""
        return _members([self._running[name]])

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = MAX_WAIT_SECONDS) -> float:
        """Wait for a condition.

        :param what: the condition in words
        :param seconds: how long at most
        :return: the seconds that it took
        :raises TimeoutError: if it is not true by then
        :raises RuntimeError: if a program ends meanwhile
        """
        started = time.monotonic()
        while not condition():
            if name := self.ended():
                raise RuntimeError(f"Waited until {what}, but {name} has ended; see its log.")
            if time.monotonic() - started > seconds:
                raise TimeoutError(f"Waited {seconds:.0f} seconds until {what}, but it did not happen.")
            time.sleep(0.5)
        return time.monotonic() - started

    def log(self, name: str) -> Path:
        """Return the log file of a program."""
        return self._logs / f"{name}.log"

    @staticmethod
    def _signal(signal_number: signal.Signals, *processes: subprocess.Popen[bytes]) -> None:
        """Send a signal to sessions, and wait until they have ended, at most :data:`MAX_END_SECONDS`."""
        for member in _members(processes):
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal_number)
        deadline = time.monotonic() + MAX_END_SECONDS
        while _members(processes) and time.monotonic() < deadline:
            time.sleep(0.1)


def _members(leaders: Iterable[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    """Return the processes in the sessions of these leaders, without zombies."""
    sessions = {leader.pid for leader in leaders}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
