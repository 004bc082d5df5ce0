"""A point in time, in any spelling in which a service sends it. No I/O."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pendulum

MAX_TIMESTAMP_LENGTH = 100
"""Characters of the longest text that is read as a time."""

MAX_UNIX_SECONDS = 1e11
"""A larger number is in milliseconds, microseconds or nanoseconds: as seconds it would be after the year 5000."""

_NUMBER = re.compile(r"[0-9]{1,25}(\.[0-9]*)?(e\+?[0-9]{1,2})?", re.IGNORECASE)
_UTC_NAME = re.compile(r" ?(?:UTC|GMT|Z)$")
_MONTH_NAME = re.compile(r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE)


def read_timestamp(value: object) -> pendulum.DateTime | None:
    """Return the time that a decoded JSON value names, in UTC and in whole seconds; None if it names none.

    It may be a number of seconds, milliseconds, microseconds or nanoseconds since 1970, the text of such a number, a
    time by ISO 8601, or a date as in HTTP headers. A time without a zone is in UTC. A time up to 1970 is read as None,
    because services write 0, or a time in the year 1, if a time is not known.

    :param value: a decoded JSON value of any type
    """
    if value is None:
        return None
    # The documented spelling comes first, because a triggerer reads thousands of them.
    seconds = value if type(value) is int and value <= MAX_UNIX_SECONDS else _unix_seconds(value)
    if seconds is None or seconds < 1:
        return None
    try:
        # pendulum.from_timestamp takes several times as long, and was the slowest part of reading a batch.
        return pendulum.DateTime(*time.gmtime(int(seconds))[:6], tzinfo=pendulum.UTC)
    except (ValueError, OverflowError, OSError):
        return None


def scale_to_seconds(number: float) -> float:
    """Return Unix seconds, from Unix seconds or from milliseconds and smaller units.

    :param number: a finite number
    """
    while number > MAX_UNIX_SECONDS:
        number /= 1000
    return number


def _unix_seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _seconds_of_text(value.strip()) if len(value) <= MAX_TIMESTAMP_LENGTH else None
    # No time in nanoseconds is larger. This also excludes floats that are not finite.
    if not isinstance(value, int | float) or not 0 < value < 1e20:
        return None
    return scale_to_seconds(value)


def _seconds_of_text(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return _unix_seconds(float(text))
    read = _read_iso(text) or (_read_date(text) if _MONTH_NAME.search(text) else None)
    if read is None:
        return None
    try:
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # a time in the year 1 or 9999, which another zone moves out of the range
        return None


def _read_iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(_UTC_NAME.sub("+00:00", text.upper()))
    except ValueError:
        return None


def _read_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
