"""One call to Respan, complete but not yet sent. No I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import airflow_respan
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.connection_fields import PARAMS_HEADER

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to send as a multipart body.

    :param file: open for reading bytes, able to seek
    :param filename: the name to send with it
    :param fields: what else the form holds
    """

    file: IO[bytes]
    filename: str
    fields: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Request(Generic[T]):
    """One call, ready to be carried.

    :param connection: whom to ask, and as whom
    :param action: the call in words, for error messages: ``retrieve batch 'batch_abc123'``
    :param method: the HTTP method
    :param url: absolute, with query
    :param read: makes the result of the decoded answer, as it came; raises ValueError if the answer is none
    :param headers: all of them but ``Authorization``, which the carrier adds
    :param json: the body, or None
    :param upload: the file that is the body, or None
    :param idempotent: whether sending it twice is the same as sending it once
    :param min_timeout: seconds that the response may take at least, even if the connection's timeout is shorter
    """

    connection: RespanConnection
    action: str
    method: str
    url: str
    read: Callable[[Any], T] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: Mapping[str, Any] | None = None
    upload: Upload | None = None
    idempotent: bool = True
    min_timeout: float = 0.0


def make_request(
    connection: RespanConnection,
    action: str,
    method: str,
    path: str,
    read: Callable[[Any], T],
    *,
    query: Mapping[str, Any] | None = None,
    json_body: Mapping[str, Any] | None = None,
    upload: Upload | None = None,
    respan_params: Mapping[str, Any] | None = None,
    idempotent: bool = True,
    min_timeout: float = 0.0,
) -> Request[T]:
    """Make a request: address, headers and tracking parameters, the same for every endpoint.

    :param path: below the connection's base URL, ids already quoted by :func:`quote_path_segment`
    :param read: makes the result of the decoded answer, of which nothing is left that must not be kept
    :param query: what is None is left out
    :param respan_params: on top of the connection's
    :raises ValueError: if something of it cannot be sent; names it
    """
    headers = {
        "Accept": "application/json",
        # Of a compressed body that is cut off, the HTTP libraries take what they can read for the whole.
        "Accept-Encoding": "identity",
        "User-Agent": f"airflow-provider-respan/{airflow_respan.__version__}",
        **connection.headers,
    }
    if params := {**connection.respan_params, **(respan_params or {})}:
        headers[PARAMS_HEADER] = _encode_params(params, connection.respan_params_encoding)
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    for name, value in {**asked, **(upload.fields if upload else {})}.items():
        if not str(value).isprintable():
            raise ValueError(f"{name} is {value!r}, which cannot be sent")
    for name, value in (json_body or {}).items():
        _as_json(name, value)
    return Request(
        connection=connection,
        action=action,
        method=method,
        url=f"{connection.base_url}{path}{'?' if asked else ''}{urlencode(asked)}",
        read=lambda data: read(connection.sanitize(data)),
        headers=headers,
        json=json_body,
        upload=upload,
        idempotent=idempotent,
        min_timeout=min_timeout,
    )


def _encode_params(params: Mapping[str, Any], encoding: str) -> str:
    text = _as_json("respan_params", params)  # ASCII only, hence no line break either
    return base64.b64encode(text.encode()).decode() if encoding == "base64" else text


def _as_json(name: str, value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be sent as JSON: {error}") from error


def quote_path_segment(name: str, value: str) -> str:
    """Quote an id into one segment of a path; HTTP clients would resolve dots, so those are no ids."""
    try:
        if isinstance(value, str) and value.strip() and value not in (".", ".."):
            return quote(value, safe="")
    except UnicodeEncodeError:  # a lone surrogate
        pass
    raise ValueError(f"{name} is {value!r}, which is no id of the service's")
