"""The behaviour that both clients share: most tests run over requests and over aiohttp."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pendulum
import pytest
import trustme

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanNotFoundError,
    RespanTransientError,
)
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.api.hook_calls import WRITES, call_hook
from tests.api.raw_server import raw_server

GetBatch = Callable[..., Batch]
Connect = Callable[..., None]

PROVIDER = (
    "The cause may be the provider's own key: see Settings -> Providers in the Respan dashboard (Respan credits do not "
    "pay for batches)."
)


def test_a_batch_is_retrieved(connected: RespanSandbox, get_batch: GetBatch) -> None:
    batch_id = connected.add_batch(status="completed", output_file_id="file-1")

    batch = get_batch(batch_id)

    assert (batch.id, batch.status, batch.output_file_id) == (batch_id, "completed", "file-1")
    [request] = connected.requests
    assert (request.method, request.path, request.query) == ("GET", f"/api/v1/batches/{batch_id}/", {})


def test_times_in_other_spellings_are_read_and_returned_as_they_came(
    connected: RespanSandbox, get_batch: GetBatch
) -> None:
    times = {"created_at": "2024-03-26T16:45:33+00:00", "completed_at": 1711471538123, "expires_at": "1711557933"}
    odd = {"in_progress_at": "soon", "completion_window": 86400}

    batch = get_batch(connected.add_batch(status="completed", **times, **odd))

    assert batch.to_dict() | times | odd == batch.to_dict()
    assert [batch.created_at, batch.ended_at, batch.expires_at, batch.in_progress_at] == [
        pendulum.datetime(2024, 3, 26, 16, 45, 33),
        pendulum.datetime(2024, 3, 26, 16, 45, 38),
        pendulum.datetime(2024, 3, 27, 16, 45, 33),
        None,
    ]


@pytest.mark.parametrize("encoding", ["json", "base64"])
def test_tracking_parameters_are_merged_and_encoded(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch, encoding: str
) -> None:
    extra = {"respan_params": {"environment": "test", "customer_identifier": "x"}, "respan_params_encoding": encoding}
    connect(host=sandbox.url, password=sandbox.api_key, extra=extra)

    get_batch(sandbox.add_batch(), respan_params={"customer_identifier": "Zoë\r\nX-Evil: 1"})

    [request] = sandbox.requests
    assert request.params == {"environment": "test", "customer_identifier": "Zoë\r\nX-Evil: 1"}
    header = request.headers["X-Data-Respan-Params"]
    assert header.startswith("{") if encoding == "json" else json.loads(base64.b64decode(header))
    assert "X-Evil" not in request.headers


def test_the_provider_of_the_call_replaces_that_of_the_connection(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"provider_id": "openai", "headers": {"X-Team": "data"}})
    batch_id = sandbox.add_batch()

    get_batch(batch_id)
    get_batch(batch_id, provider_id="parasail")

    assert [request.query for request in sandbox.requests] == [{"provider_id": "openai"}, {"provider_id": "parasail"}]
    assert sandbox.requests[0].headers["X-Team"] == "data"


@pytest.mark.parametrize("batch_id", ["../../files", "a/b?c=d#e", "%2e%2e", "batch 1\nX-Evil: 1", "é"])
def test_an_id_stays_one_segment_of_the_path(connected: RespanSandbox, get_batch: GetBatch, batch_id: str) -> None:
    with pytest.raises(RespanNotFoundError):
        get_batch(batch_id)

    [request] = connected.requests
    assert request.path == f"/api/v1/batches/{batch_id}/"
    assert request.query == {}


@pytest.mark.parametrize("batch_id", ["x" * 231, "bGl0/ZWxs:bV9w+eHk=" * 40, "a/../b//c", "é" * 300])
def test_a_long_id_with_special_characters_is_retrieved(
    connected: RespanSandbox, get_batch: GetBatch, batch_id: str
) -> None:
    connected.add_batch(id=batch_id, status="completed", output_file_id=f"file-{batch_id}")

    batch = get_batch(batch_id)

    assert (batch.id, batch.output_file_id) == (batch_id, f"file-{batch_id}")


def test_a_batch_that_was_just_created_may_have_a_long_id_and_any_status(connected: RespanSandbox) -> None:
    batch_id = "bGl0/ZWxs:bV9w+eHk=" * 40
    connected.inject(Fault(status=200, body={"id": batch_id, "status": "queued\n\x1b[31m"}), method="POST")

    batch = RespanHook().create_batch("file-1")

    assert (batch.id, batch.status) == (batch_id, "queued ?[31m")


@pytest.mark.parametrize("batch_id", ["", " ", ".", "..", None, "batch_\ud83d"])
def test_an_invalid_id_is_refused_before_anything_is_sent(
    connected: RespanSandbox, get_batch: GetBatch, batch_id: Any
) -> None:
    with pytest.raises(ValueError) as refused:
        get_batch(batch_id)

    assert str(refused.value) == f"batch_id is {batch_id!r}, which is not a valid id"
    assert connected.requests == []


def call(sandbox: RespanSandbox, action: str = "retrieve batch_abc123") -> str:
    return f"({action}, connection respan_default at {sandbox.url})"


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (
            Fault(status=401, body={"error": "Authentication credentials were not provided."}),
            RespanAuthenticationError,
            "401 Unauthorized: Authentication credentials were not provided CALL. Check the API key in the "
            f"connection's password. {PROVIDER}",
        ),
        (
            Fault(status=403, body={"detail": "Not yours."}),
            RespanAuthenticationError,
            f"403 Forbidden: Not yours CALL. Check what the API key in the connection's password may do. {PROVIDER}",
        ),
        (
            Fault(status=404, body={"error": {"message": "No such batch: batch_abc123"}}),
            RespanNotFoundError,
            "404 Not Found: No such batch: batch_abc123 CALL. Check the id, and that it belongs to the "
            "organisation of the API key.",
        ),
        (
            Fault(status=400, body={"error": {"message": "No OpenAI key."}}),
            RespanAPIError,
            f"400 Bad Request: No OpenAI key CALL. Check what was sent. {PROVIDER}",
        ),
        (
            Fault(status=422, body={"detail": "Validation failed", "errors": {"limit": ["Too big."]}}),
            RespanAPIError,
            "422 Unprocessable Entity: Validation failed; limit: Too big CALL. Check what was sent.",
        ),
        (
            Fault(status=424, body={"error": "No key"}),
            RespanAPIError,
            f"424 Failed Dependency: No key CALL. {PROVIDER}",
        ),
        (Fault(status=410), RespanAPIError, "410 Gone: an empty body CALL. Check what was sent."),
        (
            Fault(status=410, body={"error": "cut \ud83d,\0and \x1b[31mred\u2028"}),
            RespanAPIError,
            "410 Gone: cut ?,?and ?[31mred CALL. Check what was sent.",
        ),
        (
            Fault(status=418, body={"code": 7}),
            RespanAPIError,
            '418 I\'m a Teapot: {"code": 7} CALL. Check what was sent.',
        ),
    ],
)
def test_a_permanent_error_names_cause_and_advice_and_is_not_retried(
    connected: RespanSandbox, get_batch: GetBatch, fault: Fault, error: type[RespanAPIError], text: str
) -> None:
    connected.inject(fault)

    with pytest.raises(error) as refused:
        get_batch("batch_abc123")

    assert str(refused.value) == text.replace("CALL", call(connected))
    assert refused.value.status_code == fault.status
    assert len(connected.requests) == 1


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault.error(500), "500 Internal Server Error: The sandbox was told to fail CALL. This may be temporary."),
        (Fault.error(408), "408 Request Timeout: The sandbox was told to fail CALL. This may be temporary."),
        (Fault.error(409), "409 Conflict: The sandbox was told to fail CALL. This may be temporary."),
        (Fault.error(425), "425 Too Early: The sandbox was told to fail CALL. This may be temporary."),
        (Fault(status=503), "503 Service Unavailable: an empty body CALL. This may be temporary."),
        (Fault(status=599), "599: an empty body CALL. This may be temporary."),
        (
            Fault(status=502, body="<h1>Bad\nGateway</h1>"),
            "502 Bad Gateway: not JSON but '<h1>Bad Gateway</h1>' CALL. This may be temporary.",
        ),
        (
            Fault(status=200, body="<h1>Log in</h1>"),
            "200 OK with an unexpected body: not JSON but '<h1>Log in</h1>' CALL. This may be temporary.",
        ),
        (
            Fault(status=200),
            "200 OK with an unexpected body: an empty body CALL. This may be temporary.",
        ),
        (
            Fault(status=200, body={"id": "batch_other", "status": "completed"}),
            "200 OK with an unexpected body: 'id' is 'batch_other', which is not the requested id CALL. "
            "This may be temporary. If it is not, check the id, and the connection's host and proxies.",
        ),
        (
            Fault(status=200, body={"id": "batch_abc123"}),
            "200 OK with an unexpected body: 'status' is None, not a text CALL. This may be temporary.",
        ),
    ],
)
def test_a_transient_error_is_retried_once_and_then_raised(
    connected: RespanSandbox, get_batch: GetBatch, fault: Fault, text: str
) -> None:
    connected.inject(fault, times=None)

    with pytest.raises(RespanTransientError) as failed:
        get_batch("batch_abc123")

    assert str(failed.value) == text.replace("CALL", call(connected))
    assert len(connected.requests) == 2


def test_one_transient_error_is_hidden_by_the_retry(connected: RespanSandbox, get_batch: GetBatch) -> None:
    batch_id = connected.add_batch()
    connected.inject(Fault.cut(5))

    assert get_batch(batch_id).id == batch_id


@pytest.mark.parametrize("fault", [Fault.cut(), Fault.cut(5)])
def test_a_cut_connection_is_transient(connected: RespanSandbox, get_batch: GetBatch, fault: Fault) -> None:
    connected.inject(fault, times=None)

    with pytest.raises(RespanTransientError, match=r"^No complete response: "):
        get_batch("batch_abc123")


def test_a_service_that_is_down_is_transient(connected: RespanSandbox, get_batch: GetBatch) -> None:
    connected.stop()

    with pytest.raises(RespanTransientError, match=r"^No complete response: .*(refused|Connect call failed)"):
        get_batch("batch_abc123")


def test_a_rate_limit_is_raised_and_not_retried(connected: RespanSandbox, get_batch: GetBatch) -> None:
    connected.inject(Fault.rate_limit(retry_after=30))

    with pytest.raises(RespanTransientError) as limited:
        get_batch("batch_abc123")

    assert (limited.value.status_code, limited.value.retry_after) == (429, 30)
    assert str(limited.value) == (
        f"429 Too Many Requests: Rate limit exceeded {call(connected)}. Retry after 30 seconds."
    )
    assert len(connected.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [b"Retry-After: 30\r\nretry-after: 30", b"RETRY-AFTER:30  ", b"Retry-After:\r\n\t30", b"Retry-After: 30s"],
)
def test_the_pause_in_a_header_is_read_in_every_spelling(connect: Connect, get_batch: GetBatch, headers: bytes) -> None:
    with raw_server(b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n" + headers + b"\r\n\r\n") as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError) as limited:
            get_batch("batch_abc123")

    assert limited.value.retry_after == 30


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Fault.rate_limit(retry_after=30), "send it again after 30 seconds."),
        (Fault.rate_limit(header="90"), "send it again after 90 seconds."),
        (Fault.rate_limit(retry_after=None), "send it again later."),
    ],
    ids=["body", "header", "no time"],
)
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_met_a_rate_limit_was_not_carried_out_and_is_not_retried(
    connected: RespanSandbox, name: str, fault: Fault, advice: str
) -> None:
    connected.inject(fault)

    with pytest.raises(RespanTransientError) as limited:
        call_hook(name, io.BytesIO(b"{}") if "upload" in name else "id-1")

    assert str(limited.value).startswith("429 Too Many Requests: Rate limit exceeded (")
    assert str(limited.value).endswith(f"). Respan did not carry out the request: {advice}")
    assert len(connected.requests) == 1


@pytest.mark.parametrize("fault", [Fault.slow(30), Fault.drip(pause=0.05)], ids=["silent", "byte by byte"])
def test_a_response_that_does_not_arrive_within_the_timeout_is_an_error(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch, fault: Fault
) -> None:
    connect(host=sandbox.url, password=sandbox.api_key, extra={"timeout": 0.3})
    sandbox.inject(fault, times=None)

    with pytest.raises(RespanTransientError):
        get_batch("batch_abc123")


def test_a_response_without_end_is_an_error(connect: Connect, get_batch: GetBatch) -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[", b" " * 2**20) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match="sent more than the maximum of 16777216 bytes"):
            get_batch("batch_abc123")


@pytest.mark.parametrize(
    "location", ["https://elsewhere.example/api/v1/batches/x/", "//elsewhere.example/", "http://["]
)
def test_a_redirect_to_another_host_is_not_followed(
    connected: RespanSandbox, get_batch: GetBatch, location: str
) -> None:
    connected.inject(Fault.redirect(location))

    with pytest.raises(RespanAPIError, match="which is not followed, to protect the API key"):
        get_batch("batch_abc123")


def test_a_redirect_to_another_port_is_not_followed(connected: RespanSandbox, get_batch: GetBatch) -> None:
    with RespanSandbox(pace=None) as other:
        connected.inject(Fault.redirect(f"{other.url}/api/v1/batches/batch_abc123/"))

        with pytest.raises(RespanAPIError, match=rf"a redirect to {re.escape(other.url)}, which is not followed"):
            get_batch("batch_abc123")

        assert other.requests == []


def test_a_redirect_to_the_same_origin_is_followed(connected: RespanSandbox, get_batch: GetBatch) -> None:
    batch_id = connected.add_batch()
    connected.inject(Fault.redirect(f"/api/v1/batches/{batch_id}", status=308))

    assert get_batch(batch_id).id == batch_id
    assert [request.path for request in connected.requests][-1] == f"/api/v1/batches/{batch_id}"


def test_a_loop_of_redirects_ends(connected: RespanSandbox, get_batch: GetBatch) -> None:
    connected.inject(Fault.redirect("/api/v1/batches/batch_abc123/"), times=None)

    with pytest.raises(RespanAPIError, match=r"^Too many redirects "):
        get_batch("batch_abc123")

    assert len(connected.requests) == 4


def test_a_netrc_file_does_not_replace_the_key(
    connected: RespanSandbox, get_batch: GetBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    assert get_batch(connected.add_batch()).status == "in_progress"


def test_the_proxy_of_the_connection_is_used(sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch) -> None:
    connect(
        host="http://respan.invalid",
        password=sandbox.api_key,
        extra={"allow_http": True, "proxies": {"http": sandbox.url}},
    )

    assert get_batch(sandbox.add_batch()).status == "in_progress"
    assert sandbox.requests[0].headers["Host"] == "respan.invalid"


def test_the_proxy_of_the_environment_is_used(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", sandbox.url)
    connect(host="http://respan.invalid", password=sandbox.api_key, extra={"allow_http": True})

    assert get_batch(sandbox.add_batch()).status == "in_progress"


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "SOCKS5H", "ftp"])
@pytest.mark.parametrize("place", ["field of the connection", "environment"])
def test_a_proxy_other_than_http_is_refused_by_name(
    connect: Connect, get_batch: GetBatch, monkeypatch: pytest.MonkeyPatch, scheme: str, place: str
) -> None:
    proxy = f"{scheme}://me:proxy-secret@127.0.0.1:1080"
    extra: dict[str, Any] = {"allow_http": True}
    if place == "environment":
        monkeypatch.setenv("http_proxy", proxy)
    else:
        extra["proxies"] = {"http": proxy}
    connect(host="http://respan.invalid", password="a-key", extra=extra)

    with pytest.raises(RespanConfigurationError) as refused:
        get_batch("batch_abc123")

    assert str(refused.value) == (
        f"Airflow connection 'respan_default' would use a {scheme.lower()} proxy, but only HTTP proxies are supported. "
        "Name an HTTP proxy in its extra field 'proxies', or add its host to the variable NO_PROXY."
    )


def test_a_host_that_needs_no_proxy_is_reached_although_the_environment_has_a_socks_proxy(
    connected: RespanSandbox, get_batch: GetBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")

    assert get_batch(connected.add_batch()).status == "in_progress"


def test_the_error_for_a_missing_ca_bundle_names_it(connect: Connect, get_batch: GetBatch) -> None:
    connect(host="https://127.0.0.1:1", password="a-key", extra={"verify": "/no/such/bundle.pem"})

    with pytest.raises(RespanConfigurationError) as refused:
        get_batch("batch_abc123")

    assert str(refused.value) == (
        "Airflow connection 'respan_default' cannot check certificates with '/no/such/bundle.pem', which its extra "
        "field 'verify' or one of the variables REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE names: "
        "FileNotFoundError: [Errno 2] No such file or "
        "directory. Name a CA bundle or a directory of certificates that is on this machine."
    )


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_error_for_an_invalid_ca_bundle_names_it(
    connect: Connect, get_batch: GetBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("no certificate")
    for each in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, str(bundle))
    connect(host="https://127.0.0.1:1", password="a-key")

    with pytest.raises(RespanConfigurationError, match=re.escape(f"cannot check certificates with '{bundle}'")):
        get_batch("batch_abc123")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that is in no CA bundle."""
    return trustme.CA()


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[str]:
    """The URL of a server with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with raw_server(b"HTTP/1.1 200 OK\r\n" + LENGTH_AND_BATCH, tls=context) as url:
        yield url


def test_a_private_authority_is_trusted_if_its_path_is_set(
    connect: Connect, get_batch: GetBatch, tls_server: str, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    connect(host=tls_server, password="a-key", extra={"verify": str(bundle)})

    assert get_batch("batch_abc123").status == "in_progress"


def test_the_check_of_the_certificate_can_be_turned_off(connect: Connect, get_batch: GetBatch, tls_server: str) -> None:
    connect(host=tls_server, password="a-key", extra={"verify": False})

    assert get_batch("batch_abc123").status == "in_progress"


def test_an_unknown_authority_is_not_trusted_and_the_error_has_advice(
    connect: Connect, get_batch: GetBatch, tls_server: str
) -> None:
    connect(host=tls_server, password="a-key")

    with pytest.raises(RespanTransientError, match="put the CA's path into the extra field 'verify'"):
        get_batch("batch_abc123")


def test_the_certificate_of_another_host_is_not_trusted(
    connect: Connect, get_batch: GetBatch, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    requests: list[bytes] = []
    with raw_server(b"HTTP/1.1 200 OK\r\n" + LENGTH_AND_BATCH, tls=context, requests=requests) as url:
        connect(host=url, password="a-key", extra={"verify": str(bundle)})

        with pytest.raises(RespanTransientError, match=r"^No complete response: "):
            get_batch("batch_abc123")

    assert requests == []


def test_the_error_for_a_missing_connection_says_how_to_create_it(airflow_db: None, get_batch: GetBatch) -> None:
    with pytest.raises(RespanConfigurationError) as refused:
        get_batch("batch_abc123", conn_id="respan_missing")

    assert str(refused.value) == (
        "Airflow connection 'respan_missing' does not exist. Create it with the connection type 'Respan' and an API "
        "key from https://platform.respan.ai/platform/api-keys as its password, or set AIRFLOW_CONN_RESPAN_MISSING "
        "(Airflow ignores a value that it cannot read)."
    )


def test_a_replaced_key_is_used_on_a_worker(connected: RespanSandbox, connect: Connect) -> None:
    batch_id = connected.add_batch()
    hook = RespanHook()
    hook.get_batch(batch_id)

    connected.api_key = "another-key"
    connect(host=connected.url, password="another-key")

    assert hook.get_batch(batch_id).id == batch_id


def test_a_replaced_key_is_used_on_a_triggerer(connected: RespanSandbox, connect: Connect) -> None:
    batch_id = connected.add_batch()

    async def wait() -> None:
        async with aclosing(RespanHook()) as hook:
            await hook.aget_batch(batch_id)
            connected.api_key = "another-key"
            connect(host=connected.url, password="another-key")
            assert (await hook.aget_batch(batch_id)).id == batch_id

    asyncio.run(wait())


KEY = "sandbox-key-that-is-secret"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=400, body={"error": f"You sent {KEY}"}),
        Fault(status=500, body=f"<pre>{KEY}</pre>"),
        Fault(status=200, body=KEY),
        Fault.redirect(f"https://{KEY}.example/"),
        Fault.cut(3),
    ],
)
def test_no_error_contains_the_key_even_if_the_response_repeats_it(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch, fault: Fault
) -> None:
    sandbox.api_key = KEY
    connect(host=sandbox.url, password=KEY)
    sandbox.inject(fault, times=None)

    with pytest.raises(RespanError) as failed:
        get_batch("batch_abc123")

    error: BaseException | None = failed.value
    assert error.__suppress_context__ or error.__context__ is None
    assert KEY not in repr(error)


BYTE_BY_BYTE = {
    "status line": (b"", b"H"),
    "headers": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"a"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"X-A: a\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" "),
}


@pytest.mark.parametrize("place", BYTE_BY_BYTE)
def test_a_response_that_arrives_byte_by_byte_is_an_error(connect: Connect, get_batch: GetBatch, place: str) -> None:
    start, repeated = BYTE_BY_BYTE[place]
    with raw_server(start, repeated, pause_seconds=0.1) as url:
        connect(host=url, password="a-key", extra={"timeout": 0.5})
        started_at = time.monotonic()

        # Older releases of aiohttp have another message for a bad status line.
        too_late = r"TimeoutError|no complete response within 0\.5 seconds|Bad status line|Expected HTTP/"
        with pytest.raises(RespanTransientError, match=too_late):
            get_batch("batch_abc123")

    assert time.monotonic() - started_at < 10


BATCH = b'{"id": "batch_abc123", "status": "in_progress"}'
LENGTH_AND_BATCH = b"Content-Length: " + str(len(BATCH)).encode() + b"\r\n\r\n" + BATCH


OK = b"HTTP/1.1 200 OK\r\n"
UNUSUAL = {
    "long header": OK + b"X-Long: " + b"a" * 20_000 + b"\r\n" + LENGTH_AND_BATCH,
    "cookie and charset": OK + b"Set-Cookie: a=b\r\nContent-Type: text/html; charset=klingon\r\n" + LENGTH_AND_BATCH,
    "header that is not ASCII": OK + b"X-Name: caf\xc3\xa9 \xe9\r\n" + LENGTH_AND_BATCH,
    "header twice": OK + b"X-A: a\r\nX-A: b\r\n" + LENGTH_AND_BATCH,
    "date that is none": OK + b"Date: today\r\n" + LENGTH_AND_BATCH,
    "byte order mark": OK + b"CONTENT-LENGTH: 50\r\nContent-Type: text/plain\r\n\r\n\xef\xbb\xbf" + BATCH,
    "line feeds alone": b"HTTP/1.1 200 OK\ncontent-length: 47\n\n" + BATCH,
    "no reason": b"HTTP/1.1 200\r\n" + LENGTH_AND_BATCH,
    "changed by a proxy": b"HTTP/1.1 203 Non-Authoritative Information\r\n" + LENGTH_AND_BATCH,
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n2f\r\n" + BATCH + b"\r\n0\r\n\r\n",
    "chunk extension and trailers": OK
    + b"Transfer-Encoding: Chunked\r\nTrailer: X-A\r\n\r\n2F;a=b\r\n"
    + BATCH
    + b"\r\n0\r\nX-A: a\r\nX-B: b\r\n\r\n",
    "without length": b"HTTP/1.0 200 OK\r\n\r\n" + BATCH,
    "HTTP 1.0 that keeps the connection": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH_AND_BATCH,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK + LENGTH_AND_BATCH,
    "several interim responses": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX-A: a\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + LENGTH_AND_BATCH,
    "unknown interim response": b"HTTP/1.1 199 Unknown\r\n\r\n" + OK + LENGTH_AND_BATCH,
    "encoding identity": OK + b"Content-Encoding: Identity\r\n" + LENGTH_AND_BATCH,
    "encoding without name": OK + b"Content-Encoding:\r\n" + LENGTH_AND_BATCH,
    "encoding aws-chunked": OK + b"Content-Encoding: aws-chunked\r\n" + LENGTH_AND_BATCH,
    "charset as encoding": OK + b"Content-Encoding: UTF-8\r\n" + LENGTH_AND_BATCH,
    "gzip": OK + b"Content-Encoding: GZip\r\nConnection: close\r\n\r\n" + gzip.compress(BATCH),
}


@pytest.mark.parametrize("response", UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_but_valid_response_is_read(connect: Connect, get_batch: GetBatch, response: bytes) -> None:
    with raw_server(response) as url:
        connect(host=url, password="a-key")

        assert get_batch("batch_abc123").status == "in_progress"


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 ",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH_AND_BATCH,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 47\r\nContent-Length: 3\r\n\r\n" + BATCH,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x01",
        b'HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{"id": "batch_abc123", "status": "\\n"}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00",
    ],
)
def test_an_unusable_response_is_a_transient_error(connect: Connect, get_batch: GetBatch, response: bytes) -> None:
    with raw_server(response) as url:
        connect(host=url, password="a-key", extra={"timeout": 2})

        with pytest.raises(RespanTransientError):
            get_batch("batch_abc123")


def test_a_connection_that_is_cut_is_tried_twice(connect: Connect, get_batch: GetBatch) -> None:
    requests: list[bytes] = []
    with raw_server(b"", requests=requests) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError):
            get_batch("batch_abc123")

    assert len(requests) == 2


def test_a_redirect_with_credentials_is_not_followed(connected: RespanSandbox, get_batch: GetBatch) -> None:
    connected.inject(Fault.redirect(f"http://me:secret@127.0.0.1:{connected.port}/elsewhere"))

    with pytest.raises(RespanAPIError, match="which is not followed") as refused:
        get_batch("batch_abc123")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("padding", [0, 400, 460, 690])
def test_no_part_of_the_key_is_left_in_a_text_that_was_shortened(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch, padding: int
) -> None:
    sandbox.api_key = KEY
    connect(host=sandbox.url, password=KEY)
    sandbox.inject(Fault(status=400, body={"error": "x" * padding + KEY + "y" * 1000}))

    with pytest.raises(RespanAPIError) as refused:
        get_batch("batch_abc123")

    assert KEY[:8] not in str(refused.value)


def test_a_key_that_the_response_repeats_in_a_batch_is_redacted(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch
) -> None:
    sandbox.api_key = KEY
    connect(host=sandbox.url, password=KEY)

    batch = get_batch(sandbox.add_batch(status="failed", errors={"data": [{"message": f"Invalid key {KEY}"}]}))

    assert list(batch.error_lines()) == ["Invalid key ***"]


def test_a_key_that_is_escaped_in_json_is_redacted(
    sandbox: RespanSandbox, connect: Connect, get_batch: GetBatch
) -> None:
    sandbox.api_key = KEY
    connect(host=sandbox.url, password=KEY)
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    sandbox.inject(Fault(status=200, body=f'{{"id": "batch_1", "status": "failed", "errors": ["{escaped}"]}}'))

    assert get_batch("batch_1").errors == ["***"]


def test_no_error_contains_the_password_of_the_environments_proxy(
    connect: Connect, get_batch: GetBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:proxy-secret@127.0.0.1:1")
    connect(host="http://respan.invalid", password="a-key", extra={"allow_http": True})

    with pytest.raises(RespanError) as failed:
        get_batch("batch_abc123")

    assert "proxy-secret" not in str(failed.value)


@pytest.mark.parametrize("extra", [[1, 2], "[1, 2]", "5"])
def test_an_extra_that_is_not_an_object_is_an_error(connect: Connect, get_batch: GetBatch, extra: object) -> None:
    connect(password="a-key", extra=extra)

    with pytest.raises(RespanConfigurationError, match="has an extra that is not a JSON object"):
        get_batch("batch_abc123")


def test_a_hook_shared_by_coroutines_opens_and_closes_one_session(
    connected: RespanSandbox, recwarn: pytest.WarningsRecorder
) -> None:
    batch_id = connected.add_batch()

    async def get_concurrently() -> None:
        async with aclosing(RespanHook()) as hook:
            await asyncio.gather(*(hook.aget_batch(batch_id) for _ in range(5)))

    asyncio.run(get_concurrently())
    assert [str(warning.message) for warning in recwarn if "nclosed" in str(warning.message)] == []


def test_coroutines_and_threads_all_use_a_replaced_key(connected: RespanSandbox, connect: Connect) -> None:
    batch_id = connected.add_batch()
    hook = RespanHook()
    hook.get_batch(batch_id)

    async def get_concurrently() -> None:
        async with aclosing(hook):
            await hook.aget_batch(batch_id)
            connected.api_key = "another-key"
            connect(host=connected.url, password="another-key")
            await asyncio.gather(*(hook.aget_batch(batch_id) for _ in range(6)))

    asyncio.run(get_concurrently())
    with ThreadPoolExecutor(8) as threads:
        assert {batch.id for batch in threads.map(hook.get_batch, [batch_id] * 8)} == {batch_id}


def test_a_hook_can_be_used_in_several_event_loops_in_turn(connected: RespanSandbox) -> None:
    batch_id, hook = connected.add_batch(), RespanHook()

    async def get_and_close() -> str:
        try:
            return (await hook.aget_batch(batch_id)).id
        finally:
            await hook.aclose()

    assert [asyncio.run(get_and_close()) for _ in range(2)] == [batch_id] * 2
