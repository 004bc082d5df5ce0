"""Downloads from the sandbox: the whole content, a range of it, and each injected fault."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest
import requests

from airflow_respan.sandbox import Download, Fault, RespanSandbox

ROWS = [json.dumps({"custom_id": f"request-{number}", "response": "x" * 100}).encode() + b"\n" for number in range(3)]
CONTENT = b"".join(ROWS)


@pytest.fixture
def url(sandbox: RespanSandbox) -> str:
    """The URL of the content of a file with three rows."""
    response = requests.post(
        f"{sandbox.url}/api/files/",
        headers={"Authorization": f"Bearer {sandbox.api_key}"},
        files={"file": ("in.jsonl", CONTENT)},
        data={"purpose": "batch"},
        timeout=10,
    )
    return f"{sandbox.url}/api/files/{response.json()['id']}/content/"


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={"Authorization": "Bearer sandbox-key", **headers}, timeout=10)


@pytest.mark.parametrize("fault", [None, Fault.cut_download(10**6), Fault.missing_row(2)])
@pytest.mark.parametrize(
    ("requested", "part"),
    [("bytes=10-", slice(10, None)), ("bytes=10-19", slice(10, 20)), ("bytes=-5", slice(-5, None))],
)
def test_a_range_can_be_requested(
    sandbox: RespanSandbox, url: str, fault: Fault | None, requested: str, part: slice
) -> None:
    content = CONTENT
    if fault:
        sandbox.inject(fault)
        content = ROWS[0] + ROWS[2] if fault == Fault.missing_row(2) else CONTENT

    response = get(url, Range=requested)

    start, stop, _step = part.indices(len(content))
    assert (response.status_code, response.content) == (206, content[part])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert sandbox.requests[-1].status == 206


@pytest.mark.parametrize("fault", [None, Fault.cut_download(10**6)])
def test_a_range_beyond_the_end_is_refused(sandbox: RespanSandbox, url: str, fault: Fault | None) -> None:
    if fault:
        sandbox.inject(fault)

    response = get(url, Range=f"bytes={len(CONTENT)}-")

    assert (response.status_code, response.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    assert sandbox.requests[-1].status == 416


def test_a_range_may_be_unsupported(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.no_ranges())

    response = get(url, Range="bytes=10-")

    assert (response.status_code, response.content) == (200, CONTENT)
    assert "Content-Range" not in response.headers


@pytest.mark.parametrize(
    ("fault", "rows"),
    [
        (Fault.missing_row(1), ROWS[1:]),
        (Fault.doubled_row(3), [*ROWS, ROWS[2]]),
        (Fault.broken_row(2), [ROWS[0], ROWS[1][: len(ROWS[1]) // 2] + b"\n", ROWS[2]]),
    ],
)
def test_a_row_may_be_wrong(sandbox: RespanSandbox, url: str, fault: Fault, rows: list[bytes]) -> None:
    sandbox.inject(fault)
    get(url.replace("/content/", "/"))  # not a download, so it does not get the fault

    assert [get(url).content for _ in range(2)] == [b"".join(rows), CONTENT]


def test_a_fault_of_a_missing_row_is_an_error(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.missing_row(4))

    response = get(url)

    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The injected fault is about row 4, but the file has 3 rows."


def read_raw(sandbox: RespanSandbox, url: str, **headers: str) -> tuple[dict[str, str], bytes, bool]:
    """Return headers, body, and whether the client took the body for complete."""
    connection = http.client.HTTPConnection(sandbox.host, sandbox.port, timeout=10)
    connection.request("GET", url, headers={"Authorization": "Bearer sandbox-key", **headers})
    response = connection.getresponse()
    try:
        return dict(response.headers), response.read(), True
    except http.client.IncompleteRead as error:
        return dict(response.headers), error.partial, False
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("framing", "header", "seems_complete"),
    [
        ("length", ("Content-Length", str(len(CONTENT))), False),
        ("chunked", ("Transfer-Encoding", "chunked"), False),
        ("close", ("Connection", "close"), True),
    ],
)
def test_a_download_is_cut_once_after_the_given_bytes(
    sandbox: RespanSandbox, url: str, framing: Any, header: tuple[str, str], seems_complete: bool
) -> None:
    sandbox.inject(Fault.cut_download(100, framing=framing))

    headers, body, complete = read_raw(sandbox, url)

    assert (body, complete) == (CONTENT[:100], seems_complete)
    assert headers[header[0]] == header[1]
    assert headers.keys() & {"Content-Length", "Transfer-Encoding"} == {header[0]} - {"Connection"}
    assert sandbox.requests[-1].status is None
    assert read_raw(sandbox, url)[1:] == (CONTENT, True)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_download_without_a_cut_is_complete_with_each_framing(sandbox: RespanSandbox, url: str, framing: Any) -> None:
    sandbox.inject(Fault.cut_download(len(CONTENT), framing=framing))

    assert read_raw(sandbox, url)[1:] == (CONTENT, True)


def test_a_download_that_is_cut_several_times_can_be_continued(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.cut_download(150), times=2)
    content, attempts = b"", 0

    while len(content) < len(CONTENT):
        attempts += 1
        content += read_raw(sandbox, url, Range=f"bytes={len(content)}-")[1]

    assert (content, attempts) == (CONTENT, 3)


def test_a_download_may_be_cut_before_its_first_byte(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.cut_download(0))

    assert read_raw(sandbox, url)[1:] == (b"", False)


def test_a_download_may_be_slow(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.slow_download(bytes_per_second=2 * len(CONTENT)))
    started = time.monotonic()

    assert get(url).content == CONTENT
    assert time.monotonic() - started >= 0.45  # the timers of an event loop may be a little early


def test_a_download_may_have_several_faults_at_once(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault(download=Download(missing_row=2, cut_after=len(ROWS[0]) + 1)))

    assert read_raw(sandbox, url)[1:] == (ROWS[0] + ROWS[2][:1], False)


def test_another_process_injects_faults_of_downloads(sandbox: RespanSandbox, url: str) -> None:
    fault = {"fault": {"download": {"missing_row": 1}}}
    requests.post(f"{sandbox.url}/_sandbox/faults", json=fault, timeout=10)

    assert get(url).content == ROWS[1] + ROWS[2]
