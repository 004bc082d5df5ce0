"""Log lines about the progress of a long upload or download. No I/O, no clock."""

from __future__ import annotations

MIN_LOG_INTERVAL_SECONDS = 10.0
"""Minimum time between two lines, and before the first: a short transfer logs nothing."""

MAX_LOG_INTERVAL_SECONDS = 60.0
"""Time after which a line is due even if less than a further tenth was transferred."""


class TransferProgress:
    """Decides when a log line is due, and writes it.

    :param what: the transfer in words: ``upload 'questions.jsonl'``
    :param now: when the transfer started (seconds of any clock; all times come from the same clock)
    """

    def __init__(self, *, what: str, now: float) -> None:
        self._what = f"{what[:1].upper()}{what[1:]}"
        self._started_at = self._last_line_at = now
        self._tenths = 0

    def line(self, done: int, total: int | None, *, now: float) -> str | None:
        """Return a log line if one is due, else None.

        A line is due after each further tenth, but not before :data:`MIN_LOG_INTERVAL_SECONDS`, and in any case after
        :data:`MAX_LOG_INTERVAL_SECONDS`.

        :param done: bytes that were transferred
        :param total: bytes of the whole transfer, or None if unknown
        :param now: the time (seconds)
        """
        elapsed_seconds = now - self._last_line_at
        if elapsed_seconds < MIN_LOG_INTERVAL_SECONDS:
            return None
        tenths = done * 10 // total if total else 0
        if tenths <= self._tenths and elapsed_seconds < MAX_LOG_INTERVAL_SECONDS:
            return None
        self._tenths, self._last_line_at = tenths, now
        of_total = f" of {format_bytes(total)} ({done * 100 // total}%)" if total else ""
        return f"{self._what}: {format_bytes(done)}{of_total}, {self._rate(done, now)}"

    def final_line(self, done: int, *, now: float) -> str | None:
        """Return the log line of a completed transfer, or None if the transfer was short."""
        if now - self._started_at < MIN_LOG_INTERVAL_SECONDS:
            return None
        return f"{self._what}: {format_bytes(done)} in {now - self._started_at:.0f} seconds, {self._rate(done, now)}"

    def _rate(self, done: int, now: float) -> str:
        return f"{format_bytes(done / (now - self._started_at))}/s"


def format_bytes(count: float) -> str:
    """Return a number of bytes as text: ``12.3 MB``, ``1.2 kB`` or ``6 bytes``."""
    if count < 1e3:
        return f"{count:.0f} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
