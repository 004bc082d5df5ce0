"""Programs that run side by side, each a session of its own, which is ended as a whole.

A session, not a process group: Airflow gives each of its tasks a group of its own.
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

PATIENCE = 20.0
LONGEST_WAIT = 300.0


class Processes:
    """A context manager: whatever was started in its block has ended after it.

    :param logs: the folder for a log file of each program
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Begin with none."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all: kindly, and after a while by force."""
        # A second, impatient Ctrl-C must not leave half of them behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for sent in (signal.SIGTERM, signal.SIGKILL):
            self._signal(sent, *self._running.values())

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str]) -> None:
        """Start a program; what it prints is appended to its log."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=dict(env), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def end(self, name: str, *, by: signal.Signals = signal.SIGTERM) -> None:
        """End a program and all that it has started, and wait until they are gone."""
        process = self._running.pop(name)
        for sent in (by, signal.SIGKILL):
            self._signal(sent, process)

    def ended(self) -> str | None:
        """Name a program that has ended by itself, if there is one."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def members(self, name: str) -> list[psutil.Process]:
        """Give a program's process and all that it has started."""
        return _members([self._running[name]])

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = LONGEST_WAIT) -> float:
        """Wait for a condition; gives the seconds that it took.

        :param what: the condition in words
        :param seconds: how long at most
        :raises TimeoutError: if it does not come true
        :raises RuntimeError: if a program ends instead
        """
        began = time.monotonic()
        while not condition():
            if name := self.ended():
                raise RuntimeError(f"Waited until {what}, but {name} has ended; see its log.")
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"Waited {seconds:.0f} seconds in vain until {what}.")
            time.sleep(0.5)
        return time.monotonic() - began

    def log(self, name: str) -> Path:
        """Give the log file of a program."""
        return self._logs / f"{name}.log"

    @staticmethod
    def _signal(sent: signal.Signals, *processes: subprocess.Popen[bytes]) -> None:
        """Signal sessions, and wait a while until they are gone."""
        for member in _members(processes):
            with suppress(psutil.NoSuchProcess):
                member.send_signal(sent)
        deadline = time.monotonic() + PATIENCE
        while _members(processes) and time.monotonic() < deadline:
            time.sleep(0.1)


def _members(heads: Iterable[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    """Find who lives in the sessions of these processes; zombies do not."""
    sessions = {head.pid for head in heads}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
