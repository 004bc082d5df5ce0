"""What a response of the Respan API means: a result or an error. ``redirects.py`` reads redirects. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

import pendulum

from airflow_respan.api import failures
from airflow_respan.api.exceptions import RespanError
from airflow_respan.api.request import OtherIdError, Request
from airflow_respan.api.timestamps import MAX_TIMESTAMP_LENGTH, read_timestamp, scale_to_seconds

T = TypeVar("T")

MAX_RESPONSE_BYTES = 16 * 2**20
"""Maximum size of a response that is not a file's content; a page of 100 batches is far smaller."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Maximum pause. If a response asks for more, this is used, so that one wrong value cannot stop a wait."""

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""The transient HTTP statuses below 500; every status from 500 on is transient, and no other is."""

_MIN_UNIX_SECONDS = 1e9
"""A larger number of seconds is a time, not a pause: it would be a pause of 30 years."""

_RESET_HEADERS = ("x-ratelimit-reset", "ratelimit-reset", "x-ratelimit-reset-after")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?(?<=[hms])")
_UNIT_SECONDS = (3600.0, 60.0, 1.0, 0.001)


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
        raise failures.unexpected_body(request, response.status, failures.not_json(response.body))
    try:
        return request.parse(data)
    except OtherIdError as error:
        raise failures.wrong_id(request, response.status, error.received_id) from None
    except Exception as error:  # noqa: BLE001 (whatever the service sent, it is one response that cannot be used)
        reason = error if isinstance(error, ValueError) else repr(error)
        raise failures.unexpected_body(request, response.status, str(reason)) from None


def make_error(request: Request[Any], response: Response) -> RespanError:
    """Return the error for a response whose status is not a success."""
    is_permanent = 400 <= response.status < 500 and response.status not in TRANSIENT_STATUSES
    # What a store refuses is the signed URL, and the next one may be accepted.
    if is_permanent and (not request.is_signed or response.status == 404):
        return failures.permanent_error(request, response.status, response.body)
    return failures.transient_error(
        request,
        failures.describe_answer(request, response.status, response.body),
        status_code=response.status,
        retry_after=parse_retry_after(response, now=_sent_at(response)),
    )


def _sent_at(response: Response) -> pendulum.DateTime:
    """Return when a response was sent by the clock of the service, by which it also says until when to wait."""
    return read_timestamp(response.headers.get("date")) or pendulum.now("UTC")


def parse_retry_after(response: Response, *, now: pendulum.DateTime) -> float | None:
    """Return how long to wait before the next request, from the body (as Respan sends it) or from a header.

    The headers of a reset count for a 429 only: gateways put them on every response, also where no limit was reached.

    :return: seconds, at most :data:`MAX_RETRY_AFTER_SECONDS`, or None if the response does not say
    """
    headers = response.headers
    milliseconds = headers.get("retry-after-ms", "")
    candidates = [*_in_body(response.body), f"{milliseconds}ms", headers.get("retry-after")]
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        candidates += [headers.get(name) for name in _RESET_HEADERS]
    for candidate in candidates:
        seconds = _read_pause(candidate, now=now.timestamp())
        if seconds is not None:
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return None


def _in_body(body: bytes) -> list[Any]:
    decoded = failures.decode_json(body)
    if not isinstance(decoded, Mapping):
        return []
    places = [decoded, decoded.get("error"), decoded.get("detail")]
    return [place.get(name) for place in places if isinstance(place, Mapping) for name in ("retry_after", "retryAfter")]


def _read_pause(value: object, *, now: float) -> float | None:
    """Return the seconds until the time that a value names: a number of seconds, a duration, or a time.

    :param value: ``30``, ``"30"``, ``"1m30s"``, Unix seconds or smaller units, an HTTP date, ISO 8601; or anything else
    :param now: the time by the clock of the service (Unix seconds)
    """
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > MAX_TIMESTAMP_LENGTH):
        return None
    if isinstance(value, str) and (parts := _DURATION.fullmatch(value.strip())):
        return sum(float(text or 0) * seconds for text, seconds in zip(parts.groups(), _UNIT_SECONDS, strict=True))
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises an error
    except (TypeError, ValueError, OverflowError):
        time = read_timestamp(value) if isinstance(value, str) else None
        return time.timestamp() - now if time else None
    if not math.isfinite(number):
        return None
    return number if number <= _MIN_UNIX_SECONDS else scale_to_seconds(number) - now
