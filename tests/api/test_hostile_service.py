"""What no service in its right mind does: both clients come away with an error, in time, and in little memory."""

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
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2**10),
    "body of a success": (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 2**16),
    "body of a refusal": (b"HTTP/1.1 404 Not Found\r\n\r\n", b" " * 2**16),
    "body of a failure": (b"HTTP/1.1 500 Oh\r\n\r\n", b" " * 2**16),
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
    began, before = time.monotonic(), reset_peak() if is_linux else 0.0
    yield
    assert time.monotonic() - began < 10
    assert not is_linux or peak_megabytes() - before < 100


@pytest.mark.parametrize("part", ENDLESS)
def test_no_part_of_an_answer_may_be_endless(get_batch_once: GetBatchOnce, part: str) -> None:
    with (
        raw_server(*ENDLESS[part]) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=f"Respan \\({url}, connection 'respan_default'\\) "),
    ):
        get_batch_once(settings(url))


@pytest.mark.parametrize("part", ["status line", "headers", "body of a failure", "chunk size", "trailer", "trailers"])
def test_what_is_around_a_files_content_may_not_be_endless(tmp_path: Path, part: str) -> None:
    with (
        raw_server(*ENDLESS[part]) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match="Asked to download file 'file-1'"),
    ):
        download_once(settings(url), tmp_path / "target")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}",
        CHUNKED + b"5\r\n{}",
        CHUNKED + b"-5\r\n{}",
        CHUNKED + b"klingon\r\n{}",
        CHUNKED + b"2\r\n{}\r\n",
    ],
)
def test_a_files_content_in_a_broken_frame_is_no_content(tmp_path: Path, answer: bytes) -> None:
    with raw_server(answer) as url, pytest.raises(RespanTransientError, match="Asked to download file 'file-1'"):
        download_once(settings(url), tmp_path / "target")

    assert list(tmp_path.iterdir()) == []


def test_a_files_content_that_stops_coming_is_given_up(tmp_path: Path) -> None:
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", b"}", pause=600) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=r"no whole answer|timed out"),
    ):
        download_once(settings(url), tmp_path / "target")


def test_a_files_content_may_come_slowly(tmp_path: Path) -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n", b"\n", pause=0.1) as url:
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
def test_a_redirect_that_leads_away_is_not_followed(
    connected: RespanSandbox, get_batch: GetBatch, location: str
) -> None:
    connected.inject(Fault.redirect(location.replace("PORT", str(connected.port))))

    with pytest.raises(RespanAPIError, match="which is not followed, lest the API key go astray"):
        get_batch("batch_abc123")

    assert len(connected.requests) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def tls_server(authority: trustme.CA, **certificate: datetime.datetime) -> Iterator[tuple[str, list[bytes]]]:
    context, seen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    authority.issue_cert("127.0.0.1", **certificate).configure_cert(context)
    with raw_server(b"HTTP/1.1 204 No Content\r\n\r\n", tls=context, seen=seen) as url:
        yield url, seen


def test_an_authority_of_the_same_name_is_another(
    connect: Connect, get_batch: GetBatch, authority: trustme.CA, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with tls_server(authority) as (url, seen):
        connect(host=url, password="a-key", extra={"verify": str(tmp_path / "other.pem")})

        with pytest.raises(RespanTransientError, match=r"certificate verify failed.*put the CA's path into the extra"):
            get_batch("batch_abc123")

    assert seen == []


def test_a_certificate_that_has_expired_is_not_trusted(
    connect: Connect, get_batch: GetBatch, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with tls_server(authority, not_after=yesterday) as (url, seen):
        connect(host=url, password="a-key", extra={"verify": str(tmp_path / "ca.pem")})

        with pytest.raises(RespanTransientError, match="certificate has expired"):
            get_batch("batch_abc123")

    assert seen == []


@pytest.mark.parametrize(
    ("begin", "drop"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", b""), (b"\x16\x03\x03\x40\x00", b"\0"), (b"", b"\0")],
    ids=["plain http", "handshake in drips", "noise"],
)
def test_what_does_not_speak_tls_is_given_up(get_batch_once: GetBatchOnce, begin: bytes, drop: bytes) -> None:
    with (
        raw_server(begin, drop, pause=0.1) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match="gave no answer"),
    ):
        get_batch_once(settings(url.replace("http:", "https:")))


def test_a_proxy_whose_answer_drips_is_given_up(get_batch_once: GetBatchOnce) -> None:
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", pause=0.1) as url,
        little_time_and_memory(),
        pytest.raises(RespanTransientError, match=r"no whole answer|TimeoutError"),
    ):
        get_batch_once(settings("https://respan.invalid", proxies={"https": url}))


@pytest.mark.parametrize("proxy", ["http://a..b:1", "http://proxy:99999", "socks9://proxy:1"])
def test_a_proxy_of_the_environment_that_is_none_is_named(
    connect: Connect, get_batch: GetBatch, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    connect(host="http://respan.invalid", password="a-key", extra={"allow_http": True})

    with pytest.raises(RespanConfigurationError, match=r"Airflow connection 'respan_default' .*prox"):
        get_batch("batch_abc123")
