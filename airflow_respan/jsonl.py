"""One set of rules for JSONL, for the input of a batch and for its results.

So the results operator does not refuse an input that the create operator has accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_LINE_BYTES = 200 * 2**20
"""Maximum length of a line: the maximum size of a whole input file, so no valid line is refused for its length."""

_READ_BYTES = 2**18
_BOM = b"\xef\xbb\xbf"
_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "a text"),
    (Mapping, "an object"),
    (list, "a list"),
    (tuple, "a tuple"),
)


def read_lines(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, in constant memory.

    Lines are numbered from 1. Blank lines are left out but counted. A byte order mark at the start is removed.

    :param read: returns the next bytes, at most as many as its argument, or ``b""`` at the end; such as ``file.read``
    :raises ValueError: if a line is longer than :data:`MAX_LINE_BYTES`
    """
    for number, line in enumerate(_split(read), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"line {number} is longer than {MAX_LINE_BYTES} bytes")
        content = line.removeprefix(_BOM) if number == 1 else line
        if content and not content.isspace():
            yield number, content


def _split(read: Callable[[int], bytes]) -> Iterator[bytes]:
    line_parts: list[bytes] = []
    line_bytes = 0
    while chunk := read(_READ_BYTES):
        first, *others = chunk.split(b"\n")
        line_parts.append(first)
        line_bytes += len(first)
        if others:
            yield b"".join(line_parts)
            yield from others[:-1]
            line_parts, line_bytes = [others[-1]], len(others[-1])
        if line_bytes > MAX_LINE_BYTES:
            break
    yield b"".join(line_parts)


def decode_object(line: bytes, *, unique_keys: bool = False) -> dict[str, Any]:
    """Return the JSON object in a line.

    :param line: the line
    :param unique_keys: whether to refuse objects in which a key occurs twice, because programs read these differently
    :raises ValueError: if the line is not a JSON object, or contains NaN or infinity. The message completes
        "line 3: ..." and quotes nothing of the line, which may be confidential
    """
    try:
        data = json.loads(
            line.decode(),
            object_pairs_hook=_reject_duplicate_keys if unique_keys else None,
            parse_constant=_reject_constant,
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
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


def get_custom_id(data: Mapping[str, Any]) -> str:
    """Return the ``custom_id`` of a request or of a result row.

    :raises ValueError: if it is missing, blank, or not a text
    """
    custom_id = data.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id.strip():
        raise ValueError("no custom_id, or one that is not a text")
    return custom_id


class _RejectedError(ValueError):
    """A line has something that Python's decoder accepts, although it is not valid JSON."""


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise _RejectedError("a key occurs twice")
    return data


def _reject_constant(name: str) -> float:
    raise _RejectedError(f"{name} is not JSON")
