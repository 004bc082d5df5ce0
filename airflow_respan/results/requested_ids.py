"""The ids of the requests in a batch's input, which the rows are compared with. No I/O, no Airflow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import decode_object, get_custom_id, read_lines

MAX_PLAIN_ID_LENGTH = 64
"""Characters; a longer id is kept as a digest."""

Read = Callable[[int], bytes]
IdKey = str | bytes


def make_id_key(custom_id: str) -> IdKey:
    """Return an id, or the digest of a long one, because up to 50,000 of them are in memory."""
    if len(custom_id) <= MAX_PLAIN_ID_LENGTH:
        return custom_id
    return hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_requested_ids(read: Read, source: str) -> dict[IdKey, int]:
    """Read the ids of a batch's input, and the lines that they are in.

    :param read: returns the next bytes of the input
    :param source: its name, for errors
    :raises RespanResultsError: if it is not the input of a batch
    """
    lines: dict[IdKey, int] = {}
    try:
        for number, content in read_lines(read):
            _add_id(lines, number, content)
    except ValueError as reason:
        raise RespanResultsError(
            f"The results cannot be compared with the input {source}: {reason}. Give the file that the batch was "
            "created from, or none."
        ) from None
    return lines


def _add_id(lines: dict[IdKey, int], number: int, content: bytes) -> None:
    try:
        key = make_id_key(get_custom_id(decode_object(content)))
    except ValueError as reason:
        raise ValueError(f"line {number}: {reason}") from None
    if (first := lines.setdefault(key, number)) != number:
        raise ValueError(f"line {number} has the custom_id of line {first}")
