"""The one event of a wait: how the trigger says what ended it, and how the sensor reads that. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanBatchTimeout,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
)

_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error
    for error in (
        RespanAPIError,
        RespanAuthenticationError,
        RespanBatchTimeout,
        RespanConfigurationError,
        RespanError,
        RespanMissingConnectionError,
        RespanNotFoundError,
    )
}


def make_event(end: Batch | Exception) -> dict[str, Any]:
    """Write what ended a wait as plain JSON.

    :param end: the terminal batch, or the error that the sensor is to raise
    """
    if isinstance(end, Batch):
        return {"batch": end.to_dict()}
    status_code = end.status_code if isinstance(end, RespanAPIError) else None
    return {"error": type(end).__name__, "message": sanitize_json(str(end)), "status_code": status_code}


def read_event(event: object) -> Batch | Exception | None:
    """Read an event, which may come from another release of this package, or be none at all.

    :return: the terminal batch, the error to raise, or None for everything that cannot be trusted
    """
    if not isinstance(event, Mapping):
        return None
    if "batch" in event:
        try:
            batch = Batch.from_dict(event["batch"])
        except ValueError:
            return None
        return batch if batch.is_terminal else None
    error, message = _ERRORS.get(str(event.get("error"))), event.get("message")
    if error is None or not isinstance(message, str):
        return None
    if issubclass(error, RespanAPIError):
        status_code = event.get("status_code")
        return error(message, status_code=status_code if isinstance(status_code, int) else None)
    return error(message)
