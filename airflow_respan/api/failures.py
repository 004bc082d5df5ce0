"""Each way in which a call can fail, made into an error that says who, what, and what to do next. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanNotFoundError,
    RespanTransientError,
)
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.request import Request

_PROVIDER_ADVICE = (
    "It may be about the provider's own key: see Settings -> Providers in the Respan dashboard "
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
_MAX_BODY_BYTES_SHOWN = 2**16
_MAX_SHOWN_LENGTH = 700


def refused(request: Request[Any], status: int, body: bytes) -> RespanAPIError:
    """Make the error for an answer that would come again."""
    text = f"answered {status_text(status)}: {service_message(body)}"
    advice = _ADVICE.get(status, "Check what was sent")
    return _ERRORS.get(status, RespanAPIError)(_message(request, text, advice), status_code=status)


def redirect_refused(request: Request[Any], status: int, target: str) -> RespanAPIError:
    """Make the error for a redirect that is not followed, lest the key go astray."""
    text = (
        f"answered the {request.method} by {status_text(status)}, a redirect to {target}, which is not followed, "
        "lest the API key go astray"
    )
    return RespanAPIError(_message(request, text, _HOST_ADVICE), status_code=status)


def too_many_redirects(request: Request[Any]) -> RespanAPIError:
    """Make the error for redirects that do not end."""
    return RespanAPIError(_message(request, "redirected too often", _HOST_ADVICE))


def unusable(
    request: Request[Any],
    reason: str,
    *,
    status_code: int | None = None,
    retry_after: float | None = None,
) -> RespanTransientError:
    """Make the error for a call that brought nothing usable this time, from whichever side that came."""
    advice = "This may pass"
    if not request.idempotent:
        # Money: the service may have made the batch before the connection broke.
        advice = "The service may have done it all the same: look there before you send it again"
    elif retry_after is not None:
        advice = f"It asks to be left alone for {retry_after:.0f} seconds"
    return RespanTransientError(_message(request, reason, advice), status_code=status_code, retry_after=retry_after)


def no_response(request: Request[Any], error: Exception) -> RespanTransientError:
    """Make the error for a call that was cut off, was refused, or took too long."""
    hint = ""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        hint = "; if its certificate comes from a CA of yours, put the CA's path into the extra field 'verify'"
    cause = f"{type(error).__name__}: {_root_cause(error)}".removesuffix(": ")
    return unusable(request, f"gave no answer ({cause}{hint})")


def cannot_send(request: Request[Any], error: Exception) -> RespanConfigurationError:
    """Make the error for a call that the connection's settings do not allow to be sent at all."""
    connection = request.connection
    return RespanConfigurationError(
        f"Airflow connection {connection.conn_id!r} cannot be used to {request.action}: "
        f"{redact_for_display(connection, str(error))}. Check its host and proxies."
    )


def service_message(body: bytes) -> str:
    """Find the service's own words in any of its error shapes."""
    decoded = sanitize_json(decode_json(body))
    if not isinstance(decoded, Mapping):
        return not_json(body)
    error = decoded.get("error")
    message = error.get("message") if isinstance(error, Mapping) else error
    words = [str(text) for text in (message or decoded.get("detail") or decoded.get("message"),) if text]
    if isinstance(fields := decoded.get("errors"), Mapping):
        words += [f"{name}: {text}" for name, text in fields.items()]
    return " ".join("; ".join(words or [json.dumps(decoded)]).split()).rstrip(".")


def decode_json(body: bytes) -> Any:
    """Decode JSON; None if it is none, which ``null`` is not told apart from."""
    try:
        # A body that is not quite UTF-8 may still be a batch.
        return json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None


def not_json(body: bytes) -> str:
    """Show a body that is not JSON, an HTML page of a proxy perhaps."""
    text = " ".join(body[:_MAX_BODY_BYTES_SHOWN].decode("utf-8", "replace").split())
    return f"not JSON but {text!r}" if text else "an empty body"


def status_text(status: int) -> str:
    """Write a status with its name: ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _root_cause(error: BaseException) -> str:
    """Find what lies at the bottom: the HTTP libraries wrap a refused connection three times over."""
    text = str(error)
    deeper = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return (_root_cause(deeper) if deeper else "") or text


def _message(request: Request[Any], what_happened: str, advice: str) -> str:
    """Say who, what and what to do next, without the secrets that the service or a library may have echoed."""
    connection = request.connection
    who = f"Asked to {request.action}, Respan ({connection.base_url}, connection {connection.conn_id!r})"
    return f"{who} {redact_for_display(connection, what_happened)}. {advice}."


def redact_for_display(connection: RespanConnection, text: str) -> str:
    """Make foreign words fit for a log line, a trigger's event and every database, without the secrets in them."""
    text = connection.redact(text)
    # Shortened after that: half a secret is not recognised any more.
    text = " ".join((text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]} ...").split())
    return "".join(char if char.isprintable() else "?" for char in text)
