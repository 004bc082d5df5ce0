"""Loaded by each triggerer of ``make test-deployment``: says which steps of an event loop use the processor for long.

Airflow's own warning, "async thread was blocked", measures time on the wall: it cannot tell a step that takes long from
a machine that is busy with something else.
"""

import asyncio
import sys
import threading
import time

LONG = 0.05
run_step = asyncio.Handle._run


def run_measured_step(self: asyncio.Handle) -> None:
    """Run a step, and say so if it was a long one."""
    began = time.thread_time()
    run_step(self)
    took = time.thread_time() - began
    # Triggers run in the main thread; in another one, Airflow's supervisor of the triggers has a loop too.
    if took > LONG and threading.current_thread() is threading.main_thread():
        print(
            f"A step of the event loop took {took:.3f} s of processor time: {self!r:.400}", file=sys.stderr, flush=True
        )


asyncio.Handle._run = run_measured_step  # type: ignore[method-assign]  # there is no other place to measure
