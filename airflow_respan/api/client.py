"""A client over ``requests``, for workers: every endpoint, uploads and downloads.

``requests`` is imported when a client is created and not before, because Airflow parses DAG files again and again.
"""

from __future__ import annotations

import logging
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from airflow_respan.api import failures, transport
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.download import WHOLE_CONTENT_STATUSES, GetSize, ResumableDownload
from airflow_respan.api.exceptions import RespanTransientError
from airflow_respan.api.multipart import CHUNK_BYTES, MultipartBody
from airflow_respan.api.redirects import MAX_REDIRECTS, redirect_request
from airflow_respan.api.request import Request
from airflow_respan.api.response import Response, make_error, parse_response
from airflow_respan.api.transfer_progress import TransferProgress

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_DOWNLOAD_PAUSE_SECONDS = 2.0


class RespanClient:
    """Sends requests from a worker.

    :param connection: the settings of the Airflow connection
    :raises RespanConfigurationError: if the CA bundle or the proxy cannot be used
    """

    def __init__(self, connection: RespanConnection) -> None:
        import requests

        from airflow_respan.api.requests_adapter import TimeLimitedAdapter

        self.connection = connection
        self._verify = transport.ca_bundle(connection)
        transport.proxy_for(connection)  # requests chooses the proxy itself; this refuses one that it could not use
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, TimeLimitedAdapter())
        # No cookies: a request must not depend on the responses before it.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Few users close a hook, so the session is closed when the client is garbage-collected.
        weakref.finalize(self, self._session.close)
        # If the session has no auth, requests reads ~/.netrc and overwrites our header Authorization.
        self._session.auth = lambda prepared: prepared
        # requests raises an error for a malformed redirect even with allow_redirects=False, so it must not read any.
        self._session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # noqa: ARG005 (as requests has it)

    def close(self) -> None:
        """Close the open connections. The client can still be used; it then opens new ones."""
        self._session.close()

    def send(self, request: Request[T]) -> T:
        """Send a request and return its result. After a transient error, retry once if sending twice does no harm.

        :raises RespanAPIError: if Respan refused the request
        :raises RespanTransientError: if there was no usable response, not even to the retry
        :raises RespanConfigurationError: if the request cannot be sent with the settings of the connection
        """
        try:
            return self._send_once(request)
        except RespanTransientError as error:
            time.sleep(transport.retry_pause_seconds(request, error))
        return self._send_once(request)

    def download(self, request: Request[Any], target: Path, *, size: GetSize = lambda: None) -> Path:
        """Send a request and write the body of its response to a file, which is written completely or not at all.

        :param target: the file to write or replace
        :param size: see :meth:`download_into`
        :return: the target
        :raises RespanTransientError: and other errors; see :meth:`download_into`
        """
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            with part.open("xb") as file:
                self.download_into(request, file, size=size)
            return part.replace(target)
        except OSError as error:
            # The error of a full disk names no file.
            error.filename = error.filename or str(target)
            raise
        finally:
            part.unlink(missing_ok=True)

    def download_into(self, request: Request[Any], file: IO[bytes], *, size: GetSize = lambda: None) -> None:
        """Send a request and write the body of its response to an open file. After a cut, resume where it was cut.

        :param file: open for writing, and seekable; its old content is overwritten
        :param size: returns the length of the content (bytes); called only if the response does not say where its body
            ends
        :raises RespanTransientError: if the content stays incomplete after several retries; the file then has a part of
            it. Other errors as in :meth:`send`
        """
        from tenacity import Retrying, retry_if_exception, wait_random_exponential

        download = ResumableDownload(request)
        progress = TransferProgress(what=request.action, now=time.monotonic())
        retrying = Retrying(
            retry=retry_if_exception(lambda error: transport.should_retry(request, error)),
            stop=lambda _state: download.should_give_up,
            wait=wait_random_exponential(multiplier=0.5, max=MAX_DOWNLOAD_PAUSE_SECONDS),
            reraise=True,
        )
        retrying(self._continue_download, download, file, size, progress)
        _log_line(progress.final_line(download.received, now=time.monotonic()))

    @contextmanager
    def stream(self, request: Request[Any], *, size: GetSize = lambda: None) -> Iterator[Iterator[bytes]]:
        """Send a request and yield the body of its response in chunks, in constant memory.

        :param size: see :meth:`download_into`
        :raises RespanTransientError: also while reading, if the body is cut off
        """
        with self._open_content(request) as (head, chunks):
            download = ResumableDownload(request)
            download.begin(head, size=size)
            yield _checked(download, chunks)

    @contextmanager
    def _open_content(self, request: Request[Any]) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Send a request; yield its response without the body, and the chunks of the body, which are still encoded."""
        from airflow_respan.api.requests_adapter import read_with_idle_limit

        timeout = request.connection.timeout
        with self._open_response(request, timeout=timeout) as (sent, response):
            if response.status_code not in (*WHOLE_CONTENT_STATUSES, 206, 416):
                raise make_error(sent, _read_body(sent, response, timeout))
            yield (
                _make_response(response),
                _with_translated_errors(sent, read_with_idle_limit(response.raw, timeout, CHUNK_BYTES)),
            )

    def _continue_download(
        self, download: ResumableDownload, file: IO[bytes], size: GetSize, progress: TransferProgress
    ) -> None:
        try:
            with self._open_content(download.next_request()) as (head, chunks):
                download.begin(head, size=size)
                file.seek(download.received)
                file.truncate()
                for chunk in _checked(download, chunks):
                    file.write(chunk)
                    _log_line(progress.line(download.received, download.total, now=time.monotonic()))
        except RespanTransientError:
            download.record_failure()
            raise

    def _send_once(self, request: Request[T]) -> T:
        timeout = max(request.connection.timeout, request.min_timeout)
        if request.upload is None:
            with self._open_response(request, timeout=timeout, json=request.json) as (sent, response):
                return parse_response(sent, _read_body(sent, response, timeout))
        progress = TransferProgress(what=request.action, now=time.monotonic())
        body = MultipartBody(
            request.upload, on_progress=lambda sent: _log_line(progress.line(sent, len(body), now=time.monotonic()))
        )
        try:
            with self._open_response(request, timeout=timeout, data=body, headers=body.headers) as (sent, response):
                result = parse_response(sent, _read_body(sent, response, timeout))
        finally:
            body.rewind()
        _log_line(progress.final_line(len(body), now=time.monotonic()))
        return result

    @contextmanager
    def _open_response(
        self,
        request: Request[T],
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Iterator[tuple[Request[T], requests.Response]]:
        """Send a request, follow redirects, and yield the last request and the open response to it."""
        from airflow_respan.api.requests_adapter import without_log_lines

        connection = request.connection
        for _hop in range(MAX_REDIRECTS + 1):
            verify = self._verify
            if request.is_signed:
                transport.proxy_for(connection, url=request.url)
                verify = transport.ca_bundle(connection, url=request.url)
            with _translated_errors(request), without_log_lines() if request.is_signed else nullcontext():
                response = self._session.request(
                    request.method,
                    request.url,
                    headers={**transport.headers_of(request), **(headers or {})},
                    timeout=(min(transport.CONNECT_TIMEOUT_SECONDS, timeout), timeout),
                    verify=verify,
                    proxies=dict(connection.proxies),
                    allow_redirects=False,
                    stream=True,
                    **body,
                )
            with closing(response):
                redirected = redirect_request(request, _make_response(response))
                if redirected is None:
                    yield request, response
                    return
                request = redirected
        raise failures.too_many_redirects(request)


def _read_body(request: Request[Any], response: requests.Response, timeout: float) -> Response:
    """Read a body within a time limit (the socket's own timeout starts again with each byte that arrives)."""
    from airflow_respan.api.requests_adapter import read_with_time_limit

    body = bytearray()
    with _translated_errors(request):
        for chunk in read_with_time_limit(response.raw, timeout, CHUNK_BYTES):
            transport.append_limited(body, chunk, request)
    return _make_response(response, bytes(body))


def _make_response(response: requests.Response, body: bytes = b"") -> Response:
    # http.client decodes headers as Latin-1, but servers write UTF-8.
    headers = [
        (name, value.encode("latin-1").decode("utf-8", "surrogateescape"))
        for name, value in response.raw.headers.items()
    ]
    return transport.make_response(response.status_code, headers, body)


def _log_line(line: str | None) -> None:
    if line:
        log.info(line)


def _checked(download: ResumableDownload, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content in the chunks of a body, and check at its end that the content is complete."""
    for chunk in chunks:
        yield from download.receive(chunk)
    if warning := download.check_complete():
        log.warning(warning)


def _with_translated_errors(request: Request[Any], chunks: Iterator[bytes]) -> Iterator[bytes]:
    with _translated_errors(request):
        yield from chunks


@contextmanager
def _translated_errors(request: Request[Any]) -> Iterator[None]:
    """Replace errors of requests and urllib3 by ours.

    The original error is not kept as the cause, because it holds the request and so the API key.
    """
    import requests
    import urllib3

    cannot_send_errors = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        urllib3.exceptions.LocationValueError,
    )
    try:
        yield
    except cannot_send_errors as error:
        raise failures.cannot_send(request, error) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise failures.no_response(request, error) from None
