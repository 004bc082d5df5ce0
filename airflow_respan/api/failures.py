"""An error for each way in which a call can fail. No I/O.

Each message names the call, the connection, the cause, and what to do next, and contains no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from airflow_respan.api.address import origin
from airflow_respan.api.connection import DEFAULT_BASE_URL, RespanConnection
from airflow_respan.api.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanNotFoundError,
    RespanTransientError,
    RespanWrongIdError,
)
from airflow_respan.api.foreign_text import as_clause, one_line
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.request import Request
from airflow_respan.api.service_errors import read_body, read_error

_PROVIDER_ADVICE = (
    "The cause may be the provider's own key: see Settings -> Providers in the Respan dashboard "
    "(Respan credits do not pay for batches)"
)
_ADVICE = {
    400: f"Check what was sent. {_PROVIDER_ADVICE}",
    401: f"Check the API key in the connection's password. {_PROVIDER_ADVICE}",
    403: f"Check what the API key in the connection's password may do. {_PROVIDER_ADVICE}",
    404: "Check the id, and that it belongs to the organisation of the API key",
    424: _PROVIDER_ADVICE,
}
_ERRORS = {401: RespanAuthenticationError, 403: RespanAuthenticationError, 404: RespanNotFoundError}
_HOST_ADVICE = "Write the right address into the connection's host"
_PROXY_ADVICE = "Check the connection's proxies"
_MAYBE_DONE = "Respan may have carried out the request: check before you send it again"
_STORE_ADVICE = "The store does not have the content, or not yet"
_STORE_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")
_MAX_BODY_BYTES_SHOWN = 2**16
_MAX_SHOWN_LENGTH = 700
_MAX_SHOWN_ID_LENGTH = 300
_MIN_SECRET_LENGTH = 6


def permanent_error(request: Request[Any], status: int, body: bytes) -> RespanAPIError:
    """Return the error for a request that was refused, and would be refused again."""
    cause = describe_answer(request, status, body)
    advice = _STORE_ADVICE if request.is_signed else _ADVICE.get(status, "Check what was sent")
    return _ERRORS.get(status, RespanAPIError)(_message(request, cause, advice), status_code=status)


class Refusal(Enum):
    """Why a redirect is not followed: the end of a sentence."""

    KEY = "to protect the API key"
    METHOD = "because its status does not say that nothing was done"
    PLAIN_HTTP = "because it is not https"


def redirect_refused(request: Request[Any], status: int, *, target: str | None, reason: Refusal) -> RespanAPIError:
    """Return the error for a redirect that is not followed.

    :param status: the HTTP status of the redirect
    :param target: what may be shown of the address; None if it is not valid
    :param reason: why the redirect is not followed
    """
    shown = redact_for_display(request.connection, target or "an invalid address")
    cause = f"{status_text(status)}: a redirect to {shown}, which is not followed, {reason.value}"
    advice = _HOST_ADVICE
    if reason is Refusal.METHOD:
        advice = f"Let the service, or the proxy before it, redirect by 308. {_HOST_ADVICE} if it is wrong"
    elif reason is Refusal.PLAIN_HTTP:
        advice = "Let the service redirect to https"
    elif target:
        advice = f"If {shown} is the right address, write it into the connection's host"
    if reason is Refusal.METHOD and not request.idempotent:
        advice = f"{_MAYBE_DONE}. {advice}"
    return RespanAPIError(_message(request, cause, advice), status_code=status)


def too_many_redirects(request: Request[Any]) -> RespanAPIError:
    """Return the error for a chain of redirects that is too long."""
    return RespanAPIError(_message(request, "Too many redirects", _HOST_ADVICE))


def transient_error(
    request: Request[Any],
    cause: str,
    *,
    status_code: int | None = None,
    retry_after: float | None = None,
    hint: str = "",
) -> RespanTransientError:
    """Return the error for a call without a usable response, which may succeed later.

    :param cause: what happened, as the beginning of the message
    :param status_code: the HTTP status, or None if there was no response
    :param retry_after: seconds to wait before the next request, or None if the response does not say
    :param hint: another sentence of advice, without its full stop, or an empty text
    """
    advice = "This may be temporary"
    if status_code == HTTPStatus.TOO_MANY_REQUESTS and request.method != "GET":
        # A service counts a request before it carries it out.
        pause = "later" if retry_after is None else f"after {retry_after:.0f} seconds"
        advice = f"Respan did not carry out the request: send it again {pause}"
    elif not request.idempotent:
        # A second batch costs money, and Respan may have created the first one before the connection broke.
        advice = _MAYBE_DONE
    elif retry_after is not None:
        advice = f"Retry after {retry_after:.0f} seconds"
    advice = f"{hint}. {advice}" if hint else advice
    return RespanTransientError(_message(request, cause, advice), status_code=status_code, retry_after=retry_after)


def unexpected_body(request: Request[Any], status: int, reason: str) -> RespanTransientError:
    """Return the error for a success whose body is not what was requested."""
    return transient_error(request, _unexpected(status, reason))


def wrong_id(request: Request[Any], status: int, received_id: str) -> RespanWrongIdError:
    """Return the error for a response about another batch or file than the requested one."""
    shown = one_line(repr(received_id), max_length=_MAX_SHOWN_ID_LENGTH)
    cause = _unexpected(status, f"'id' is {shown}, which is not the requested id")
    advice = "This may be temporary. If it is not, check the id, and the connection's host and proxies"
    return RespanWrongIdError(_message(request, cause, advice))


def no_response(request: Request[Any], error: Exception) -> RespanTransientError:
    """Return the error for a connection that was refused or cut off, or that took too long."""
    is_untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
    hint = "If its certificate comes from a CA of yours, put the CA's path into the extra field 'verify'"
    cause = f"No complete response: {type(error).__name__}: {_root_cause(error)}".removesuffix(": ")
    failure = transient_error(request, cause, hint=hint if is_untrusted else "")
    failure.is_untrusted = is_untrusted
    return failure


def cannot_send(request: Request[Any], error: Exception) -> RespanError:
    """Return the error for a request that cannot be sent: with the settings of the connection, or to a store."""
    if request.is_signed:
        return RespanAPIError(_message(request, f"Cannot be asked ({type(error).__name__})", _PROXY_ADVICE))
    cause = f"The request cannot be sent: {error}"
    return RespanConfigurationError(_message(request, cause, "Check the connection's host and proxies"))


def call_text(request: Request[Any]) -> str:
    """Return which call a message is about: ``(retrieve batch_abc123, connection respan_default)``.

    The address is named if it is not Respan's own, because then it may be the cause.
    """
    connection = request.connection
    address = "" if connection.base_url == DEFAULT_BASE_URL else f" at {connection.base_url}"
    return f"({request.action}, connection {connection.conn_id}{address})"


def describe_answer(request: Request[Any], status: int, body: bytes) -> str:
    """Return the status of a response and the error text of its body.

    Of a store's body only the code is shown, because stores repeat parts of the signed URL.
    """
    if not request.is_signed:
        return f"{status_text(status)}: {service_message(body)}"
    code = _STORE_CODE.search(body[:_MAX_BODY_BYTES_SHOWN])
    return f"{status_text(status)}{f' ({code[1].decode()})' if code else ''}"


def service_message(body: bytes) -> str:
    """Return the error text of a response body, in whichever form the service sends it."""
    decoded = sanitize_json(decode_json(body))
    if not isinstance(decoded, Mapping):
        return not_json(body)
    # Some services send a message, and beside it the fields that are wrong.
    others = {name: value for name, value in decoded.items() if name != "errors"}
    errors = filter(None, (read_body(others), read_error(decoded.get("errors"))))
    parts = [error.message for error in errors if error.message] or [json.dumps(decoded)]
    return as_clause(" ".join("; ".join(parts).split()))


def decode_json(body: bytes) -> Any:
    """Return the decoded JSON of a body, or None if the body is not JSON or is ``null``."""
    try:
        # A body with a few bytes that are not UTF-8 may still be a usable batch.
        return json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None


def not_json(body: bytes) -> str:
    """Return a description of a body that is not JSON, such as the HTML page of a proxy."""
    text = " ".join(body[:_MAX_BODY_BYTES_SHOWN].decode("utf-8", "replace").split())
    return f"not JSON but {text!r}" if text else "an empty body"


def status_text(status: int) -> str:
    """Return an HTTP status with its name: ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _root_cause(error: BaseException) -> str:
    """Return the text of the first error in a chain: the HTTP libraries wrap a refused connection three times."""
    text = str(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return (_root_cause(cause) if cause else "") or text


def _unexpected(status: int, reason: str) -> str:
    return f"{status_text(status)} with an unexpected body: {reason}"


def _message(request: Request[Any], cause: str, advice: str) -> str:
    """Return a message without the secrets that the service or a library may have repeated.

    The cause comes first, because Airflow shows only the beginning of a message in its lists.
    """
    if request.is_signed:
        cause = f"{_without_url(request, cause)} at {origin(request.url)}, to which Respan redirected"
    return f"{as_clause(redact_for_display(request.connection, cause))} {call_text(request)}. {advice}."


def _without_url(request: Request[Any], text: str) -> str:
    """Return a text without the signed URL and its parts, which the HTTP libraries write into some errors."""
    parts = urlsplit(request.url)
    values = [value for _name, value in parse_qsl(parts.query)]
    for secret in (f"{parts.path}?{parts.query}", parts.path, parts.query, *values, *map(quote, values)):
        if len(secret) >= _MIN_SECRET_LENGTH:
            text = text.replace(secret, "***")
    return text


def redact_for_display(connection: RespanConnection, text: str) -> str:
    """Return a text from outside without secrets, short and printable.

    So it can stand in a log line, in a trigger's event, and in every database.
    """
    # The text is shortened only after the redaction: half a secret would not be recognised.
    return one_line(connection.redact(text), max_length=_MAX_SHOWN_LENGTH)
