"""A number of things: in any spelling in which a service sends it, and as text. No I/O."""

from __future__ import annotations

_MAX_COUNT = 2**53
"""Above this, a float is not exact."""


def read_count(value: object) -> int | None:
    """Return a count: ``10``, ``10.0``, ``"10"`` or ``"10.0"``; None for anything else, also for true and ``-1``.

    :param value: a decoded JSON value of any type
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = value if isinstance(value, int) else float(value)
    except ValueError:
        return None
    return int(number) if 0 <= number < _MAX_COUNT and number == int(number) else None


def count_text(count: int, noun: str, plural: str = "") -> str:
    """Return a number of things as text: ``1 batch``, ``2 batches``.

    :param count: how many there are
    :param noun: the name of one of them
    :param plural: the name of several; the noun with an ``s`` by default
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
