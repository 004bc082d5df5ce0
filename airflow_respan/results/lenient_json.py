"""Reads lines that are not quite valid JSON, because results are paid, also unusual ones. No I/O, no Airflow."""

from __future__ import annotations

from typing import Any

from airflow_respan.jsonl import BOM, NOT_UTF_8, decode_text

_BAD_BYTES = "bytes that are not UTF-8"
_LONG_INTEGER = "an integer of thousands of digits"


def decode_leniently(line: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the JSON object in a line of results.

    NaN and infinity are read. Of a key that occurs twice, the last value counts. Bytes that are not UTF-8 become lone
    surrogates, so that different ids stay different. An integer that has too many digits for Python becomes a text.

    :param line: the line
    :return: the object, and what is unusual about it; each text completes "3 rows have ..."
    :raises ValueError: if the line is not a JSON object; the message is as for
        :func:`~airflow_respan.jsonl.decode_object`
    """
    unusual = _Unusual()
    text = unusual.decode(line)
    try:
        data = decode_text(text, **unusual.hooks)
    except ValueError:
        data = _decode_once_more(text, unusual)
    return data, tuple(unusual.found)


def _decode_once_more(text: str, unusual: _Unusual) -> dict[str, Any]:
    """Decode with options that take more time."""
    try:
        data = decode_text(text, **unusual.hooks, parse_int=unusual.read_integer, strict=False)
    except ValueError:
        if _BAD_BYTES in unusual.found:
            raise ValueError(NOT_UTF_8) from None
        raise
    if _LONG_INTEGER not in unusual.found:
        unusual.add("a control character in a text")
    return data


class _Unusual:
    """Collects what is unusual about a line."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # ordered
        self.hooks = {"parse_constant": self.read_constant, "object_pairs_hook": self.read_pairs}

    def add(self, kind: str) -> None:
        self.found[kind] = None

    def decode(self, line: bytes) -> str:
        if line.startswith(BOM):
            self.add("a byte order mark within the file")
            line = line.removeprefix(BOM)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.add(_BAD_BYTES)
            return line.decode("utf-8", "surrogateescape")

    def read_constant(self, name: str) -> float:
        self.add("NaN or an infinite number")
        return float(name)

    def read_pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        data = dict(pairs)
        if len(data) != len(pairs):
            self.add("a key twice")
        return data

    def read_integer(self, digits: str) -> int | str:
        try:
            return int(digits)
        except ValueError:
            self.add(_LONG_INTEGER)
            return digits
