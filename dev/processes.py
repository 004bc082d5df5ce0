"""Programs that run side by side, each a process group of its own, which is ended as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 20.0


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
            for process in self._running.values():
                _signal_group(process.pid, sent)
            self._wait_for(*self._running.values())

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
            _signal_group(process.pid, sent)
            self._wait_for(process)

    def ended(self) -> str | None:
        """Name a program that has ended by itself, if there is one."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def log(self, name: str) -> Path:
        """Give the log file of a program."""
        return self._logs / f"{name}.log"

    @staticmethod
    def _wait_for(*processes: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while any(_group_lives(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(0.1)


def _signal_group(group: int, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, sent)


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # else its head stays a zombie, and the group with it
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
