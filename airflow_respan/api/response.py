"""What a response of the Respan API means: a result or an error. ``redirects.py`` reads redirects. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import pendulum

from airflow_respan.api import failures
from airflow_respan.api.exceptions import RespanError
from airflow_respan.api.request import OtherIdError, Request

T = TypeVar("T")

MAX_RESPONSE_BYTES = 16 * 2**20
"""Maximum size of a response that is not a file's content; a page of 100 batches is far smaller."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Maximum pause. If a response asks for more, this is used, so that one wrong value cannot stop a wait."""

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""The transient HTTP statuses below 500; every status from 500 on is transient, and no other is."""

_MIN_UNIX_SECONDS = 1e9
"""A larger number of seconds is a time, not a pause: it would be a pause of 30 years."""

_MAX_UNIX_SECONDS = 1e11


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP response.

    :param status: the HTTP status
    :param headers: the headers, names in lower case
    :param body: the complete body, at most :data:`MAX_RESPONSE_BYTES` long
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


def parse_response(request: Request[T], response: Response) -> T:
    """Return the result of a request from its response.

    :raises RespanAuthenticationError: for 401 and 403
    :raises RespanNotFoundError: for 404
    :raises RespanAPIError: for every other error that a retry would get again
    :raises RespanWrongIdError: for a success with another id than the requested one
    :raises RespanTransientError: for a transient error, and for a success whose body is not what was requested
    """
    if not 200 <= response.status < 300:
        raise make_error(request, response)
    data = failures.decode_json(response.body)
    if data is None and not (request.may_be_empty and not response.body.strip()):
        raise _unexpected_body(request, response, failures.not_json(response.body))
    try:
        return request.parse(data)
    except OtherIdError as error:
        raise failures.wrong_id(request, response.status, error.received_id) from None
    except Exception as error:  # noqa: BLE001 (whatever the service sent, it is one response that cannot be used)
        reason = error if isinstance(error, ValueError) else repr(error)
        raise _unexpected_body(request, response, reason) from None


def _unexpected_body(request: Request[Any], response: Response, reason: object) -> RespanError:
    return failures.transient_error(request, f"answered {response.status} with an unexpected body ({reason})")


def make_error(request: Request[Any], response: Response) -> RespanError:
    """Return the error for a response whose status is not a success."""
    is_permanent = 400 <= response.status < 500 and response.status not in TRANSIENT_STATUSES
    # What a store refuses is the signed URL, and the next one may be accepted.
    if is_permanent and (not request.is_signed or response.status == 404):
        return failures.permanent_error(request, response.status, response.body)
    return failures.transient_error(
        request,
        f"answered {failures.describe_answer(request, response.status, response.body)}",
        status_code=response.status,
        retry_after=parse_retry_after(response, now=_sent_at(response)),
    )


def _sent_at(response: Response) -> pendulum.DateTime:
    """Return when a response was sent by the clock of the service, by which it also says until when to wait."""
    try:
        return pendulum.instance(parsedate_to_datetime(response.headers["date"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return pendulum.now("UTC")


def parse_retry_after(response: Response, *, now: pendulum.DateTime) -> float | None:
    """Return how long to wait before the next request, from the body (as Respan sends it) or from a header.

    ``X-RateLimit-Reset`` counts for a 429 only: gateways put it on every response, also where no limit was reached.

    :return: seconds, at most :data:`MAX_RETRY_AFTER_SECONDS`, or None if the response does not say
    """
    body = failures.decode_json(response.body)
    from_body = body.get("retry_after") if isinstance(body, Mapping) else None
    from_header = response.headers.get("retry-after")

    def until_number(value: Any) -> float:
        number = float(value)
        if not math.isfinite(number) or number <= _MIN_UNIX_SECONDS:
            return number
        # Services send remaining seconds, or a time: Unix seconds, or milliseconds and smaller units.
        while number > _MAX_UNIX_SECONDS:
            number /= 1000
        return number - now.timestamp()

    def until_date(text: str) -> float:
        # The older form of an HTTP date has no time zone; all HTTP dates are in UTC.
        return pendulum.instance(parsedate_to_datetime(text)).timestamp() - now.timestamp()

    candidates: list[tuple[Callable[[Any], float], Any]] = [
        (until_number, from_body),
        (until_number, from_header),
        (until_date, from_header),
    ]
    if response.status == 429:
        candidates.append((until_number, response.headers.get("x-ratelimit-reset")))
    for parse, value in candidates:
        try:
            seconds = parse(value)
        except (AttributeError, TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return None
