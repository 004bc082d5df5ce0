"""Why a request failed, by its row. What is not certainly a success is a failure. No I/O, no Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_respan.api.counts import read_count
from airflow_respan.api.service_errors import ServiceError, read_body, read_error

_SUCCESSFUL_STATUSES = frozenset({"completed", "complete", "succeeded", "success", "ok"})
_MAX_SHOWN_LENGTH = 500

NO_CODE = "error"
"""The code of an error that has neither a code nor an HTTP status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowError:
    """Why a request failed.

    :param code: the error code of the service, or the HTTP status
    :param message: the message of the service, perhaps empty
    """

    code: str
    message: str

    @property
    def has_own_code(self) -> bool:
        """Whether the code says more than the HTTP status, and is not a sentence."""
        return not self.code.isdigit() and self.code != NO_CODE and not any(map(str.isspace, self.code))


def find_error(error: object, *, status_code: object, body: object) -> RowError | None:
    """Return why a request failed, or None if it succeeded; this is decided nowhere else.

    It succeeded if it has a body, no error, an HTTP status of 2xx or none, and a body whose own status is not another
    than completed.

    :param error: the field ``error`` of the row, of any type
    :param status_code: the HTTP status of the response, of any type, or None
    :param body: the decoded body of the response, of any type
    """
    status = read_count(status_code)
    found = (
        read_error(error)
        or _error_in_body(body)
        or _error_of_status(status_code, status, body)
        or _error_of_missing_body(body)
    )
    return RowError(code=found.code or str(status or NO_CODE), message=found.message) if found else None


def _error_in_body(body: object) -> ServiceError | None:
    if not isinstance(body, Mapping):
        return None
    if error := read_error(body.get("error")) or read_error(body.get("errors")):
        return error
    # The Responses API has a status, which may say that the answer is not whole without any error.
    status = body.get("status")
    if not isinstance(status, str) or status.strip().lower() in _SUCCESSFUL_STATUSES or read_count(status) is not None:
        return None
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    message = _message(body)
    return ServiceError(code=status, message=message or f"The answer is {status}{f' ({reason})' if reason else ''}.")


def _error_of_status(sent: object, status: int | None, body: object) -> ServiceError | None:
    if sent is None or (status is not None and 200 <= status < 300):
        return None
    return ServiceError(code=str(sent if status is None else status), message=_message(body))


def _message(body: object) -> str:
    error = read_body(body)
    return error.message if error else ""


def _error_of_missing_body(body: object) -> ServiceError | None:
    if isinstance(body, Mapping) and body:
        return None
    if not body:
        return ServiceError(code="no_response", message="The row has neither a response nor an error.")
    shown = body if isinstance(body, str) else json.dumps(body)
    return ServiceError(code="no_response", message=f"The response is not a JSON object: {shown:.{_MAX_SHOWN_LENGTH}}")
