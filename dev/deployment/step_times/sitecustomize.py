"""Print which steps of an event loop take much processor time; each triggerer of ``make test-deployment`` loads this.

Airflow's own warning, "async thread was blocked", measures elapsed time. So it cannot distinguish a long step from a
machine that is busy with something else.
"""

import asyncio
import sys
import threading
import time

LONG_STEP_SECONDS = 0.05
run_step = asyncio.Handle._run


def run_measured_step(self: asyncio.Handle) -> None:
    """Run a step, and print it if it was long."""
    started = time.thread_time()
    run_step(self)
    seconds = time.thread_time() - started
    # Triggers run in the main thread. The loop in another thread is the one of Airflow's supervisor.
    if seconds > LONG_STEP_SECONDS and threading.current_thread() is threading.main_thread():
        print(
            f"A step of the event loop took {seconds:.3f} s of processor time: {self!r:.400}",
            file=sys.stderr,
            flush=True,
        )


asyncio.Handle._run = run_measured_step  # type: ignore[method-assign]  # there is no other place to measure
