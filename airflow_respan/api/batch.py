"""A batch as Respan describes it: read, checked, and written as JSON. No I/O.

The meaning of each status is in ``statuses.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pendulum

from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.size_limit import LEFT_OUT, MAX_FIELD_SIZE, limit_size
from airflow_respan.api.statuses import BatchStatus, status_of

MAX_ID_LENGTH = 200
"""Maximum characters of an id or a status, because both are part of each log line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestCounts:
    """How many requests of a batch succeeded and failed. A hint only: the counts can be missing, partial or wrong.

    :param total: requests in the batch, or None if unknown
    :param completed: requests that succeeded, or None if unknown
    :param failed: requests that failed, or None if unknown
    """

    total: int | None = None
    completed: int | None = None
    failed: int | None = None

    @classmethod
    def from_dict(cls, data: object) -> RequestCounts | None:
        """Return the counts from the field ``request_counts`` of a batch.

        :param data: the decoded JSON of the field, of any type
        :return: the counts, or None if there are none; a count that is missing or not a number is None, never 0
        """
        if not isinstance(data, Mapping):
            return None
        total, completed, failed = (_whole_number(data.get(name)) for name in ("total", "completed", "failed"))
        if total is None and completed is None and failed is None:
            return None
        return cls(total=total, completed=completed, failed=failed)

    def to_dict(self) -> dict[str, int]:
        """Return the known counts as JSON."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @property
    def done(self) -> int:
        """Requests that succeeded or failed."""
        return (self.completed or 0) + (self.failed or 0)

    @property
    def failed_ratio(self) -> float | None:
        """The failed share of all requests (ratio 0-1), or None if the counts are not sufficient to compute it."""
        total = self.total or self.done
        return None if self.failed is None or not total else self.failed / total

    def __str__(self) -> str:
        if self.completed is None and self.failed is None:
            return f"{self.total} requests in all"
        of_total = "" if self.total is None else f" of {self.total}"
        return f"{self.completed or 0}{of_total} requests completed, {self.failed or 0} failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch as Respan describes it; ``docs/respan-api.md`` has an example of the JSON.

    Timestamps are in UTC, or None. Ids that Respan leaves out or sends as ``""`` are None.

    :param id: ``batch_...``
    :param status: the status as Respan sends it; see :attr:`is_terminal` and :attr:`meaning`
    :param unknown_fields: all other keys of the response, kept for :meth:`to_dict`
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
        """Return a batch from an API response, from an item of a list, or from the event of a trigger.

        Only ``id`` and ``status`` are required. Every other field that is malformed becomes None, because a wrong
        timestamp must not make a finished batch unreadable.

        :param data: the decoded JSON
        :raises ValueError: if it is not a batch; the message names the wrong key
        """
        return cls.from_sanitized(sanitize_batch(data, sanitize_json))

    @classmethod
    def from_sanitized(cls, data: object) -> Batch:
        """Return a batch from JSON to which :func:`sanitize_batch` was already applied.

        :raises ValueError: if it is not a batch; the message names the wrong key
        """
        if not isinstance(data, dict):
            raise ValueError(f"a batch is a JSON object, not {type(data).__name__}")
        if data.get("object", "batch") not in ("batch", None):
            raise ValueError(f"'object' is {data['object']!r}, not 'batch'")
        for key in ("id", "status"):
            if not isinstance(data.get(key), str) or not data[key].strip():
                raise ValueError(f"{key!r} is {data.get(key)!r}, not a text")
            if len(data[key]) > MAX_ID_LENGTH or not data[key].isprintable():
                raise ValueError(f"{key!r} is {data[key]!r}, which is not a valid {key}")
        metadata = data.get("metadata")
        timestamps: dict[str, Any] = {name: _timestamp(data.get(name)) for name in _TIMESTAMP_FIELDS}
        texts: dict[str, Any] = {name: _text(data.get(name)) for name in _TEXT_FIELDS}
        return cls(
            id=data["id"],
            status=data["status"],
            errors=data.get("errors"),
            request_counts=RequestCounts.from_dict(data.get("request_counts")),
            metadata=metadata if isinstance(metadata, Mapping) else None,
            unknown_fields={key: value for key, value in data.items() if key not in _FIELD_NAMES},
            **texts,
            **timestamps,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the batch as JSON for XCom and for a trigger's event, unknown keys included."""
        known: dict[str, Any] = {name: getattr(self, name) for name in _FIELD_NAMES}
        for name in _TIMESTAMP_FIELDS:
            known[name] = None if known[name] is None else known[name].int_timestamp
        known["request_counts"] = self.request_counts.to_dict() if self.request_counts else None
        known["metadata"] = None if self.metadata is None else dict(self.metadata)
        return {**known, **self.unknown_fields}

    @property
    def is_terminal(self) -> bool:
        """Whether the batch has ended, successfully or not."""
        return self.meaning.is_terminal

    @property
    def meaning(self) -> BatchStatus:
        """What the status means."""
        return status_of(self.status)

    @property
    def ended_at(self) -> pendulum.DateTime | None:
        """When the batch ended, or None if it has not ended or Respan did not send the time."""
        if not self.is_terminal:
            return None
        name = f"{self.status}_at"
        value = getattr(self, name) if name in _TIMESTAMP_FIELDS else _timestamp(self.unknown_fields.get(name))
        return value if isinstance(value, pendulum.DateTime) else None

    def error_lines(self) -> Iterator[str]:
        """Yield the batch's ``errors``, one line for each, in whichever form Respan sends them.

        If there are very many, only the first are kept: see :attr:`error_count`.
        """
        for error in self._kept_errors():
            if isinstance(error, Mapping) and error.keys() != {LEFT_OUT}:
                line = "" if error.get("line") is None else f" (line {error['line']})"
                message = str(error.get("message") or "no message")
                yield f"{error['code']}{line}: {message}" if error.get("code") else f"{message}{line}"
            elif error and not isinstance(error, Mapping):
                yield str(error)

    @property
    def error_count(self) -> int:
        """How many errors Respan sent, with those that were left out because there are very many."""
        markers = [error for error in self._kept_errors() if isinstance(error, Mapping) and error.keys() == {LEFT_OUT}]
        left_out = sum(count for marker in markers if isinstance(count := marker[LEFT_OUT], int))
        return sum(1 for _line in self.error_lines()) + left_out

    def _kept_errors(self) -> list[Any]:
        errors = self.errors
        if isinstance(errors, Mapping):
            errors = errors.get("data", [errors])
        return [errors] if isinstance(errors, str | Mapping) else errors if isinstance(errors, list) else []


def sanitize_batch(data: Any, sanitize: Callable[[Any], Any]) -> Any:
    """Return the decoded JSON of a batch, each field cut to a size that can be kept, and then sanitized.

    A batch can have 50,000 ``errors``, and a gateway may add fields of any size. Each value that is sanitized takes
    time, and in a triggerer this time blocks all triggers. So the fields are cut first.

    :param data: the decoded JSON
    :param sanitize: :func:`~airflow_respan.api.json_safe.sanitize_json`, or a function that removes secrets as well
    """
    if not isinstance(data, dict):
        return sanitize(data)
    unknown = {name: value for name, value in data.items() if name not in _FIELD_NAMES}
    known = {name: value for name, value in data.items() if name in _FIELD_NAMES}
    for name, value in known.items():
        # Other texts are ids, which must not be cut: see _text.
        if isinstance(value, list | dict) or (name == "errors" and isinstance(value, str)):
            known[name] = limit_size(value, sanitize)
    return sanitize({**known, **limit_size(unknown, sanitize)} if unknown else known)


_TIMESTAMP_FIELDS = tuple(f.name for f in fields(Batch) if f.name.endswith("_at"))
_TEXT_FIELDS = ("endpoint", "input_file_id", "completion_window", "output_file_id", "error_file_id")
_FIELD_NAMES = dict.fromkeys(f.name for f in fields(Batch) if f.name != "unknown_fields")  # ordered, with fast look-ups


def _text(value: object) -> str | None:
    # A text that is too long to be kept is no id: no URL has room for it.
    return value if isinstance(value, str) and 0 < len(value) <= MAX_FIELD_SIZE else None


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _timestamp(value: object) -> pendulum.DateTime | None:
    # Whole seconds only, because to_dict() writes whole seconds, and a batch read from its output must be the same.
    if not isinstance(value, int | float) or isinstance(value, bool) or (value := int(value)) <= 0:
        return None
    try:
        # pendulum.from_timestamp takes several times as long, and was the slowest part of reading a batch.
        return pendulum.DateTime(*time.gmtime(value)[:6], tzinfo=pendulum.UTC)
    except (ValueError, OverflowError, OSError):
        return None
