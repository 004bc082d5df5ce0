"""JSONL by one set of rules, for the input of a batch and for its results: what create takes, landing takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_LINE_BYTES = 200 * 2**20
"""A file of requests may have so many bytes, so no line of it, nor of its results, is refused for its length alone."""

_READ_BYTES = 2**18
_BOM = b"\xef\xbb\xbf"


def read_lines(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, in constant memory.

    Lines are numbered from 1. Blank lines are left out but counted. A byte order mark at the start is removed.

    :param read: returns the next bytes, at most as many as its argument says; ``b""`` at the end
    :raises ValueError: if a line is longer than :data:`MAX_LINE_BYTES`
    """
    for number, line in enumerate(_split(read), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"line {number} is longer than {MAX_LINE_BYTES} bytes")
        content = line.removeprefix(_BOM) if number == 1 else line
        if content and not content.isspace():
            yield number, content


def _split(read: Callable[[int], bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    size = 0
    while piece := read(_READ_BYTES):
        first, *others = piece.split(b"\n")
        rest.append(first)
        size += len(first)
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest, size = [others[-1]], len(others[-1])
        if size > MAX_LINE_BYTES:
            break
    yield b"".join(rest)


def decode_object(line: bytes, *, unique_keys: bool = False) -> dict[str, Any]:
    """Decode a line, which has to be a JSON object without NaN and infinity.

    :param unique_keys: also refuse an object with a key twice, which readers understand differently
    :raises ValueError: if the line is anything else; the reason completes "line 3: ..." and quotes nothing of the line
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
    except ValueError:  # Python reads no more than 4,300 digits; its own words are about Python
        raise ValueError("not JSON that can be read (a number with too many digits)") from None
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data


def get_custom_id(data: Mapping[str, Any]) -> str:
    """Return the id of a request or of a row.

    :raises ValueError: if it has none
    """
    custom_id = data.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id.strip():
        raise ValueError("no custom_id, or one that is not a text")
    return custom_id


class _RejectedError(ValueError):
    """What the standard decoder would take."""


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise _RejectedError("a key is there twice")
    return data


def _reject_constant(name: str) -> float:
    raise _RejectedError(f"{name} is not JSON")
