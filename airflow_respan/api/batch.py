"""What a batch is: no I/O, no clock, no Airflow. What a status means stands in ``statuses.py``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pendulum

from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.statuses import BatchStatus, status_of

MAX_ID_LENGTH = 200
"""Characters of an id or a status; both go into each log line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCounts:
    """How many requests of a batch are done: the service's hint, not a proof.

    :param total: requests in the batch, or None if the service did not say
    :param completed: requests that succeeded, or None if the service did not say
    :param failed: requests that failed, or None if the service did not say
    """

    total: int | None = None
    completed: int | None = None
    failed: int | None = None

    @classmethod
    def from_dict(cls, data: object) -> RequestCounts | None:
        """Read the ``request_counts`` of an answer.

        :param data: a mapping, perhaps partial, or anything else that an answer may hold there
        :return: the counts, or None where the answer holds none; a count that is no number is None, never 0
        """
        if not isinstance(data, Mapping):
            return None
        total, completed, failed = (_whole_number(data.get(name)) for name in ("total", "completed", "failed"))
        if total is None and completed is None and failed is None:
            return None
        return cls(total=total, completed=completed, failed=failed)

    def to_dict(self) -> dict[str, int]:
        """Give the known counts as plain JSON."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @property
    def done(self) -> int:
        """Requests that have an outcome, good or bad."""
        return (self.completed or 0) + (self.failed or 0)

    @property
    def failed_ratio(self) -> float | None:
        """The failed share of all requests (ratio 0-1), or None if it cannot be told."""
        whole = self.total or self.done
        return None if self.failed is None or not whole else self.failed / whole

    def __str__(self) -> str:
        if self.completed is None and self.failed is None:
            return f"{self.total} requests in all"
        of_total = "" if self.total is None else f" of {self.total}"
        return f"{self.completed or 0}{of_total} requests completed, {self.failed or 0} failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch as Respan describes it (``seed-retrieve-batch.txt`` has an example of the JSON).

    Timestamps are in UTC, or None. Ids that the service leaves out or sends as ``""`` are None.

    :param id: ``batch_...``
    :param status: the service's word; see :attr:`is_terminal`
    :param unknown_fields: keys of the answer that this class has no name for, kept for :meth:`to_dict`
    """

    id: str
    status: str
    endpoint: str | None = None
    errors: Any = None
    input_file_id: str | None = None
    completion_window: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: pendulum.DateTime | None = None
    in_progress_at: pendulum.DateTime | None = None
    expires_at: pendulum.DateTime | None = None
    finalizing_at: pendulum.DateTime | None = None
    completed_at: pendulum.DateTime | None = None
    failed_at: pendulum.DateTime | None = None
    expired_at: pendulum.DateTime | None = None
    cancelling_at: pendulum.DateTime | None = None
    cancelled_at: pendulum.DateTime | None = None
    request_counts: RequestCounts | None = None
    metadata: Mapping[str, Any] | None = None
    unknown_fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: object) -> Batch:
        """Read a batch from an API answer, an item of a list, or the event of a trigger.

        Only ``id`` and ``status`` are required: a field that merely informs is None when it is not
        what it should be, because a malformed timestamp is no reason to lose a finished batch.

        :param data: the decoded JSON
        :raises ValueError: if it is no batch; names the key at fault
        """
        return cls.from_sanitized(sanitize_json(data))

    @classmethod
    def from_sanitized(cls, data: object) -> Batch:
        """Read a batch from JSON that :func:`~airflow_respan.api.json_safe.sanitize_json` has been over already.

        :raises ValueError: if it is no batch; names the key at fault
        """
        if not isinstance(data, dict):
            raise ValueError(f"a batch is a JSON object, not {type(data).__name__}")
        if data.get("object", "batch") not in ("batch", None):
            raise ValueError(f"'object' is {data['object']!r}, not 'batch'")
        for key in ("id", "status"):
            if not isinstance(data.get(key), str) or not data[key].strip():
                raise ValueError(f"{key!r} is {data.get(key)!r}, not a text")
            if len(data[key]) > MAX_ID_LENGTH or not data[key].isprintable():
                raise ValueError(f"{key!r} is {data[key]!r}, which no {key} is")
        metadata = data.get("metadata")
        moments: dict[str, Any] = {name: _timestamp(data.get(name)) for name in _TIMESTAMP_FIELDS}
        texts: dict[str, Any] = {name: _text(data.get(name)) for name in _TEXT_FIELDS}
        return cls(
            id=data["id"],
            status=data["status"],
            errors=data.get("errors"),
            request_counts=RequestCounts.from_dict(data.get("request_counts")),
            metadata=metadata if isinstance(metadata, Mapping) else None,
            unknown_fields={key: value for key, value in data.items() if key not in _NAMES},
            **texts,
            **moments,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON back, unknown keys included: what goes to XCom and through a trigger's event."""
        known: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        for name in _TIMESTAMP_FIELDS:
            known[name] = None if known[name] is None else known[name].int_timestamp
        known["request_counts"] = self.request_counts.to_dict() if self.request_counts else None
        known["metadata"] = None if self.metadata is None else dict(self.metadata)
        return {**known, **self.unknown_fields}

    @property
    def is_terminal(self) -> bool:
        """Whether the batch has ended, well or badly."""
        return self.meaning.is_terminal

    @property
    def meaning(self) -> BatchStatus:
        """What the status means."""
        return status_of(self.status)

    @property
    def ended_at(self) -> pendulum.DateTime | None:
        """When the batch ended, if it has ended and the service said when."""
        return self._at(self.status) if self.is_terminal else None

    def _at(self, status: str) -> pendulum.DateTime | None:
        """Return when the batch entered a status, if the service said when."""
        name = f"{status}_at"
        known = getattr(self, name) if name in _TIMESTAMP_FIELDS else _timestamp(self.unknown_fields.get(name))
        return known if isinstance(known, pendulum.DateTime) else None

    def error_lines(self) -> Iterator[str]:
        """Give what ``errors`` says, a line an error, whichever of its shapes the service chose."""
        found = self.errors
        if isinstance(found, Mapping):
            found = found.get("data", [found])
        for error in [found] if isinstance(found, str | Mapping) else found if isinstance(found, list) else []:
            if isinstance(error, Mapping):
                where = "" if error.get("line") is None else f" (line {error['line']})"
                what = str(error.get("message") or "no message")
                yield f"{error['code']}{where}: {what}" if error.get("code") else f"{what}{where}"
            elif error:
                yield str(error)


_TIMESTAMP_FIELDS = tuple(f.name for f in fields(Batch) if f.name.endswith("_at"))
_TEXT_FIELDS = ("endpoint", "input_file_id", "completion_window", "output_file_id", "error_file_id")
_NAMES = dict.fromkeys(f.name for f in fields(Batch) if f.name != "unknown_fields")  # in order, and quick to look up in


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _timestamp(value: object) -> pendulum.DateTime | None:
    # Whole seconds, else a batch would not be the same after its way through XCom or an event.
    if not isinstance(value, int | float) or isinstance(value, bool) or (value := int(value)) <= 0:
        return None
    try:
        # Several times as quick as pendulum.from_timestamp, which was the slowest part of reading a batch.
        return pendulum.DateTime(*time.gmtime(value)[:6], tzinfo=pendulum.UTC)
    except (ValueError, OverflowError, OSError):
        return None
