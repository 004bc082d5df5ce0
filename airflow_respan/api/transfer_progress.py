"""How far a long upload or download has come, for the log. No I/O, no clock."""

from __future__ import annotations

MIN_LOG_INTERVAL_SECONDS = 10.0
"""Seconds between two lines at the least, and before the first: a short transfer has none."""

MAX_LOG_INTERVAL_SECONDS = 60.0
"""Seconds after which a line comes even if no further tenth is done."""


class TransferProgress:
    """Says when a line is due, and what is in it.

    :param what: the transfer in words: ``upload 'questions.jsonl'``
    :param now: when it began (seconds of any clock; the same clock for all times)
    """

    def __init__(self, *, what: str, now: float) -> None:
        self._what = f"{what[:1].upper()}{what[1:]}"
        self._began = self._spoke = now
        self._tenths = 0

    def line(self, done: int, total: int | None, *, now: float) -> str | None:
        """Give a line if one is due: a further tenth is done, but not often; and now and then in any case.

        :param done: bytes that are through
        :param total: bytes in all, or None if nobody knows
        """
        silent = now - self._spoke
        if silent < MIN_LOG_INTERVAL_SECONDS:
            return None
        tenths = done * 10 // total if total else 0
        if tenths <= self._tenths and silent < MAX_LOG_INTERVAL_SECONDS:
            return None
        self._tenths, self._spoke = tenths, now
        of_total = f" of {format_bytes(total)} ({done * 100 // total}%)" if total else ""
        return f"{self._what}: {format_bytes(done)}{of_total}, {self._rate(done, now)}"

    def final_line(self, done: int, *, now: float) -> str | None:
        """Give the line of a transfer that is over; None if it was short."""
        if now - self._began < MIN_LOG_INTERVAL_SECONDS:
            return None
        return f"{self._what}: {format_bytes(done)} in {now - self._began:.0f} seconds, {self._rate(done, now)}"

    def _rate(self, done: int, now: float) -> str:
        return f"{format_bytes(done / (now - self._began))}/s"


def format_bytes(count: float) -> str:
    """Write a number of bytes: ``12.3 MB``, ``1.2 kB`` or ``6 bytes``."""
    if count < 1e3:
        return f"{count:.0f} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
