"""Responses that no sane service sends: both clients raise an error, in little time and with little memory."""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_respan.api import endpoints
from airflow_respan.api.batch import Batch
from airflow_respan.api.client import RespanClient
from airflow_respan.api.connection import RespanConnection
from airflow_respan.exceptions import RespanAPIError, RespanConfigurationError, RespanTransientError
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.api.raw_server import raw_server
from tests.memory import peak_megabytes, reset_peak

GetBatch = Callable[..., Batch]
GetBatchOnce = Callable[[RespanConnection], Batch]
Connect = Callable[..., None]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", b"a" * 2**16),
    "header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 2**16),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n" * 2**13),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2**10),
    "other interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2**10),
    "body of a success": (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 2**16),
    "body of a permanent error": (b"HTTP/1.1 404 Not Found\r\n\r\n", b" " * 2**16),
    "body of a transient error": (b"HTTP/1.1 500 Oh\r\n\r\n", b" " * 2**16),
    "chunk size": (CHUNKED, b"0" * 2**16),
    "chunk extension": (CHUNKED + b"5;", b"a" * 2**16),
    "chunks": (CHUNKED, b"1\r\n \r\n" * 2**13),
    "chunk of negative size": (CHUNKED + b"-5\r\n", b"a" * 2**16),
    "trailer": (CHUNKED + b"1\r\n{\r\n0\r\nX-A: ", b"a" * 2**16),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", b"X-A: a\r\n" * 2**13),
}


def settings(url: str, *, timeout: float = 0.3, **others: Any) -> RespanConnection:
    return RespanConnection(conn_id="respan_default", api_key="a-key", base_url=url, timeout=timeout, **others)


def download_once(connection: RespanConnection, target: Path) -> Path:
    with closing(RespanClient(connection)) as client:
        return client.download(replace(endpoints.file_content(connection, "file-1"), idempotent=False), target)


@contextmanager
def little_time_and_memory() -> Iterator[None]:
    is_linux = Path("/proc/self/clear_refs").exists()
    started_at, before = time.monotonic(), reset_peak() if is_linux else 0.0
    yield
    assert time.monotonic() - started_at < 10
    assert not is_linux or peak_megabytes() - before < 100


@pytest.mark.parametrize("part", ENDLESS)
def test_a_response_with_an_endless_part_is_an_error(get_batch_once: GetBatchOnce, part: str) -> None:
    with (
        raw_server(*ENDLESS[part]) as url,
        little_time_and_memory(),
        pytest.raises(
            RespanTransientError, match=rf" \(retrieve batch_abc123, connection respan_default at {url}\)\. "
        ),
    ):
        get_batch_once(settings(url))


@pytest.mark.parametrize(
    "part", ["status line", "headers", "body of a transient error", "chunk size", "trailer", "trailers"]
)
def test_a_download_with_an_endless_part_other_than_the_content_is_an_error(tmp_path: Path, part: str) -> None:
    with (
        raw_server(*ENDLESS[part]) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=r" \(download file-1, "),
    ):
        download_once(settings(url), tmp_path / "target")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}",
        CHUNKED + b"5\r\n{}",
        CHUNKED + b"-5\r\n{}",
        CHUNKED + b"klingon\r\n{}",
        CHUNKED + b"2\r\n{}\r\n",
    ],
)
def test_a_content_with_broken_framing_is_an_error(tmp_path: Path, response: bytes) -> None:
    with raw_server(response) as url, pytest.raises(RespanTransientError, match=r" \(download file-1, "):
        download_once(settings(url), tmp_path / "target")

    assert list(tmp_path.iterdir()) == []


def test_a_content_that_stops_arriving_is_an_error(tmp_path: Path) -> None:
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", b"}", pause_seconds=600) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=r"no complete response|timed out"),
    ):
        download_once(settings(url), tmp_path / "target")


def test_a_content_may_arrive_slowly(tmp_path: Path) -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n", b"\n", pause_seconds=0.1) as url:
        assert download_once(settings(url, timeout=2), tmp_path / "target").read_bytes() == b"\n" * 25


@pytest.mark.parametrize(
    "location",
    [
        "javascript:alert(1)",
        "data:application/json,{}",
        "file:///etc/passwd",
        "//127.0.0.1:1/",
        "https://127.0.0.1:PORT/",
        "http://localhost:PORT/",
        "http://127.0.0.1.elsewhere.example:PORT/",
        "http://127.0.0.1:PORT@elsewhere.example/",
        "http://me@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT\\@elsewhere.example/",
        "http://127.0.0.1:99999/",
        "http://[::1",
    ],
)
def test_a_redirect_to_another_origin_is_not_followed(
    connected: RespanSandbox, get_batch: GetBatch, location: str
) -> None:
    connected.inject(Fault.redirect(location.replace("PORT", str(connected.port))))

    with pytest.raises(RespanAPIError, match="which is not followed, to protect the API key"):
        get_batch("batch_abc123")

    assert len(connected.requests) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def tls_server(authority: trustme.CA, **certificate: datetime.datetime) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server with a certificate of the authority; yield its URL and the list of the requests that arrived."""
    context, requests = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    authority.issue_cert("127.0.0.1", **certificate).configure_cert(context)
    with raw_server(b"HTTP/1.1 204 No Content\r\n\r\n", tls=context, requests=requests) as url:
        yield url, requests


def test_another_authority_with_the_same_name_is_not_trusted(
    connect: Connect, get_batch: GetBatch, authority: trustme.CA, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with tls_server(authority) as (url, requests):
        connect(host=url, password="a-key", extra={"verify": str(tmp_path / "other.pem")})

        with pytest.raises(RespanTransientError, match=r"certificate verify failed.*put the CA's path into the extra"):
            get_batch("batch_abc123")

    assert requests == []


def test_an_expired_certificate_is_not_trusted(
    connect: Connect, get_batch: GetBatch, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with tls_server(authority, not_after=yesterday) as (url, requests):
        connect(host=url, password="a-key", extra={"verify": str(tmp_path / "ca.pem")})

        with pytest.raises(RespanTransientError, match="certificate has expired"):
            get_batch("batch_abc123")

    assert requests == []


@pytest.mark.parametrize(
    ("start", "repeated"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", b""), (b"\x16\x03\x03\x40\x00", b"\0"), (b"", b"\0")],
    ids=["plain http", "slow handshake", "no TLS record"],
)
def test_a_server_that_does_not_speak_tls_is_an_error(
    get_batch_once: GetBatchOnce, start: bytes, repeated: bytes
) -> None:
    with (
        raw_server(start, repeated, pause_seconds=0.1) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=r"^No complete response: "),
    ):
        get_batch_once(settings(url.replace("http:", "https:")))


def test_a_proxy_whose_response_arrives_byte_by_byte_is_an_error(get_batch_once: GetBatchOnce) -> None:
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", pause_seconds=0.1) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=r"no complete response|TimeoutError"),
    ):
        get_batch_once(settings("https://respan.invalid", proxies={"https": url}))


@pytest.mark.parametrize("proxy", ["http://a..b:1", "http://proxy:99999", "socks9://proxy:1"])
def test_an_invalid_proxy_of_the_environment_is_an_error(
    connect: Connect, get_batch: GetBatch, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    connect(host="http://respan.invalid", password="a-key", extra={"allow_http": True})

    with pytest.raises(RespanConfigurationError, match=r"connection '?respan_default.*prox"):
        get_batch("batch_abc123")
