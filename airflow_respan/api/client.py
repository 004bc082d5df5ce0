"""Carries requests over ``requests``: for workers, every endpoint.

``requests`` is imported when a client is made, never before: DAG files are parsed again and again.
"""

from __future__ import annotations

import logging
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from airflow_respan.api import failures, transport
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.download import ResumableDownload, says_its_length
from airflow_respan.api.exceptions import RespanTransientError
from airflow_respan.api.multipart import CHUNK_BYTES, MultipartBody
from airflow_respan.api.request import Request
from airflow_respan.api.response import MAX_REDIRECTS, Response, make_error, parse_response, redirect_request
from airflow_respan.api.transfer_progress import TransferProgress

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

T = TypeVar("T")
GetSize = Callable[[], int | None]

MAX_DOWNLOAD_PAUSE_SECONDS = 2.0


class RespanClient:
    """Carries requests for workers.

    :param connection: whom to talk to
    """

    def __init__(self, connection: RespanConnection) -> None:
        import requests

        from airflow_respan.api.requests_adapter import TimeLimitedAdapter

        self.connection = connection
        self._verify = transport.ca_bundle(connection)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, TimeLimitedAdapter())
        # Nothing that the service sets ties one call to another.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Hooks are seldom closed by those who use them.
        weakref.finalize(self, self._session.close)
        # Without an auth of its own, requests takes one from ~/.netrc and overwrites our Authorization.
        self._session.auth = lambda prepared: prepared
        # Redirects are ours to judge; requests chokes on a malformed one even when told not to follow.
        self._session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # noqa: ARG005 (as requests has it)

    def close(self) -> None:
        """Close the connections; the client can still be used and opens new ones."""
        self._session.close()

    def send(self, request: Request[T]) -> T:
        """Carry a request and give its result, trying a transient failure once more if that is harmless.

        :raises RespanAPIError: if the service said no
        :raises RespanTransientError: if there was no usable answer, twice
        :raises RespanConfigurationError: if the connection cannot work
        """
        try:
            return self._send_once(request)
        except RespanTransientError as error:
            time.sleep(transport.retry_pause_seconds(request, error))
        return self._send_once(request)

    def download(self, request: Request[Any], target: Path, *, size: GetSize = lambda: None) -> Path:
        """Carry a request and write the answer's body to a file, whole or not at all; else :meth:`download_into`."""
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            with part.open("xb") as file:
                self.download_into(request, file, size=size)
            return part.replace(target)
        except OSError as error:
            # A disk that is full does not say where.
            error.filename = error.filename or str(target)
            raise
        finally:
            part.unlink(missing_ok=True)

    def download_into(self, request: Request[Any], file: IO[bytes], *, size: GetSize = lambda: None) -> None:
        """Carry a request and write the answer's body into a file, going on where it was cut off.

        :param file: open for writing, able to seek; what is in it is lost
        :param size: gives the length of the content; called only if the answer does not say where its body ends
        :raises RespanTransientError: if it stays cut off; the file then holds a part. Else as :meth:`send`
        """
        from tenacity import Retrying, retry_if_exception, wait_random_exponential

        download = ResumableDownload(request)
        progress = TransferProgress(what=request.action, now=time.monotonic())
        trying = Retrying(
            retry=retry_if_exception(lambda error: transport.should_retry(request, error)),
            stop=lambda _state: download.should_give_up,
            wait=wait_random_exponential(multiplier=0.5, max=MAX_DOWNLOAD_PAUSE_SECONDS),
            reraise=True,
        )
        trying(self._continue_download, download, file, size, progress)
        _log_line(progress.final_line(download.received, now=time.monotonic()))

    @contextmanager
    def stream(self, request: Request[Any]) -> Iterator[Iterator[bytes]]:
        """Carry a request and give the answer's body in pieces, in constant memory.

        :raises RespanTransientError: also while reading, if the body is cut off
        """
        with self._content(request) as (head, pieces):
            ResumableDownload(request).begin(head)
            yield pieces

    @contextmanager
    def _content(self, request: Request[Any]) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Carry a request and hand over the head of its answer, and the body as it comes."""
        from airflow_respan.api.requests_adapter import read_with_idle_limit

        timeout = request.connection.timeout
        with self._open_response(request, timeout=timeout) as response:
            if response.status_code not in (200, 206, 416):
                raise make_error(request, _read_body(request, response, timeout))
            head = transport.make_response(response.status_code, response.headers)
            yield head, _with_translated_errors(request, read_with_idle_limit(response.raw, timeout, CHUNK_BYTES))

    def _continue_download(
        self, download: ResumableDownload, file: IO[bytes], size: GetSize, progress: TransferProgress
    ) -> None:
        try:
            with self._content(download.next_request()) as (head, pieces):
                download.begin(head)
                if download.total is None and not says_its_length(head):
                    download.total = size() or None
                file.seek(download.received)
                file.truncate()
                for piece in pieces:
                    file.write(piece)
                    download.received += len(piece)
                    _log_line(progress.line(download.received, download.total, now=time.monotonic()))
            download.check_complete()
        except RespanTransientError:
            download.record_failure()
            raise

    def _send_once(self, request: Request[T]) -> T:
        timeout = max(request.connection.timeout, request.min_timeout)
        if request.upload is None:
            with self._open_response(request, timeout=timeout, json=request.json) as response:
                return parse_response(request, _read_body(request, response, timeout))
        progress = TransferProgress(what=request.action, now=time.monotonic())
        body = MultipartBody(
            request.upload, on_progress=lambda sent: _log_line(progress.line(sent, len(body), now=time.monotonic()))
        )
        try:
            with self._open_response(request, timeout=timeout, data=body, headers=body.headers) as response:
                result = parse_response(request, _read_body(request, response, timeout))
        finally:
            body.rewind()
        _log_line(progress.final_line(len(body), now=time.monotonic()))
        return result

    @contextmanager
    def _open_response(
        self,
        request: Request[Any],
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Iterator[requests.Response]:
        """Send, follow redirects that stay at home, and hand over the open response."""
        connection = request.connection
        for _hop in range(MAX_REDIRECTS + 1):
            with _translated_errors(request):
                response = self._session.request(
                    request.method,
                    request.url,
                    headers={
                        **request.headers,
                        **(headers or {}),
                        "Authorization": transport.authorization(connection),
                    },
                    timeout=(min(transport.CONNECT_TIMEOUT_SECONDS, timeout), timeout),
                    verify=self._verify,
                    proxies=dict(connection.proxies),
                    allow_redirects=False,
                    stream=True,
                    **body,
                )
            with closing(response):
                following = redirect_request(request, transport.make_response(response.status_code, response.headers))
                if following is None:
                    yield response
                    return
                request = following
        raise failures.too_many_redirects(request)


def _read_body(request: Request[Any], response: requests.Response, timeout: float) -> Response:
    """Read a body that may come in drips (each of which starts the socket's own time-out anew)."""
    from airflow_respan.api.requests_adapter import read_with_time_limit

    body = bytearray()
    with _translated_errors(request):
        for piece in read_with_time_limit(response.raw, timeout, CHUNK_BYTES):
            transport.append_limited(body, piece, request)
    return transport.make_response(response.status_code, response.headers, bytes(body))


def _log_line(line: str | None) -> None:
    if line:
        log.info(line)


def _with_translated_errors(request: Request[Any], pieces: Iterator[bytes]) -> Iterator[bytes]:
    with _translated_errors(request):
        yield from pieces


@contextmanager
def _translated_errors(request: Request[Any]) -> Iterator[None]:
    """Turn what requests and urllib3 raise into our errors.

    Without a cause: theirs holds the request, and with it the key.
    """
    import requests
    import urllib3

    unusable = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        urllib3.exceptions.LocationValueError,
    )
    try:
        yield
    except unusable as error:
        raise failures.cannot_send(request, error) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise failures.no_response(request, error) from None
