"""A request to Respan, complete but not yet sent. No I/O."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import airflow_respan
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.connection_fields import PARAMS_HEADER

T = TypeVar("T")

OWN_HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    # If a compressed body is cut off, the HTTP libraries return what they could read as if it were complete.
    "Accept-Encoding": "identity",
    "User-Agent": f"airflow-respan/{airflow_respan.__version__}",
}
"""The headers of each request that depend on nothing."""


class OtherIdError(ValueError):
    """Raised by ``parse`` of a :class:`Request` if the response is about another batch or file.

    :param received_id: the id in the response
    """

    def __init__(self, received_id: str) -> None:
        super().__init__(received_id)
        self.received_id = received_id


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to send as a multipart body.

    :param file: open in binary mode, and seekable
    :param filename: the name to send with it
    :param fields: the other fields of the form
    """

    file: IO[bytes]
    filename: str
    fields: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Request(Generic[T]):
    """One HTTP request, ready to be sent by a client.

    :param connection: the settings of the Airflow connection
    :param action: the call in words, for error messages: ``retrieve batch_abc123``
    :param method: the HTTP method
    :param url: absolute, with query
    :param parse: returns the result from the decoded JSON of the response; raises ValueError if it is not what was
        requested, and :class:`OtherIdError` if it is about another batch or file
    :param headers: all headers but ``Authorization``, which the client adds
    :param json: the body, or None
    :param upload: the file that is the body, or None
    :param idempotent: whether sending it twice has the same effect as sending it once
    :param min_timeout: seconds that the response may take at least, even if the connection's timeout is shorter
    :param max_timeout: seconds that the response may take at most, even if the connection's timeout is longer
    :param may_be_empty: whether a success without a body, such as a 204, says all; ``parse`` then gets None
    :param is_content: whether it is for the content of a file, which may be in a store of another host
    :param is_signed: whether the URL is a signed one, to which Respan has redirected: it is secret, and is of another
        host, which must not get the key
    """

    connection: RespanConnection
    action: str
    method: str
    url: str = field(repr=False)
    parse: Callable[[Any], T] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: Mapping[str, Any] | None = None
    upload: Upload | None = None
    idempotent: bool = True
    min_timeout: float = 0.0
    max_timeout: float = math.inf
    may_be_empty: bool = False
    is_content: bool = False
    is_signed: bool = False


def make_request(
    connection: RespanConnection,
    action: str,
    method: str,
    path: str,
    parse: Callable[[Any], T],
    *,
    query: Mapping[str, Any] | None = None,
    json_body: Mapping[str, Any] | None = None,
    upload: Upload | None = None,
    respan_params: Mapping[str, Any] | None = None,
    idempotent: bool = True,
    min_timeout: float = 0.0,
    sanitize: Callable[[Any, Callable[[Any], Any]], Any] = lambda data, sanitize: sanitize(data),
) -> Request[T]:
    """Build a request with address, headers and tracking parameters, in the same way for every endpoint.

    :param connection: the settings of the Airflow connection
    :param action: the call in words, for error messages
    :param method: the HTTP method
    :param path: the path below the connection's base URL; ids in it are quoted by :func:`quote_path_segment`
    :param parse: returns the result from the decoded and sanitized JSON of the response
    :param query: the query; values that are None are left out
    :param json_body: the body, or None
    :param upload: the file that is the body, or None
    :param respan_params: tracking parameters, added to those of the connection
    :param idempotent: whether sending it twice has the same effect as sending it once
    :param min_timeout: seconds that the response may take at least, even if the connection's timeout is shorter
    :param sanitize: applies the connection's ``sanitize`` to the decoded JSON of the response
    :raises ValueError: if an argument cannot be sent; the message names it
    """
    headers = {**OWN_HEADERS, **connection.headers}
    if params := {**connection.respan_params, **(respan_params or {})}:
        headers[PARAMS_HEADER] = _encode_params(params, connection.respan_params_encoding)
    query_items = {name: value for name, value in (query or {}).items() if value is not None}
    for name, value in {**query_items, **(upload.fields if upload else {})}.items():
        if not str(value).isprintable():
            raise ValueError(f"{name} is {value!r}, which cannot be sent")
    for name, value in (json_body or {}).items():
        _to_json(name, value)
    return Request(
        connection=connection,
        action=action,
        method=method,
        url=f"{connection.base_url}{path}{'?' if query_items else ''}{urlencode(query_items)}",
        parse=lambda data: parse(sanitize(data, connection.sanitize)),
        headers=headers,
        json=json_body,
        upload=upload,
        idempotent=idempotent,
        min_timeout=min_timeout,
    )


def _encode_params(params: Mapping[str, Any], encoding: str) -> str:
    text = _to_json("respan_params", params)  # ASCII only and without line breaks, so it fits into a header
    return base64.b64encode(text.encode()).decode() if encoding == "base64" else text


def _to_json(name: str, value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be sent as JSON: {error}") from error


def quote_path_segment(name: str, value: str) -> str:
    """Return an id quoted as one segment of a path.

    :param name: the argument's name, for the error message
    :param value: the id
    :raises ValueError: if it is empty, not a text, or ``.`` or ``..``, which HTTP clients would resolve
    """
    try:
        if isinstance(value, str) and value.strip() and value not in (".", ".."):
            return quote(value, safe="")
    except UnicodeEncodeError:  # a lone surrogate
        pass
    raise ValueError(f"{name} is {value!r}, which is not a valid id")
