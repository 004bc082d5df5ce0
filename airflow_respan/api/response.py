"""What an answer of the Respan API means: the result, another address, or an error. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import pendulum

from airflow_respan.api import failures
from airflow_respan.api.exceptions import RespanError
from airflow_respan.api.request import Request

T = TypeVar("T")

MAX_RESPONSE_BYTES = 16 * 2**20
"""Bytes beyond which an answer other than a file's content is not read; a page of 100 batches is far below."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Seconds; a service that asks for more is asked again after this, lest one odd answer silence a wait."""

MAX_REDIRECTS = 3

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""The HTTP statuses below 500 that may pass; each of 500 and above may, and no other."""

_REDIRECTS = {301, 302, 303, 307, 308}
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, kw_only=True)
class Response:
    """What came back over HTTP.

    :param status: the HTTP status
    :param headers: names in lower case
    :param body: all of it, at most :data:`MAX_RESPONSE_BYTES` bytes
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def parse_response(request: Request[T], answer: Response) -> T:
    """Make the result of an answer.

    :raises RespanAuthenticationError: for 401 and 403
    :raises RespanNotFoundError: for 404
    :raises RespanAPIError: for every other answer that would come again
    :raises RespanTransientError: for an answer that may pass, a success that is not what was asked among them
    """
    if not 200 <= answer.status < 300:
        raise make_error(request, answer)
    data = failures.decode_json(answer.body)
    try:
        return request.read(data)
    except ValueError as error:
        reason = failures.not_json(answer.body) if data is None else error
        raise failures.unusable(
            request, f"answered {answer.status} with something that was not asked for ({reason})"
        ) from None


def make_error(request: Request[Any], answer: Response) -> RespanError:
    """Make the error that an unsuccessful answer stands for."""
    if 400 <= answer.status < 500 and answer.status not in TRANSIENT_STATUSES:
        return failures.refused(request, answer.status, answer.body)
    return failures.unusable(
        request,
        f"answered {failures.status_text(answer.status)}: {failures.service_message(answer.body)}",
        status_code=answer.status,
        retry_after=parse_retry_after(answer, now=pendulum.now("UTC")),
    )


def redirect_request(request: Request[T], answer: Response) -> Request[T] | None:
    """Give the request that an answer redirects to, or None if it does not redirect.

    :raises RespanAPIError: if it leads to another scheme, host or port: the key does not go there
    """
    if answer.status not in _REDIRECTS or not answer.headers.get("location"):
        return None
    try:
        target = quote(urljoin(request.url, answer.headers["location"]), safe=_URL_CHARACTERS)
        origin, at_home = _origin(target), _origin(request.url) == _origin(target)
    except ValueError:
        target, origin, at_home = "", "an address that is none", False
    if request.method != "GET" or not at_home or "@" in urlsplit(target).netloc:
        raise failures.redirect_refused(request, answer.status, origin)
    return replace(request, url=target)


def parse_retry_after(answer: Response, *, now: pendulum.DateTime) -> float | None:
    """Find how long to leave the service alone: in the body (as Respan does it), or in a header.

    :return: seconds, at most :data:`MAX_RETRY_AFTER_SECONDS`, or None if the answer does not say
    """
    body = failures.decode_json(answer.body)
    from_body = body.get("retry_after") if isinstance(body, Mapping) else None
    from_header = answer.headers.get("retry-after")

    def until(moment: float) -> float:
        return moment - now.timestamp()

    def until_date(text: str) -> float:
        # HTTP's older form of a date names no zone; all of them are in UTC.
        return until(pendulum.instance(parsedate_to_datetime(text)).timestamp())

    def until_reset(text: str) -> float:
        # Services give a reset as seconds to go, or as Unix time in seconds or milliseconds.
        reset = float(text)
        return until(reset / 1000 if reset > 1e11 else reset) if reset > 1e9 else reset

    found: list[tuple[Callable[[Any], float], Any]] = [
        (float, from_body),
        (float, from_header),
        (until_date, from_header),
        (until_reset, answer.headers.get("x-ratelimit-reset")),
    ]
    for read, value in found:
        try:
            seconds = read(value)
        except (AttributeError, TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
    return None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme)}"
