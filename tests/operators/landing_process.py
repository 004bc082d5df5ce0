"""Lands a batch in a process of its own, which gets a signal at one of its steps."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.operators.landings import land

FILE_STEPS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}
"""Events of Python's audit hooks: a file is opened, linked, renamed or removed, a folder is made or read."""


def start(
    folder: Path,
    options: dict[str, Any],
    *,
    signal_number: signal.Signals = signal.SIGSTOP,
    at: int | None = None,
    is_step: Callable[[str, tuple[Any, ...]], bool] = lambda _event, _arguments: False,
    after: tuple[int, int] | None = None,
) -> int:
    """Land in a process of its own, and return its id.

    :param signal_number: the signal that the process sends to itself
    :param at: the number of the step before which it does so, from 1; None for none
    :param is_step: whether an event of an audit hook is a step
    :param after: a pipe; the process waits until all others have closed it
    """
    gc.freeze()  # or the garbage collection of each child would copy all memory
    child = os.fork()
    if child:
        return child
    if after:
        os.close(after[1])
        os.read(after[0], 1)
    left = at

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if left is not None and is_step(event, arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal_number)

    if at is not None:
        sys.addaudithook(step)
    try:
        land(folder, **options)
    except BaseException as error:  # noqa: BLE001 (the exit status shows it, as in any process)
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)
