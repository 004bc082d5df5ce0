"""The event that a trigger sends when a wait has ended: how the trigger writes it, and how the task reads it.

Airflow saves the event in its database, so another release may read it. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanWrongIdError,
)
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.waiting.policy import TimedOut

MAX_MESSAGE_LENGTH = 5000
"""Characters of a message that an event keeps; the text of an unexpected error has no limit of its own."""

_TIMED_OUT = "RespanBatchTimeout"
_API_ERRORS = {error.__name__: error for error in (RespanAPIError, RespanAuthenticationError, RespanNotFoundError)}
_ERRORS = {
    error.__name__: error
    for error in (RespanConfigurationError, RespanError, RespanMissingConnectionError, RespanWrongIdError)
}


def make_event(end: Batch | TimedOut | RespanError) -> dict[str, Any]:
    """Return the end of a wait as plain JSON.

    :param end: the terminal batch, the timeout, or the error that the task will raise
    """
    if isinstance(end, Batch):
        return {"batch": end.to_dict()}
    if isinstance(end, TimedOut):
        return {"error": _TIMED_OUT, "message": _message(end.message), "status_code": None}
    status_code = end.status_code if isinstance(end, RespanAPIError) else None
    return {"error": type(end).__name__, "message": _message(str(end)), "status_code": status_code}


def _message(text: str) -> str:
    message: str = sanitize_json(text if len(text) <= MAX_MESSAGE_LENGTH else f"{text[:MAX_MESSAGE_LENGTH]} ...")
    return message


def read_event(event: object) -> Batch | TimedOut | RespanError | None:
    """Parse an event, which another release of this package may have written.

    :param event: anything; Airflow sometimes resumes a task without the trigger's event
    :return: the terminal batch, the timeout, the error to raise, or None if the event is none of these
    """
    if not isinstance(event, Mapping):
        return None
    if "batch" in event:
        return _terminal_batch(event["batch"])
    name, message, status_code = str(event.get("error")), event.get("message"), event.get("status_code")
    if not isinstance(message, str):
        return None
    if name == _TIMED_OUT:
        return TimedOut(message)
    if name in _API_ERRORS:
        return _API_ERRORS[name](message, status_code=status_code if isinstance(status_code, int) else None)
    return _ERRORS[name](message) if name in _ERRORS else None


def _terminal_batch(data: object) -> Batch | None:
    try:
        batch = Batch.from_dict(data)
    except ValueError:
        return None
    return batch if batch.is_terminal else None
