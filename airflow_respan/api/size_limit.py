"""Cuts JSON from outside to a size that can be kept in XCom, in a trigger's event, and in memory. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_respan.api.json_safe import MAX_DEPTH, TOO_DEEP

MAX_FIELD_SIZE = 20_000
"""The largest size of one field of a batch: the characters of its names and texts, and one for each value."""

MAX_TEXT_LENGTH = 1000
"""Characters of a text or a name that are kept in a field that is too large."""

LEFT_OUT = "left_out"
"""The name under which a list or an object says how many of its items were left out."""

_CUT_SIZE = MAX_FIELD_SIZE * 3 // 4
"""The size to which a field is cut. It is smaller, so that a field that was cut is not cut once more."""


def limit_size(value: Any, sanitize: Callable[[Any], Any]) -> Any:
    """Return a decoded JSON value, or its beginning if it is larger than :data:`MAX_FIELD_SIZE`.

    Apply it before everything that takes time for each value. It takes time only for what it returns.

    :param value: a value that ``json.loads`` returned
    :param sanitize: removes secrets from a text that will be cut; half a secret would not be recognised afterwards
    :return: the same object if it is small enough. Otherwise long texts end with the number of characters left out; a
        list has a last item ``{"left_out": 49900}``, and an object a field ``left_out``
    """
    return value if _is_small(value) else _Cutter(sanitize).cut(value, depth=0)


def _is_small(value: Any) -> bool:
    size, rest = 0, [value]
    while rest and size <= MAX_FIELD_SIZE:
        item = rest.pop()
        size += _own_size(item)
        if isinstance(item, list):
            rest.extend(item)
        elif isinstance(item, dict):
            size += sum(map(len, item))
            rest.extend(item.values())
    return size <= MAX_FIELD_SIZE


def _own_size(value: Any) -> int:
    if isinstance(value, str):
        return 1 + len(value)
    # A large integer becomes hexadecimal text.
    return 1 + value.bit_length() // 4 if isinstance(value, int) else 1


class _Cutter:
    """Copies the beginning of a value, until the copy has the size :data:`_CUT_SIZE`."""

    def __init__(self, sanitize: Callable[[Any], Any]) -> None:
        self._sanitize = sanitize
        self._size_left = _CUT_SIZE

    def cut(self, value: Any, *, depth: int) -> Any:
        if isinstance(value, str) and len(value) > MAX_TEXT_LENGTH:
            kept = self._sanitize(value)[:MAX_TEXT_LENGTH]
            value = f"{kept} ... ({len(value) - MAX_TEXT_LENGTH} more characters left out)"
        self._size_left -= _own_size(value)
        if not isinstance(value, list | dict):
            return value
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        return self._cut_list(value, depth) if isinstance(value, list) else self._cut_object(value, depth)

    def _cut_list(self, value: list[Any], depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in value:
            part = self.cut(item, depth=depth + 1)
            if self._size_left < 0 and kept:  # only the first item may be kept in part
                return [*kept, {LEFT_OUT: len(value) - len(kept)}]
            kept.append(part)
        return kept

    def _cut_object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, item in value.items():
            if self._size_left <= 0:
                break
            if len(name) <= MAX_TEXT_LENGTH:
                self._size_left -= len(name)
                kept[name] = self.cut(item, depth=depth + 1)
        left_out = len(value) - len(kept)
        return {**kept, LEFT_OUT: left_out} if left_out else kept
