"""The memory of a process, as Linux counts it."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path


def peak_megabytes(pid: int | str = "self") -> float:
    """Return the most memory that a process has had since it started, or since its peak was reset."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def reset_peak() -> float:
    """Return free memory of this process to the system, and let its peak start again; returns that in megabytes.

    Not getrusage's peak: that is never lowered, and a process has it from the one that started it.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()
