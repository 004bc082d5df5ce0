"""Splits the requests of a round into the inputs of its batches, in constant memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from airflow_respan.exceptions import RespanInputError, RespanStorageError
from airflow_respan.rounds.plan import Part, part_folder
from airflow_respan.submission.input import MAX_BYTES, MAX_REQUESTS, InputDigest
from airflow_respan.worker_disk import disk_errors

WriteInput = Callable[[str, str, IO[bytes]], None]


@dataclass(kw_only=True)
class _OpenPart:
    """A part that has room for further requests."""

    file: IO[bytes] = field(default_factory=lambda: tempfile.TemporaryFile(prefix="respan-"))  # noqa: SIM115
    digest: InputDigest = field(default_factory=InputDigest)


class Splitter:
    """Collects requests, and writes the input of each batch when it is full; a context manager.

    :param write_input: writes the input of a part, given its folder, the name of the input and an open file
    :param round_number: the number of the round
    :param input_name: the name of each input in its folder
    :param by_model: whether each batch may only have requests for one model
    """

    def __init__(self, write_input: WriteInput, *, round_number: int, input_name: str, by_model: bool) -> None:
        self._write_input = write_input
        self._round_number = round_number
        self._input_name = input_name
        self._by_model = by_model
        self._open: dict[Any, _OpenPart] = {}
        self._full: list[_OpenPart] = []
        self._parts: list[Part] = []

    def __enter__(self) -> Splitter:
        """Return this object, still without parts."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the temporary files, which removes them."""
        for part in (*self._open.values(), *self._full):
            with suppress(OSError):  # the error of a full disk comes once more at the close
                part.file.close()

    def add(self, line: bytes, request: Mapping[str, Any]) -> None:
        """Add a request to the part that has room for it.

        :param line: the request as it is written, without the line break
        :param request: the same as an object
        :raises RespanInputError: if it is too large for any batch
        :raises RespanStorageError: if the worker's disk has no room
        """
        size = len(line) + 1
        if size > MAX_BYTES:
            raise RespanInputError(
                f"A request of {size:,} bytes is larger than a whole batch may be ({MAX_BYTES:,} bytes), so nothing "
                "was uploaded or created."
            )
        key = _model(request) if self._by_model else None
        part = self._open.get(key)
        if part and (part.digest.count == MAX_REQUESTS or part.digest.size + size > MAX_BYTES):
            self._full.append(self._open.pop(key))
            part = None
        with _disk_errors():
            if part is None:
                self._write_full()
                part = self._open[key] = _OpenPart()
            part.file.write(line + b"\n")
        part.digest.add(line, request)

    def finish(self) -> tuple[Part, ...]:
        """Write the inputs that are not written yet, and return all parts."""
        waiting = [*self._full, *self._open.values()]
        is_only = not self._parts and len(waiting) == 1
        for part in waiting:
            self._write(part, is_only=is_only)
        return tuple(self._parts)

    def _write_full(self) -> None:
        """Write the inputs that are full; to be called as soon as the round is known to have several parts."""
        while self._full:
            self._write(self._full[0], is_only=False)
            self._full.pop(0).file.close()

    def _write(self, part: _OpenPart, *, is_only: bool) -> None:
        number = len(self._parts) + 1
        folder = part_folder(self._round_number, number, is_only=is_only)
        with _disk_errors():
            part.file.flush()
        self._write_input(folder, self._input_name, part.file)
        checked = part.digest.result()
        self._parts.append(
            Part(
                number=number,
                folder=folder,
                requests=checked.count,
                size=checked.size,
                input=self._input_name,
                digest=checked.digest,
            )
        )


def _disk_errors() -> AbstractContextManager[None]:
    return disk_errors(RespanStorageError, "the requests", until="they are written")


def _model(request: Mapping[str, Any]) -> str | None:
    body = request.get("body")
    model = body.get("model") if isinstance(body, Mapping) else None
    return model if isinstance(model, str) else None
