"""The ids of the requests in a batch's input, which the rows are compared with. No I/O, no Airflow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import get_custom_id, read_lines
from airflow_respan.results.lenient_json import decode_leniently

MAX_PLAIN_ID_LENGTH = 64
"""Characters; a longer id is kept as a digest."""

Read = Callable[[int], bytes]
IdKey = str | bytes


@dataclass(kw_only=True, slots=True)
class RequestedIds:
    """The ids of an input.

    :param lines: id -> the line of its request
    :param repeated_count: the number of further requests with the id of another one
    """

    lines: dict[IdKey, int] = field(default_factory=dict)
    repeated_count: int = 0


def make_id_key(custom_id: str) -> IdKey:
    """Return an id, or the digest of a long one, because up to 50,000 of them are in memory."""
    if len(custom_id) <= MAX_PLAIN_ID_LENGTH:
        return custom_id
    return hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_requested_ids(read: Read, source: str) -> RequestedIds:
    """Read the ids of a batch's input, and the lines that they are in.

    What is unusual is read as in results: the input was accepted when the batch was created.

    :param read: returns the next bytes of the input
    :param source: its name, for errors
    :raises RespanResultsError: if it is not the input of a batch
    """
    requested = RequestedIds()
    try:
        for number, content in read_lines(read):
            _add_id(requested, number, content)
    except ValueError as reason:
        raise RespanResultsError(
            f"The results cannot be compared with the input {source}: {reason}. Give the file that the batch was "
            "created from, or none."
        ) from None
    return requested


def _add_id(requested: RequestedIds, number: int, content: bytes) -> None:
    try:
        data, _unusual = decode_leniently(content)
        key = make_id_key(get_custom_id(data, accept_numbers=True))
    except ValueError as reason:
        raise ValueError(f"line {number}: {reason}") from None
    if requested.lines.setdefault(key, number) != number:
        requested.repeated_count += 1
