"""A batch as Respan describes it: read, checked, and written as JSON. No I/O.

The meaning of each status is in ``statuses.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pendulum

from airflow_respan.api.foreign_text import one_line
from airflow_respan.api.ids import check_id, is_id
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.request_counts import RequestCounts
from airflow_respan.api.service_errors import ServiceError, read_errors
from airflow_respan.api.size_limit import LEFT_OUT, MAX_FIELD_SIZE, limit_size
from airflow_respan.api.statuses import BatchStatus, canonical_status, status_of
from airflow_respan.api.timestamps import MAX_UNIX_SECONDS, read_timestamp

MAX_STATUS_LENGTH = 200
"""Maximum characters of a status. It is part of each log line."""

MAX_ERROR_LENGTH = 500
"""Maximum characters of a line of :meth:`Batch.error_lines`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch as Respan describes it; ``docs/respan-api.md`` has an example of the JSON.

    Timestamps are in UTC, in whole seconds; those that cannot be read are None. Ids that Respan leaves out or sends as
    ``""`` are None.

    :param id: ``batch_...``
    :param status: the status, in the spelling of ``statuses.py`` if it is there; see :attr:`meaning`
    :param unknown_fields: all other keys of the response, kept for :meth:`to_dict`
    :param as_received: fields as Respan sent them, if the attribute has only a part of that; for :meth:`to_dict`
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
    as_received: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: object) -> Batch:
        """Return a batch from an API response, from an item of a list, or from the event of a trigger.

        Only ``id`` and ``status`` are required. The attribute of every other field that is malformed becomes None,
        because a wrong timestamp must not make a finished batch unreadable.

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
        check_id("id", data.get("id"))
        if not isinstance(data.get("status"), str) or not data["status"].strip():
            raise ValueError(f"'status' is {data.get('status')!r}, not a text")
        read: dict[str, Any] = {name: reader(data.get(name)) for name, reader in _READERS.items()}
        return cls(
            id=data["id"],
            status=canonical_status(one_line(data["status"], max_length=MAX_STATUS_LENGTH)),
            errors=data.get("errors"),
            unknown_fields={key: value for key, value in data.items() if key not in _FIELD_NAMES},
            as_received={name: data[name] for name in _KEPT_AS_RECEIVED if not _says_all(read[name], data.get(name))},
            **read,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the batch as JSON for XCom and for a trigger's event.

        It is the batch as Respan describes it, unknown keys and other spellings of times included. Only the status and
        the ids are as in the attributes, and readable numbers in ``request_counts`` are integers.
        """
        known: dict[str, Any] = {name: _written(getattr(self, name)) for name in _FIELD_NAMES}
        for name, received in self.as_received.items():
            # Who replaces an attribute means the new value.
            if _READERS[name](received) == getattr(self, name):
                counts = known[name] if name == "request_counts" else None
                known[name] = {**received, **counts} if counts else received
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
        known = {name: getattr(self, name) for name in _TIMESTAMP_FIELDS}
        names = (f"{spelling}_at" for spelling in self.meaning.spellings)
        times = (known.get(name) or read_timestamp(self.unknown_fields.get(name)) for name in names)
        return next(filter(None, times), None)

    def error_lines(self) -> Iterator[str]:
        """Yield the batch's ``errors`` or ``error``, in whichever form Respan sends them, each as one short line.

        If there are very many, only the first are kept: see :attr:`error_count`.
        """
        for error in self.service_errors():
            yield one_line(str(error), max_length=MAX_ERROR_LENGTH)

    def service_errors(self) -> list[ServiceError]:
        """Return the batch's ``errors`` or ``error``, in whichever form Respan sends them."""
        return read_errors(error for error in self._kept_errors() if not _is_marker(error))

    @property
    def error_count(self) -> int:
        """How many errors Respan sent, with those that were left out because there are very many."""
        markers = filter(_is_marker, self._kept_errors())
        left_out = sum(count for marker in markers if isinstance(count := marker[LEFT_OUT], int))
        return sum(1 for _line in self.error_lines()) + left_out

    def _kept_errors(self) -> list[Any]:
        errors = self.errors or self.unknown_fields.get("error")
        if isinstance(errors, Mapping) and "data" in errors:
            errors = errors["data"]
        return errors if isinstance(errors, list) else [errors]


def _is_marker(error: object) -> bool:
    return isinstance(error, Mapping) and error.keys() == {LEFT_OUT}


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
        if isinstance(value, list | dict) or name in _CUT_TEXTS:
            known[name] = limit_size(value, sanitize)
    return sanitize({**known, **limit_size(unknown, sanitize)} if unknown else known)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_FIELD_SIZE else None


def _file_id(value: object) -> str | None:
    return value if is_id(value) else None


def _metadata(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _says_all(read: Any, received: Any) -> bool:
    """Return whether an attribute, written as JSON, is what was received."""
    if received is None or received is read:
        return True
    if isinstance(received, int) and isinstance(read, pendulum.DateTime):
        return received <= MAX_UNIX_SECONDS  # the same, and much faster than to write the time
    written: bool = received == _written(read)
    return written


def _written(value: Any) -> Any:
    """Return an attribute as JSON."""
    if isinstance(value, pendulum.DateTime):
        return value.int_timestamp
    if isinstance(value, RequestCounts):
        return value.to_dict()
    return dict(value) if isinstance(value, Mapping) else value


_TIMESTAMP_FIELDS = tuple(f.name for f in fields(Batch) if f.name.endswith("_at"))
_KEPT_AS_RECEIVED = ("endpoint", "completion_window", *_TIMESTAMP_FIELDS, "request_counts", "metadata")
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "endpoint": _text,
    "completion_window": _text,
    **dict.fromkeys(("input_file_id", "output_file_id", "error_file_id"), _file_id),
    **dict.fromkeys(_TIMESTAMP_FIELDS, read_timestamp),
    "request_counts": RequestCounts.from_dict,
    "metadata": _metadata,
}
_NO_KEYS = ("unknown_fields", "as_received")
_FIELD_NAMES = dict.fromkeys(f.name for f in fields(Batch) if f.name not in _NO_KEYS)  # ordered, with fast look-ups
_CUT_TEXTS = frozenset(("errors", *_KEPT_AS_RECEIVED))
"""The other texts are ids and the status, which must not be cut. They have limits of their own."""
