"""One set of rules for JSONL, for the input of a batch and for its results.

So the results operator does not refuse an input that the create operator has accepted. Of results, which are paid,
unusual lines are read too: see ``results/lenient_json.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

MAX_LINE_BYTES = 200 * 2**20
"""Maximum length of a line: the maximum size of a whole input file, so no valid line is refused for its length."""

TOO_LONG = f"longer than {MAX_LINE_BYTES} bytes"
TOO_DEEP = "nested too deeply"
NOT_UTF_8 = "not UTF-8"

BOM = b"\xef\xbb\xbf"
"""A byte order mark in UTF-8."""

_READ_BYTES = 2**18
_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "a text"),
    (Mapping, "an object"),
    (list, "a list"),
    (tuple, "a tuple"),
)
_MAX_EXACT_FLOAT = 2**53


class Line(NamedTuple):
    """A line of a file that is not blank.

    :param number: its number, from 1; blank lines are counted
    :param start: the position of its first byte in the file
    :param end: the position after its line end
    :param content: the line without its line end; None if it is longer than :data:`MAX_LINE_BYTES`
    """

    number: int
    start: int
    end: int
    content: bytes | None


def split_lines(read: Callable[[int], bytes]) -> Iterator[Line]:
    """Yield the lines of a file that are not blank, in constant memory.

    A byte order mark at the start of the file is removed from the content. A line that is too long is skipped, and
    yielded without its content.

    :param read: returns the next bytes, at most as many as its argument, or ``b""`` at the end; such as ``file.read``
    """
    return _without_blank_lines(_split(read, skip_long=True))


def read_lines(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, in constant memory.

    Lines are numbered from 1. Blank lines, and lines that are only a byte order mark, are left out but counted. A byte
    order mark at the start is removed.

    :param read: see :func:`split_lines`
    :raises ValueError: if a line is longer than :data:`MAX_LINE_BYTES`; it is not read to its end
    """
    for line in _without_blank_lines(_split(read, skip_long=False)):
        if line.content is None:
            raise ValueError(f"line {line.number} is {TOO_LONG}")
        yield line.number, line.content


def _without_blank_lines(lines: Iterator[Line]) -> Iterator[Line]:
    for line in lines:
        if line.content is None:
            yield line
            continue
        content = line.content.removeprefix(BOM)
        if content and not content.isspace():
            yield line._replace(content=content) if line.number == 1 else line


def _split(read: Callable[[int], bytes], *, skip_long: bool) -> Iterator[Line]:
    number, start, end = 1, 0, 0
    parts: list[bytes] = []
    while chunk := read(_READ_BYTES):
        *pieces, rest = chunk.split(b"\n")
        for piece in pieces:
            parts.append(piece)
            end += len(piece)
            yield Line(number, start, end + 1, b"".join(parts) if end - start <= MAX_LINE_BYTES else None)
            number, start, end, parts = number + 1, end + 1, end + 1, []
        parts.append(rest)
        end += len(rest)
        if end - start > MAX_LINE_BYTES:
            parts = []
            if not skip_long:
                break
    yield Line(number, start, end, b"".join(parts) if end - start <= MAX_LINE_BYTES else None)


def decode_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line of an input.

    :param line: the line
    :raises ValueError: if the line is not a JSON object, or contains NaN or infinity. The message completes
        "line 3: ..." and quotes nothing of the line, which may be confidential
    """
    try:
        return decode_text(line.decode(), parse_constant=_reject_constant)
    except UnicodeDecodeError:
        raise ValueError(NOT_UTF_8) from None


def decode_text(text: str, **options: Any) -> dict[str, Any]:
    """Return the JSON object in the text of a line.

    :param text: the text
    :param options: the options of ``json.loads``
    :raises ValueError: if it is not a JSON object; the message is as for :func:`decode_object`
    """
    try:
        data = json.loads(text, **options)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from None
    except _RejectedError as error:
        raise ValueError(f"not JSON ({error})") from None
    except ValueError:  # Python refuses integers of more than 4,300 digits, and its message is about Python settings
        raise ValueError("not JSON that can be read (a number with too many digits)") from None
    if not isinstance(data, dict):
        raise ValueError(f"{describe_kind(data)}, not a JSON object")
    return data


def describe_kind(value: object) -> str:
    """Return what a value is in JSON's terms, or its type if JSON does not have it; never the value."""
    if value is None:
        return "null"
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind
    module, name = type(value).__module__, type(value).__qualname__
    return f"of the type {name if module == 'builtins' else f'{module}.{name}'}"


def get_custom_id(data: Mapping[str, Any], *, accept_numbers: bool = False) -> str:
    """Return the ``custom_id`` of a request or of a result row.

    :param data: the decoded line
    :param accept_numbers: whether to return a number as a text, ``7`` and ``7.0`` as ``"7"``
    :raises ValueError: if it is missing, blank, or not a text
    """
    custom_id = data.get("custom_id")
    if accept_numbers and isinstance(custom_id, int | float) and not isinstance(custom_id, bool):
        custom_id = _number_as_text(custom_id)
    if not isinstance(custom_id, str) or not custom_id.strip():
        raise ValueError("no custom_id, or one that is not a text")
    return custom_id


def _number_as_text(number: float) -> str | None:
    if isinstance(number, int) or not math.isfinite(number):
        return str(number) if isinstance(number, int) else None
    return str(int(number)) if number.is_integer() and abs(number) <= _MAX_EXACT_FLOAT else str(number)


class _RejectedError(ValueError):
    """A line has something that Python's decoder accepts, although it is not valid JSON."""


def _reject_constant(name: str) -> float:
    raise _RejectedError(f"{name} is not JSON")
