"""What both carriers do alike around the two lines of I/O in which they differ."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_respan.api import failures
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.exceptions import RespanConfigurationError, RespanTransientError
from airflow_respan.api.request import Request
from airflow_respan.api.response import MAX_RESPONSE_BYTES, Response

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_RETRY_PAUSE_SECONDS = 1.0


def should_retry(request: Request[Any], error: BaseException) -> bool:
    """Say whether to try once more within the call: what can harmlessly be sent twice, and will not take long."""
    return (
        request.idempotent
        and isinstance(error, RespanTransientError)
        and error.status_code != 429
        and (error.retry_after or 0) <= MAX_RETRY_PAUSE_SECONDS
    )


def retry_pause_seconds(request: Request[Any], error: RespanTransientError) -> float:
    """Give the seconds to wait before one more try within the call.

    :raises RespanTransientError: the error, if that is not worth it
    """
    if not should_retry(request, error):
        raise error
    return random.uniform(MAX_RETRY_PAUSE_SECONDS / 4, MAX_RETRY_PAUSE_SECONDS)  # noqa: S311 (spreads load, keeps no secret)


def authorization(connection: RespanConnection) -> str:
    """Give the value of ``Authorization``; made here, at the last moment, and kept nowhere."""
    return f"Bearer {connection.api_key}"


def make_response(status: int, headers: Mapping[str, str], body: bytes = b"") -> Response:
    """Make an answer of what either library received."""
    return Response(status=status, headers={name.lower(): text for name, text in headers.items()}, body=body)


def append_limited(body: bytearray, piece: bytes, request: Request[Any]) -> None:
    """Add a piece to a body that may not become endless."""
    body += piece
    if len(body) > MAX_RESPONSE_BYTES:
        raise failures.unusable(request, f"sent more than {MAX_RESPONSE_BYTES} bytes, which no answer is")


def ca_bundle(connection: RespanConnection) -> bool | str:
    """Give the CA bundle in force: the connection's, the environment's that requests honours, or certifi's (True).

    :raises RespanConfigurationError: if what is named cannot be used
    """
    if connection.verify is False:
        return False
    from_environment = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    chosen = connection.verify if isinstance(connection.verify, str) else from_environment
    if chosen and connection.base_url.startswith("https:"):
        tls_context(connection, chosen)
    return chosen or True


def tls_context(connection: RespanConnection, path: str) -> ssl.SSLContext:
    """Load a CA bundle or a directory of certificates.

    :raises RespanConfigurationError: if it is not there or is none
    """
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        raise RespanConfigurationError(
            f"Airflow connection {connection.conn_id!r} cannot check certificates by {path!r}, which its extra field "
            f"'verify' or the variable REQUESTS_CA_BUNDLE names: {type(error).__name__}: {error}. "
            "Name a CA bundle or a directory of certificates that is on this machine."
        ) from None


def proxy_for(connection: RespanConnection) -> str | None:
    """Choose the proxy for a connection's host, by requests' own rules; None for none.

    :raises RespanConfigurationError: if what the environment names is none
    """
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    url = connection.base_url
    chosen = select_proxy(url, {**get_environ_proxies(url, no_proxy=None), **connection.proxies})
    if not chosen:
        return None
    try:
        whole: str = prepend_scheme_if_needed(chosen, "http")  # type: ignore[no-untyped-call]  # types-requests has none
    except ValueError:
        raise RespanConfigurationError(
            f"Airflow connection {connection.conn_id!r} has a proxy that is no URL. Correct its extra field 'proxies' "
            "or the variables HTTP_PROXY and HTTPS_PROXY."
        ) from None
    return whole
