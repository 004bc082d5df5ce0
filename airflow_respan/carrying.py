"""What both carriers do alike around the two lines of I/O in which they differ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_respan import failures
from airflow_respan.answers import LARGEST_ANSWER, Answer
from airflow_respan.connection import RespanConnection
from airflow_respan.exceptions import RespanConfigurationError, RespanTransientError
from airflow_respan.request import Request

CONNECT_TIMEOUT = 10.0
LONGEST_PAUSE_IN_CALL = 1.0


def retry_options(request: Request[Any]) -> dict[str, Any]:
    """Say, for both kinds of tenacity's Retrying, when one more try within the call is worth it."""
    from tenacity import retry_if_exception, stop_after_attempt, wait_random

    def harmless_and_short(error: BaseException) -> bool:
        return (
            request.idempotent
            and isinstance(error, RespanTransientError)
            and error.status_code != 429
            and (error.retry_after or 0) <= LONGEST_PAUSE_IN_CALL
        )

    return {
        "retry": retry_if_exception(harmless_and_short),
        "stop": stop_after_attempt(2),
        "wait": wait_random(LONGEST_PAUSE_IN_CALL / 4, LONGEST_PAUSE_IN_CALL),
        "reraise": True,
    }


def bearer(connection: RespanConnection) -> str:
    """Give the value of ``Authorization``; made here, at the last moment, and kept nowhere."""
    return f"Bearer {connection.api_key}"


def head(status: int, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """Make an answer of what either library received."""
    return Answer(status=status, headers={name.lower(): text for name, text in headers.items()}, body=body)


def grow(body: bytearray, piece: bytes, request: Request[Any]) -> None:
    """Add a piece to a body that may not become endless."""
    body += piece
    if len(body) > LARGEST_ANSWER:
        raise failures.unusable(request, f"sent more than {LARGEST_ANSWER} bytes, which no answer is")


def trusted(connection: RespanConnection) -> bool | str:
    """Give the CA bundle in force: the connection's, the environment's that requests honours, or certifi's.

    :raises RespanConfigurationError: if the connection names a file that is not there
    """
    if connection.verify is not True:
        if isinstance(connection.verify, str) and not Path(connection.verify).exists():
            raise RespanConfigurationError(
                f"Airflow connection {connection.conn_id!r} has an extra field 'verify' that names "
                f"{connection.verify!r}, and there is no such CA bundle on this machine."
            )
        return connection.verify
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
