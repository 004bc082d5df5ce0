"""Asks a large input, and says by how many megabytes the process has grown: ``python -m tests.rounds.measured``.

With ``--profile FILE`` it also writes a profile of the processor time.
"""

from __future__ import annotations

import cProfile
import json
import sys
import time

from tests.memory import peak_megabytes, reset_peak
from tests.rounds.asking import ask, numbered
from tests.task_instance import TaskInstance


def main(path: str, source: str, *profile: str) -> None:
    """Ask something small, for all that is imported, and then the input."""
    warm_up = ask("poking", f"{path}-warm-up", requests=numbered(2), ti=TaskInstance(run_id="warm-up"))
    assert warm_up.error is None
    before = reset_peak()
    profiler = cProfile.Profile()
    began, clock = time.process_time(), time.monotonic()
    if profile:
        profiler.enable()
    outcome = ask("poking", path, input_path=source)
    if profile:
        profiler.disable()
        profiler.dump_stats(profile[1])
    measured = {
        "manifest": outcome.value,
        "error": repr(outcome.error),
        "grown_by": peak_megabytes() - before,
        "cpu_seconds": time.process_time() - began,
        "seconds": time.monotonic() - clock,
    }
    sys.stdout.write(f"MEASURED {json.dumps(measured)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
