"""Which redirects are followed, and with what. No I/O.

A redirect to the connection's own origin (scheme, host, port) is followed with the key: a GET always, other methods
only after a 307 or 308, because these say that nothing was done.

A redirect to another origin is followed for the content of a file alone, because services keep files in object stores
and redirect to a signed URL. It must be https, and the request has neither the key nor a header of the connection. The
signed URL is a secret itself: everybody who has it can read the file.

No function here that raises an error has a URL among its local variables, which Airflow 3.0 prints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from airflow_respan.api import failures
from airflow_respan.api.address import origin
from airflow_respan.api.request import OWN_HEADERS, Request
from airflow_respan.api.response import Response

T = TypeVar("T")

MAX_REDIRECTS = 3

_STATUSES = {301, 302, 303, 307, 308}
_STATUSES_OF_NOTHING_DONE = {307, 308}
_HEADERS_OF_A_DOWNLOAD = ("Range", "If-Range")
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"


def redirect_request(request: Request[T], response: Response) -> Request[T] | None:
    """Return the request to which a response redirects, or None if it is not a redirect.

    :raises RespanAPIError: if the redirect must not be followed; the message says why, and what to change
    """
    if response.status not in _STATUSES or not response.headers.get("location"):
        return None
    if reason := _refusal(request, response):
        raise failures.redirect_refused(
            request, response.status, target=_shown_target(request, response), reason=reason
        )
    if _is_same_origin(request, response):
        return replace(request, url=_target(request, response))
    kept = {name: request.headers[name] for name in _HEADERS_OF_A_DOWNLOAD if name in request.headers}
    return replace(
        request, url=_target(request, response), is_signed=True, headers={**OWN_HEADERS, "Accept": "*/*", **kept}
    )


def _refusal(request: Request[Any], response: Response) -> failures.Refusal | None:
    """Return why a redirect is not followed, or None if it is followed."""
    target = _parts(request, response)
    if target is None or "@" in target.netloc:
        return failures.Refusal.KEY
    if _is_same_origin(request, response):
        is_safe = request.method == "GET" or response.status in _STATUSES_OF_NOTHING_DONE
        return None if is_safe else failures.Refusal.METHOD
    if target.scheme == "http" and urlsplit(request.url).scheme == "https":
        return failures.Refusal.PLAIN_HTTP
    # The same path at another origin is the service at another address, and no signed URL.
    if not request.is_content or (not request.is_signed and _resource(urlsplit(request.url)) == _resource(target)):
        return failures.Refusal.KEY
    return None if target.scheme == "https" else failures.Refusal.PLAIN_HTTP


def _shown_target(request: Request[Any], response: Response) -> str | None:
    """Return what may be shown of the target: its path only if it is at the connection's own origin."""
    target = _parts(request, response)
    if target is None:
        return None
    is_own = _is_same_origin(request, response) and not request.is_signed
    return f"{origin(target.geturl())}{target.path if is_own else ''}"


def _is_same_origin(request: Request[Any], response: Response) -> bool:
    target = _parts(request, response)
    return target is not None and origin(request.url) == origin(target.geturl())


def _resource(parts: SplitResult) -> tuple[str, str]:
    return parts.path.rstrip("/"), parts.query


def _parts(request: Request[Any], response: Response) -> SplitResult | None:
    """Return the parts of the target, or None if it is not an HTTP URL."""
    try:
        target = _target(request, response)
        origin(target)
        return urlsplit(target)
    except ValueError:
        return None


def _target(request: Request[Any], response: Response) -> str:
    url = urljoin(request.url, response.headers["location"])
    return quote(url, safe=_URL_CHARACTERS, errors="surrogateescape")
