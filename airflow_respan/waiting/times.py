"""The times that a wait brings from another process, read by the clock of this machine. No I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pendulum


def read_times(past: Mapping[str, str | None], planned: Mapping[str, str | None]) -> dict[str, float | None]:
    """Return times as Unix seconds: there are thousands of waits, and pendulum's arithmetic is slow.

    The process that wrote them may have had another clock. If a time that has passed is in the future here, that clock
    was ahead, and all times are moved by the difference. A clock that was behind looks the same as a long wait.

    :param past: name -> a time that had passed when it was written (ISO 8601 with offset), or None
    :param planned: name -> a time that may be in the future, or None
    :raises ValueError: if one is not a time; the message names it
    """
    now = time.time()
    unix = {name: _unix_seconds(name, text) for name, text in {**past, **planned}.items() if text is not None}
    ahead = max((unix[name] - now for name in past if name in unix), default=0.0)
    return {name: unix[name] - max(0.0, ahead) if name in unix else None for name in (*past, *planned)}


def _unix_seconds(name: str, text: str) -> float:
    try:
        parsed = pendulum.parse(text)
    except (TypeError, ValueError):
        parsed = None
    if not isinstance(parsed, pendulum.DateTime):
        raise ValueError(f"{name} is {text!r}; it must be a time in ISO 8601 with offset")
    return parsed.timestamp()
