"""A file of the Respan files API: its description, not its content. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_respan.api.counts import read_count
from airflow_respan.api.ids import check_id


@dataclass(frozen=True, kw_only=True)
class RespanFile:
    """The description of a file that was uploaded, or that a batch wrote.

    :param id: ``file-...``
    :param filename: the name under which it was uploaded, or None
    :param size: bytes, or None if unknown
    :param purpose: ``batch`` or ``batch_output``, or None
    :param raw: the whole JSON object
    """

    id: str
    filename: str | None = None
    size: int | None = None
    purpose: str | None = None
    raw: Mapping[str, Any]

    @classmethod
    def from_dict(cls, data: object) -> RespanFile:
        """Return a file from an API response or from an item of a list.

        :raises ValueError: if it is not a file; the message names the wrong key
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"a file is a JSON object, not {type(data).__name__}")
        if data.get("object", "file") not in ("file", None):
            raise ValueError(f"'object' is {data['object']!r}, not 'file'")
        check_id("id", data.get("id"))
        filename, size, purpose = data.get("filename"), data.get("bytes"), data.get("purpose")
        return cls(
            id=data["id"],
            filename=filename if isinstance(filename, str) else None,
            size=read_count(size),
            purpose=purpose if isinstance(purpose, str) else None,
            raw=dict(data),
        )
