"""Which failed requests may succeed if they are asked again. No I/O, no Airflow."""

from __future__ import annotations

import re

from airflow_respan.api.response import TRANSIENT_STATUSES
from airflow_respan.results.row import Row

TEMPORARY_CODES = frozenset(
    {
        "api_connection_error",
        "api_error",
        "batch_cancelled",
        "batch_canceled",
        "batch_expired",
        "bad_gateway",
        "cancelled",
        "canceled",
        "connection_error",
        "deadline_exceeded",
        "engine_overloaded",
        "expired",
        "gateway_timeout",
        "internal_error",
        "internal_server_error",
        "no_response",
        "overloaded",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "request_cancelled",
        "request_expired",
        "request_timeout",
        "resource_exhausted",
        "server_error",
        "service_unavailable",
        "temporarily_unavailable",
        "timeout",
        "timeout_error",
        "too_many_requests",
        "unavailable",
    }
)
"""Codes of temporary errors, in lower case with ``_`` between words. ``RateLimitExceeded`` counts as the same code."""

PERMANENT_CODES = frozenset(
    {
        "billing_hard_limit_reached",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_request_error",
        "model_not_found",
    }
)
"""Codes of permanent errors, which some services send with a status such as 429 or 500."""


def is_temporary(row: Row) -> bool:
    """Return whether a failed request may succeed if it is asked again; False for an error that is not known.

    :param row: the row of the request, which has failed
    """
    return row.error is not None and is_temporary_code(row.error.code, status_code=row.status_code)


def is_temporary_code(code: str | None, *, status_code: int | None = None) -> bool:
    """Return whether an error is temporary.

    :param code: its code, or its HTTP status as a text, or None
    :param status_code: the HTTP status that came with it, or None
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s_-]+", "_", (code or "").strip()).lower()
    if name in PERMANENT_CODES:
        return False
    if name in TEMPORARY_CODES:
        return True
    status = int(name) if name.isascii() and name.isdigit() and len(name) == 3 else status_code
    return status is not None and (status in TRANSIENT_STATUSES or 500 <= status < 600)
