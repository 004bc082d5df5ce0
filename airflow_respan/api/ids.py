"""What counts as an id of a batch or a file, in a response of the service. No I/O."""

from __future__ import annotations

from typing import TypeGuard

MAX_ID_LENGTH = 4096
"""Maximum characters of an id. Ids of more than 200 were seen. A longer one than this fits into no URL."""


def is_id(value: object) -> TypeGuard[str]:
    """Return whether a value is an id: a text that can stand in a URL and in a log line."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_ID_LENGTH and value.isprintable()


def check_id(key: str, value: object) -> None:
    """Check the id of a batch or a file.

    :param key: its key, for the error message
    :raises ValueError: if it is not an id
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} is {value!r}, not a text")
    if not is_id(value):
        raise ValueError(f"{key!r} is {value!r}, which is not a valid {key}")
