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
from airflow_respan.api.download import Download, has_an_end
from airflow_respan.api.multipart import CHUNK, FileBody
from airflow_respan.api.request import Request
from airflow_respan.api.response import MAX_REDIRECTS, Answer, failure, read_answer, redirected
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.transfer_progress import Progress

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

T = TypeVar("T")
Size = Callable[[], int | None]

UPLOAD_TIMEOUT = 600.0
LONGEST_PAUSE_IN_DOWNLOAD = 2.0


class RespanClient:
    """Carries requests for workers.

    :param connection: whom to talk to
    """

    def __init__(self, connection: RespanConnection) -> None:
        import requests

        from airflow_respan.api.requests_adapter import WatchedAdapter

        self.connection = connection
        self._verify = transport.trusted(connection)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, WatchedAdapter())
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
            time.sleep(transport.pause_before_another_try(request, error))
        return self._send_once(request)

    def download(self, request: Request[Any], target: Path, *, size: Size = lambda: None) -> Path:
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

    def download_into(self, request: Request[Any], file: IO[bytes], *, size: Size = lambda: None) -> None:
        """Carry a request and write the answer's body into a file, going on where it was cut off.

        :param file: open for writing, able to seek; what is in it is lost
        :param size: gives the length of the content; called only if the answer does not say where its body ends
        :raises RespanTransientError: if it stays cut off; the file then holds a part. Else as :meth:`send`
        """
        from tenacity import Retrying, retry_if_exception, wait_random_exponential

        download = Download(request)
        progress = Progress(what=request.what, now=time.monotonic())
        trying = Retrying(
            retry=retry_if_exception(lambda error: transport.is_worth_another_try(request, error)),
            stop=lambda _state: download.is_hopeless,
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_IN_DOWNLOAD),
            reraise=True,
        )
        trying(self._download_on, download, file, size, progress)
        _tell(progress.last_line(download.received, now=time.monotonic()))

    @contextmanager
    def stream(self, request: Request[Any]) -> Iterator[Iterator[bytes]]:
        """Carry a request and give the answer's body in pieces, in constant memory.

        :raises RespanTransientError: also while reading, if the body is cut off
        """
        with self._content(request) as (head, pieces):
            Download(request).begin(head)
            yield pieces

    @contextmanager
    def _content(self, request: Request[Any]) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Carry a request and hand over the head of its answer, and the body as it comes."""
        from airflow_respan.api.requests_adapter import read_on

        timeout = request.connection.timeout
        with self._exchange(request, timeout=timeout) as response:
            if response.status_code not in (200, 206, 416):
                raise failure(request, _whole(request, response, timeout))
            head = transport.head(response.status_code, response.headers)
            yield head, _translated(request, read_on(response.raw, timeout, CHUNK))

    def _download_on(self, download: Download, file: IO[bytes], size: Size, progress: Progress) -> None:
        try:
            with self._content(download.next_request()) as (head, pieces):
                download.begin(head)
                if download.total is None and not has_an_end(head):
                    download.total = size() or None
                file.seek(download.received)
                file.truncate()
                for piece in pieces:
                    file.write(piece)
                    download.received += len(piece)
                    _tell(progress.line(download.received, download.total, now=time.monotonic()))
            download.end()
        except RespanTransientError:
            download.note_failure()
            raise

    def _send_once(self, request: Request[T]) -> T:
        timeout = request.connection.timeout
        if request.upload is None:
            with self._exchange(request, timeout=timeout, json=request.json) as response:
                return read_answer(request, _whole(request, response, timeout))
        progress = Progress(what=request.what, now=time.monotonic())
        body = FileBody(request.upload, watch=lambda sent: _tell(progress.line(sent, len(body), now=time.monotonic())))
        # The service passes the file on to the provider before it
        timeout = max(timeout, UPLOAD_TIMEOUT)
        try:
            with self._exchange(request, timeout=timeout, data=body, headers=body.headers) as response:
                result = read_answer(request, _whole(request, response, timeout))
        finally:
            body.rewind()
        _tell(progress.last_line(len(body), now=time.monotonic()))
        return result

    @contextmanager
    def _exchange(
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
            with _requests_errors(request):
                response = self._session.request(
                    request.method,
                    request.url,
                    headers={
                        **request.headers,
                        **(headers or {}),
                        "Authorization": transport.bearer(connection),
                    },
                    timeout=(min(transport.CONNECT_TIMEOUT, timeout), timeout),
                    verify=self._verify,
                    proxies=dict(connection.proxies),
                    allow_redirects=False,
                    stream=True,
                    **body,
                )
            with closing(response):
                following = redirected(request, transport.head(response.status_code, response.headers))
                if following is None:
                    yield response
                    return
                request = following
        raise failures.redirected_in_circles(request)


def _whole(request: Request[Any], response: requests.Response, timeout: float) -> Answer:
    """Read a body that may come in drips (each of which starts the socket's own time-out anew)."""
    from airflow_respan.api.requests_adapter import read_within

    body = bytearray()
    with _requests_errors(request):
        for piece in read_within(response.raw, timeout, CHUNK):
            transport.grow(body, piece, request)
    return transport.head(response.status_code, response.headers, bytes(body))


def _tell(line: str | None) -> None:
    if line:
        log.info(line)


def _translated(request: Request[Any], pieces: Iterator[bytes]) -> Iterator[bytes]:
    with _requests_errors(request):
        yield from pieces


@contextmanager
def _requests_errors(request: Request[Any]) -> Iterator[None]:
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
        raise failures.unsendable(request, error) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise failures.unanswered(request, error) from None
