"""What both clients have in common besides sending: retries, headers, size limits, certificates, proxies."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_respan.api import failures
from airflow_respan.api.address import origin
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.exceptions import RespanConfigurationError, RespanTransientError
from airflow_respan.api.foreign_text import describe_cause
from airflow_respan.api.request import Request
from airflow_respan.api.response import MAX_RESPONSE_BYTES, Response

CONNECT_TIMEOUT_SECONDS = 10.0
_CA_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
MAX_RETRY_PAUSE_SECONDS = 1.0


def should_retry(request: Request[Any], error: BaseException) -> bool:
    """Return whether to retry once within the call: sending twice does no harm, and the pause is short."""
    return (
        request.idempotent
        and isinstance(error, RespanTransientError)
        and error.status_code != 429
        and (error.retry_after or 0) <= MAX_RETRY_PAUSE_SECONDS
    )


def retry_pause_seconds(request: Request[Any], error: RespanTransientError) -> float:
    """Return the seconds to wait before the retry within the call.

    :raises RespanTransientError: the error itself, if there is to be no retry
    """
    if not should_retry(request, error):
        raise error
    return random.uniform(MAX_RETRY_PAUSE_SECONDS / 4, MAX_RETRY_PAUSE_SECONDS)  # noqa: S311 (spreads load, keeps no secret)


def headers_of(request: Request[Any]) -> dict[str, str]:
    """Return the headers to send: those of the request and the key, which a signed URL does not get.

    They are built when the request is sent, and never stored.
    """
    key = {} if request.is_signed else {"Authorization": f"Bearer {request.connection.api_key}"}
    return {**request.headers, **key}


def make_response(status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Response:
    """Return a response from what either HTTP library received.

    :param headers: names and values; a header that came twice stands here twice, and counts once if it is the same
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        known = values.setdefault(name.lower(), [])
        if value not in known:
            known.append(value)
    return Response(status=status, headers={name: ", ".join(known) for name, known in values.items()}, body=body)


def append_limited(body: bytearray, chunk: bytes, request: Request[Any]) -> None:
    """Append a chunk to a body.

    :raises RespanTransientError: if the body becomes longer than :data:`MAX_RESPONSE_BYTES`
    """
    body += chunk
    if len(body) > MAX_RESPONSE_BYTES:
        raise failures.transient_error(request, f"Respan sent more than the maximum of {MAX_RESPONSE_BYTES} bytes")


def ca_bundle(connection: RespanConnection, *, url: str = "") -> bool | str:
    """Return which certificates to trust, by the rules of requests, and by ``SSL_CERT_FILE``, which most others read.

    :param url: where a request goes that does not go to the connection's host
    :return: the path of the CA bundle that the connection or the environment names, True for the bundle of certifi,
        or False for no check
    :raises RespanConfigurationError: if the CA bundle cannot be used
    """
    if connection.verify is False:
        return False
    from_environment = filter(None, map(os.environ.get, _CA_BUNDLE_VARIABLES))
    path = connection.verify if isinstance(connection.verify, str) else next(from_environment, None)
    if path and (url or connection.base_url).startswith("https:"):
        tls_context(connection, path)
    return path or True


def tls_context(connection: RespanConnection, path: str) -> ssl.SSLContext:
    """Return a TLS context that trusts a CA bundle or a directory of certificates.

    :raises RespanConfigurationError: if the path does not exist or holds no certificates
    """
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        raise RespanConfigurationError(
            f"Airflow connection {connection.conn_id!r} cannot check certificates with {path!r}, which its extra field "
            f"'verify' or one of the variables {', '.join(_CA_BUNDLE_VARIABLES)} names: {describe_cause(error)}. Name "
            "a CA bundle or a directory of certificates that is on this machine."
        ) from None


def proxy_for(connection: RespanConnection, *, url: str = "") -> str | None:
    """Return the URL of the proxy for a connection's host, by the rules of requests, or None.

    Both clients call this before they send anything, so that a proxy works on workers and triggerers, or on neither.

    :param url: where a request goes that does not go to the connection's host
    :raises RespanConfigurationError: if the environment names something that is not a URL, or if it is not an HTTP
        proxy: requests would need PySocks for a SOCKS proxy, aiohttp another package, and our time limits do not work
        through either
    """
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    host, url = origin(url) if url else "its host", url or connection.base_url
    proxy = select_proxy(url, {**get_environ_proxies(url, no_proxy=None), **connection.proxies})
    if not proxy:
        return None
    try:
        proxy_url: str = prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]  # types-requests has none
    except ValueError:
        raise RespanConfigurationError(
            f"Airflow connection {connection.conn_id!r} has a proxy that is not a URL. Correct its extra field "
            "'proxies' or the variables HTTP_PROXY and HTTPS_PROXY."
        ) from None
    scheme = urlsplit(proxy_url).scheme.lower()
    if scheme not in ("http", "https"):
        raise RespanConfigurationError(
            f"Airflow connection {connection.conn_id!r} would use a {scheme} proxy, but only HTTP proxies are "
            f"supported. Name an HTTP proxy in its extra field 'proxies', or add {host} to the variable NO_PROXY."
        )
    return proxy_url
