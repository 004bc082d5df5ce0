"""Redirects: within an origin with the key; of a file's content to a store of another origin, without the key."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_respan.exceptions import (
    RespanAPIError,
    RespanConfigurationError,
    RespanError,
    RespanNotFoundError,
    RespanTransientError,
)
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.api.hook_calls import WRITES, call_hook
from tests.api.raw_server import raw_server
from tests.operators.landings import add_batch, good, jsonl, land

Connect = Callable[..., None]

CONTENT = b'{"custom_id": "a"}\n' * 100
SIGNED = "/bucket/file%201.jsonl?X-Amz-Credential=AKIA%2Fus-east-1&X-Amz-Signature=5ecre7%2B5ignature%3D"
SECRETS = ("5ecre7", "AKIA", "file%201", "file 1")


def response(status: str, body: bytes = b"", **headers: object) -> bytes:
    fields = {"Content_Length": len(body), "Connection": "close", **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


OK = response("200 OK", CONTENT)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Store:
    """An object store with TLS: it returns one response after the other, and records the requests."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.requests: list[bytes] = []
        self.url = ""

    def respond(self, _request: bytes) -> bytes:
        return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]


OpenStore = Callable[..., Any]


@pytest.fixture
def open_store(authority: trustme.CA) -> OpenStore:
    @contextmanager
    def opened(*responses: bytes) -> Iterator[Store]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        store = Store(*responses)
        with raw_server(store.respond, requests=store.requests, tls=context) as store.url:
            yield store

    return opened


@pytest.fixture
def service(sandbox: RespanSandbox, connect: Connect, authority: trustme.CA, tmp_path: Path) -> RespanSandbox:
    """A local Respan with a connection that has further headers, and trusts the certificates of the stores."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    extra = {"verify": str(bundle), "headers": {"X-Team": "team-secret"}, "respan_params": {"environment": "private"}}
    connect(host=sandbox.url, password=sandbox.api_key, extra=extra)
    return sandbox


def download_to_a_path(tmp_path: Path) -> bytes:
    return RespanHook().download_file("file-1", tmp_path / "out").read_bytes()


def download_in_pieces(_tmp_path: Path) -> bytes:
    return b"".join(RespanHook().iter_file_content("file-1"))


@pytest.fixture(params=[download_to_a_path, download_in_pieces])
def download(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], bytes]:
    return lambda: request.param(tmp_path)


def call_text(url: str, action: str = "download file-1") -> str:
    return f"({action}, connection respan_default at {url})"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_content_in_a_store_is_downloaded_without_the_key_and_the_headers_of_the_connection(
    service: RespanSandbox, open_store: OpenStore, download: Callable[[], bytes], status: int
) -> None:
    with open_store(OK) as store:
        service.inject(Fault.redirect(f"{store.url}{SIGNED}", status=status))

        assert download() == CONTENT

    [request] = store.requests
    line, _end, head = request.decode().partition("\r\n")
    assert line == f"GET {SIGNED} HTTP/1.1"
    for secret in ("authorization", service.api_key, "team-secret", "x-team", "respan-params", "private", "cookie"):
        assert secret not in head.lower()


def test_a_store_that_redirects_to_another_store_is_followed(
    service: RespanSandbox, open_store: OpenStore, download: Callable[[], bytes]
) -> None:
    with open_store(OK) as second, open_store(response("307 Region", Location=f"{second.url}{SIGNED}")) as first:
        service.inject(Fault.redirect(f"{first.url}{SIGNED}"))

        assert download() == CONTENT

    assert b"uthorization" not in b"".join(first.requests + second.requests)


def test_a_download_from_a_store_that_was_cut_resumes_with_a_new_signed_url(
    service: RespanSandbox, open_store: OpenStore, tmp_path: Path
) -> None:
    total = len(CONTENT)
    rest = response("206 Partial Content", CONTENT[500:], Content_Range=f"bytes 500-{total - 1}/{total}", ETag='"a"')
    with open_store(response("200 OK", CONTENT, ETag='"a"')[: 500 - total], rest) as store:
        service.inject(Fault.redirect(f"{store.url}/a?signature=first"))
        service.inject(Fault.redirect(f"{store.url}/a?signature=second"))

        assert download_to_a_path(tmp_path) == CONTENT

    assert [request.split(b" ")[1] for request in store.requests] == [b"/a?signature=first", b"/a?signature=second"]
    assert b'Range: bytes=500-\r\nIf-Range: "a"\r\n' in store.requests[1]


def test_a_signed_url_that_the_store_refuses_is_replaced_by_a_new_one(
    service: RespanSandbox, open_store: OpenStore, tmp_path: Path
) -> None:
    with open_store(response("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), OK) as store:
        service.inject(Fault.redirect(f"{store.url}{SIGNED}"), times=2)

        assert download_to_a_path(tmp_path) == CONTENT


def test_results_are_landed_from_a_store_that_sends_gzip(
    service: RespanSandbox, open_store: OpenStore, tmp_path: Path
) -> None:
    rows = jsonl(good("a"), good("b"))
    batch_id = add_batch(service, b"the store has the rows", request_counts={"total": 2, "completed": 2, "failed": 0})
    with open_store(response("200 OK", gzip.compress(rows), Content_Encoding="gzip")) as store:
        service.inject(Fault.redirect(f"{store.url}{SIGNED}"), path="/content/")

        manifest = land(tmp_path / "results", batch_id=batch_id)["return_value"]

    assert (tmp_path / "results" / "output.jsonl").read_bytes() == rows
    assert (manifest["counts"]["succeeded"], manifest["warnings"]) == (2, [])
    assert not any(secret in json.dumps(manifest) for secret in SECRETS)


ECHO = f"<Error><Code>SignatureDoesNotMatch</Code><Resource>{SIGNED}</Resource></Error>".encode()


@pytest.mark.parametrize(
    ("answer", "error", "cause", "advice"),
    [
        (
            response("403 Forbidden", ECHO),
            RespanTransientError,
            "403 Forbidden (SignatureDoesNotMatch)",
            "This may be temporary.",
        ),
        (
            response("401 Unauthorized", SIGNED.encode()),
            RespanTransientError,
            "401 Unauthorized",
            "This may be temporary.",
        ),
        (
            response("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>"),
            RespanNotFoundError,
            "404 Not Found (NoSuchKey)",
            "The store does not have the content, or not yet.",
        ),
        (
            response("302 Found", Location=f"http://store.example{SIGNED}"),
            RespanAPIError,
            "302 Found: a redirect to http://store.example, which is not followed, because it is not https",
            "Let the service redirect to https.",
        ),
        (
            response("302 Found", Location=SIGNED),
            RespanAPIError,
            "Too many redirects",
            "Write the right address into the connection's host.",
        ),
        (
            response("200 OK", CONTENT)[:300],
            RespanTransientError,
            "No complete response: .*",
            "This may be temporary.",
        ),
        (b"", RespanTransientError, "No complete response: .*", "This may be temporary."),
        (
            f"HTTP/1.1 {SIGNED}\r\n\r\n".encode(),
            RespanTransientError,
            "No complete response: .*",
            "This may be temporary.",
        ),
    ],
)
def test_errors_and_logs_name_the_store_and_no_part_of_the_signed_url(
    service: RespanSandbox,
    open_store: OpenStore,
    caplog: pytest.LogCaptureFixture,
    answer: bytes,
    error: type[RespanError],
    cause: str,
    advice: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_store(answer) as store:
        service.inject(Fault.redirect(f"{store.url}{SIGNED}"), times=None)

        with pytest.raises(error) as failed:
            list(RespanHook().iter_file_content("file-1"))

    rest = re.escape(f" at {store.url}, to which Respan redirected {call_text(service.url)}. {advice}")
    pattern = cause if cause.endswith("*") else re.escape(cause)
    assert re.fullmatch(pattern + rest, str(failed.value))
    assert len(store.requests) >= 1
    for secret in SECRETS:
        assert secret not in repr(failed.value)
        assert secret not in caplog.text


def test_the_error_for_a_store_that_cannot_be_reached_names_its_host_alone(
    service: RespanSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.inject(Fault.redirect(f"https://127.0.0.1:1{SIGNED}"), times=None)

    with pytest.raises(RespanTransientError) as failed:
        list(RespanHook().iter_file_content("file-1"))

    redirected = f" at https://127.0.0.1:1, to which Respan redirected {call_text(service.url)}. This may be temporary."
    assert re.fullmatch("No complete response: .*refused" + re.escape(redirected), str(failed.value))
    assert not any(secret in caplog.text for secret in SECRETS)


def test_the_certificate_of_a_store_is_checked(sandbox: RespanSandbox, connect: Connect, open_store: OpenStore) -> None:
    connect(host=sandbox.url, password=sandbox.api_key)
    with open_store(OK) as store:
        sandbox.inject(Fault.redirect(f"{store.url}{SIGNED}"), times=None)

        with pytest.raises(RespanTransientError, match="put the CA's path into the extra field 'verify'"):
            list(RespanHook().iter_file_content("file-1"))

    assert store.requests == []


def test_a_store_is_reached_by_the_proxy_of_the_connection(sandbox: RespanSandbox, connect: Connect) -> None:
    tunnels: list[bytes] = []
    with raw_server(response("502 Bad Gateway"), requests=tunnels) as proxy:
        connect(host=sandbox.url, password=sandbox.api_key, extra={"proxies": {"https": proxy}})
        sandbox.inject(Fault.redirect(f"https://store.example{SIGNED}"), times=None)

        with pytest.raises(RespanTransientError, match=r"at https://store\.example, to which Respan redirected"):
            list(RespanHook().iter_file_content("file-1"))

    assert tunnels[0].startswith(b"CONNECT store.example:443 HTTP/1.")
    assert sandbox.api_key.encode() not in b"".join(tunnels)


def test_a_socks_proxy_for_a_store_is_refused_by_name(
    connected: RespanSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    connected.inject(Fault.redirect(f"https://store.example{SIGNED}"))

    with pytest.raises(RespanConfigurationError) as refused:
        list(RespanHook().iter_file_content("file-1"))

    assert str(refused.value) == (
        "Airflow connection 'respan_default' would use a socks5 proxy, but only HTTP proxies are supported. Name an "
        "HTTP proxy in its extra field 'proxies', or add https://store.example to the variable NO_PROXY."
    )


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (
            f"http://store.example{SIGNED}",
            "a redirect to http://store.example, which is not followed, because it is not https. Let the service "
            "redirect to https.",
        ),
        (
            "https://respan.example/api/files/file-1/content",
            "a redirect to https://respan.example, which is not followed, to protect the API key. If "
            "https://respan.example is the right address, write it into the connection's host.",
        ),
        (
            f"https://me:password@store.example{SIGNED}",
            "a redirect to https://store.example, which is not followed, to protect the API key. If "
            "https://store.example is the right address, write it into the connection's host.",
        ),
        (
            "s3://bucket/file-1",
            "a redirect to an invalid address, which is not followed, to protect the API key. Write the right address "
            "into the connection's host.",
        ),
    ],
    ids=["plain http", "the service at another address", "with credentials", "another scheme"],
)
def test_content_is_not_requested_from_an_address_that_is_no_signed_url(
    service: RespanSandbox, download: Callable[[], bytes], location: str, text: str
) -> None:
    service.inject(Fault.redirect(location))

    with pytest.raises(RespanAPIError) as refused:
        download()

    cause, _dot, advice = text.partition(". ")
    assert str(refused.value) == f"302 Found: {cause} {call_text(service.url)}. {advice}"


@pytest.mark.parametrize("call", ["get_file", "list_files", "get_batch", "aget_batch", "list_batches"])
def test_no_other_request_follows_a_redirect_to_a_store(
    service: RespanSandbox, open_store: OpenStore, call: str
) -> None:
    with open_store(OK) as store:
        service.inject(Fault.redirect(f"{store.url}{SIGNED}"))

        with pytest.raises(RespanAPIError, match=f"a redirect to {store.url}, which is not followed, to protect"):
            call_hook(call, *(["id-1"] if "get" in call else []))

    assert store.requests == []


INPUT = b'{"custom_id": "a"}\n' * 50_000


def argument(service: RespanSandbox, name: str) -> Any:
    if name == "upload_file":
        return io.BytesIO(INPUT)
    return service.add_batch() if "cancel" in name else RespanHook().upload_file(io.BytesIO(b"{}\n")).id


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_sent_again_with_its_body_after_a_redirect_that_says_that_nothing_was_done(
    connected: RespanSandbox, name: str, status: int
) -> None:
    given = argument(connected, name)
    before = len(connected.requests)
    paths = {"create_batch": "/api/v1/batches", "upload_file": "/api/files", "delete_file": f"/api/files/{given}"}
    connected.inject(Fault.redirect(paths.get(name, f"/api/v1/batches/{given}/cancel"), status=status))

    result = call_hook(name, given)

    first, second = connected.requests[before:]
    assert (first.method, first.path) == (second.method, f"{second.path}/")
    assert first.body == second.body
    if name == "upload_file":
        assert b"".join(RespanHook().iter_file_content(result.id)) == INPUT
    elif name == "create_batch":
        assert result.input_file_id == given


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_not_sent_again_after_a_redirect_that_does_not_say_whether_it_was_carried_out(
    connected: RespanSandbox, name: str, status: int
) -> None:
    given = argument(connected, name)
    before = len(connected.requests)
    connected.inject(Fault.redirect("/elsewhere?token=secret", status=status))

    with pytest.raises(RespanAPIError) as refused:
        call_hook(name, given)

    status_text = {301: "301 Moved Permanently", 302: "302 Found", 303: "303 See Other"}[status]
    is_idempotent = "cancel" in name
    cause, _call, advice = re.split(r" (\(.*\))\. ", str(refused.value))
    assert cause == (
        f"{status_text}: a redirect to {connected.url}/elsewhere, which is not followed, because its status does not "
        "say that nothing was done"
    )
    assert advice == (
        f"{'' if is_idempotent else 'Respan may have carried out the request: check before you send it again. '}"
        "Let the service, or the proxy before it, redirect by 308. Write the right address into the connection's host "
        "if it is wrong."
    )
    assert len(connected.requests) == before + 1


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_not_sent_to_another_origin(connected: RespanSandbox, name: str) -> None:
    with RespanSandbox(pace=None) as other:
        given = argument(connected, name)
        connected.inject(Fault.redirect(f"{other.url}/api/files/", status=307))

        with pytest.raises(RespanAPIError, match="which is not followed, to protect the API key"):
            call_hook(name, given)

        assert other.requests == []


@pytest.mark.parametrize("name", WRITES)
def test_a_loop_of_redirected_writes_ends(connected: RespanSandbox, name: str) -> None:
    given = argument(connected, name)
    before = len(connected.requests)
    connected.inject(Fault.redirect("/api/v1/batches/", status=308), times=None)

    with pytest.raises(RespanAPIError, match=r"^Too many redirects "):
        call_hook(name, given)

    assert len(connected.requests) == before + 4


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"Location: /caf\xc3\xa9", "/caf%C3%A9"),
        (b"Location: /caf\xe9", "/caf%E9"),
        (b"LOCATION: ../new/a b?c=%2F#fragment", "/api/v1/batches/new/a%20b?c=%2F"),
        (b"Location: //127.0.0.1:PORT/b", "/b"),
        (b"location: HTTP://127.0.0.1:PORT", "/"),
        (b"Location: /b\r\nLocation: /b", "/b"),
    ],
)
def test_a_location_is_read_in_every_spelling(
    connect: Connect, get_batch: Callable[..., Any], location: bytes, path: str
) -> None:
    requests: list[bytes] = []

    def respond(request: bytes) -> bytes:
        if len(requests) > 1:
            return response("200 OK", b'{"id": "batch_1", "status": "completed"}')
        port = re.search(rb"(?i)^host: .*:(\d+)\r$", request, re.MULTILINE)
        assert port
        return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n%s\r\n\r\n" % location.replace(
            b"PORT", port[1]
        )

    with raw_server(respond, requests=requests) as url:
        connect(host=url, password="a-key")

        assert get_batch("batch_1").status == "completed"

    assert requests[1].split(b" ")[1].decode() == path


def test_the_error_for_a_redirect_from_https_to_http_does_not_recommend_http(
    service: RespanSandbox, connect: Connect, open_store: OpenStore, tmp_path: Path, get_batch: Callable[..., Any]
) -> None:
    found = response("307 Temporary Redirect", Location="http://127.0.0.1/api/v1/batches/batch_1")
    with open_store(found) as behind_proxy:
        connect(host=behind_proxy.url, password="a-key", extra={"verify": str(tmp_path / "ca.pem")})

        with pytest.raises(RespanAPIError) as refused:
            get_batch("batch_1")

    assert str(refused.value) == (
        "307 Temporary Redirect: a redirect to http://127.0.0.1, which is not followed, because it is not https "
        f"{call_text(behind_proxy.url, 'retrieve batch_1')}. Let the service redirect to https."
    )


def test_an_https_address_of_the_same_host_is_named_and_gets_no_key(connected: RespanSandbox) -> None:
    connected.inject(Fault.redirect("https://127.0.0.1/api/v1/batches/", status=308))

    with pytest.raises(RespanAPIError) as refused:
        RespanHook().list_batches()

    assert str(refused.value) == (
        "308 Permanent Redirect: a redirect to https://127.0.0.1, which is not followed, to protect the API key "
        f"{call_text(connected.url, 'list batches')}. If https://127.0.0.1 is the right address, write it into the "
        "connection's host."
    )
