"""What the content of a file may be like: whole, a range of it, and all that a bad service makes of it."""

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
    """Where a file of three rows is."""
    answer = requests.post(
        f"{sandbox.url}/api/files/",
        headers={"Authorization": f"Bearer {sandbox.api_key}"},
        files={"file": ("in.jsonl", CONTENT)},
        data={"purpose": "batch"},
        timeout=10,
    )
    return f"{sandbox.url}/api/files/{answer.json()['id']}/content/"


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={"Authorization": "Bearer sandbox-key", **headers}, timeout=10)


@pytest.mark.parametrize("fault", [None, Fault.cut_download(10**6), Fault.missing_row(2)])
@pytest.mark.parametrize(
    ("asked", "part"), [("bytes=10-", slice(10, None)), ("bytes=10-19", slice(10, 20)), ("bytes=-5", slice(-5, None))]
)
def test_a_range_can_be_asked_for(
    sandbox: RespanSandbox, url: str, fault: Fault | None, asked: str, part: slice
) -> None:
    content = CONTENT
    if fault:
        sandbox.inject(fault)
        content = ROWS[0] + ROWS[2] if fault == Fault.missing_row(2) else CONTENT

    answer = get(url, Range=asked)

    start, stop, _step = part.indices(len(content))
    assert (answer.status_code, answer.content) == (206, content[part])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert sandbox.requests[-1].status == 206


@pytest.mark.parametrize("fault", [None, Fault.cut_download(10**6)])
def test_a_range_beyond_the_end_is_refused(sandbox: RespanSandbox, url: str, fault: Fault | None) -> None:
    if fault:
        sandbox.inject(fault)

    answer = get(url, Range=f"bytes={len(CONTENT)}-")

    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    assert sandbox.requests[-1].status == 416


def test_a_service_may_not_know_of_ranges(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.no_ranges())

    answer = get(url, Range="bytes=10-")

    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "Content-Range" not in answer.headers


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
    get(url.replace("/content/", "/"))  # which it does not hit

    assert [get(url).content for _ in range(2)] == [b"".join(rows), CONTENT]


def test_a_row_that_is_not_there_cannot_be_spoiled(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.missing_row(4))

    answer = get(url)

    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "The sandbox was told to spoil row 4 of a file that has 3."


def read_raw(sandbox: RespanSandbox, url: str, **headers: str) -> tuple[dict[str, str], bytes, bool]:
    """Headers, body, and whether the body seemed whole."""
    connection = http.client.HTTPConnection(sandbox.host, sandbox.port, timeout=10)
    connection.request("GET", url, headers={"Authorization": "Bearer sandbox-key", **headers})
    answer = connection.getresponse()
    try:
        return dict(answer.headers), answer.read(), True
    except http.client.IncompleteRead as cut:
        return dict(answer.headers), cut.partial, False
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("framing", "header", "seems_whole"),
    [
        ("length", ("Content-Length", str(len(CONTENT))), False),
        ("chunked", ("Transfer-Encoding", "chunked"), False),
        ("close", ("Connection", "close"), True),
    ],
)
def test_a_download_is_cut_once_at_the_byte(
    sandbox: RespanSandbox, url: str, framing: Any, header: tuple[str, str], seems_whole: bool
) -> None:
    sandbox.inject(Fault.cut_download(100, framing=framing))

    headers, body, whole = read_raw(sandbox, url)

    assert (body, whole) == (CONTENT[:100], seems_whole)
    assert headers[header[0]] == header[1]
    assert headers.keys() & {"Content-Length", "Transfer-Encoding"} == {header[0]} - {"Connection"}
    assert sandbox.requests[-1].status is None
    assert read_raw(sandbox, url)[1:] == (CONTENT, True)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_download_that_is_not_cut_is_whole_however_it_is_framed(
    sandbox: RespanSandbox, url: str, framing: Any
) -> None:
    sandbox.inject(Fault.cut_download(len(CONTENT), framing=framing))

    assert read_raw(sandbox, url)[1:] == (CONTENT, True)


def test_a_download_that_is_cut_again_and_again_can_be_resumed(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.cut_download(150), times=2)
    content, tries = b"", 0

    while len(content) < len(CONTENT):
        tries += 1
        content += read_raw(sandbox, url, Range=f"bytes={len(content)}-")[1]

    assert (content, tries) == (CONTENT, 3)


def test_a_download_may_be_cut_before_its_first_byte(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.cut_download(0))

    assert read_raw(sandbox, url)[1:] == (b"", False)


def test_a_download_may_be_slow(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault.slow_download(bytes_per_second=2 * len(CONTENT)))
    begun = time.monotonic()

    assert get(url).content == CONTENT
    assert time.monotonic() - begun >= 0.45  # an event loop's timers may be early by a little


def test_a_download_may_be_spoiled_in_several_ways_at_once(sandbox: RespanSandbox, url: str) -> None:
    sandbox.inject(Fault(download=Download(missing_row=2, cut_after=len(ROWS[0]) + 1)))

    assert read_raw(sandbox, url)[1:] == (ROWS[0] + ROWS[2][:1], False)


def test_downloads_are_spoiled_from_another_process_too(sandbox: RespanSandbox, url: str) -> None:
    fault = {"fault": {"download": {"missing_row": 1}}}
    requests.post(f"{sandbox.url}/_sandbox/faults", json=fault, timeout=10)

    assert get(url).content == ROWS[1] + ROWS[2]
