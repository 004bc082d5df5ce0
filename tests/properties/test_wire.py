"""Whatever bytes a server sends, both clients return a batch or raise a RespanError in time, and leave nothing open."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_respan.api.batch import Batch
from airflow_respan.api.connection import RespanConnection
from airflow_respan.exceptions import RespanError
from tests.api.raw_server import raw_server
from tests.properties import strategies
from tests.properties.strategies import BATCH_ID, KEY

BATCH = strategies.as_json(strategies.SEED)
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BATCH)
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + LENGTH + BATCH,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BATCH) + BATCH + b"\r\n0\r\nX-A: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + LENGTH + BATCH,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n" + LENGTH + BATCH,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + BATCH,
    b"HTTP/1.1 302 Found\r\nLocation: /api/v1/batches/batch_abc123\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: Thu, 01 Jan 2026 12:01:30 GMT\r\nSet-Cookie: a=b; path=/\r\n\r\n",
]
LINES = [
    b"Content-Length: -5",
    b"Content-Length: 1, 2",
    b"Content-Length: " + b"9" * 5000,
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Encoding: deflate",
    b"Content-Encoding: br, zstd, gzip",
    b"Location: \xff\xfe",
    b"Location: http://[",
    b"Set-Cookie: \xff=\0; expires=never",
    b"Retry-After: \xff",
    b"Connection: upgrade",
    b" folded",
    b"no colon",
    b"HTTP/9.9 200",
    b"HTTP/1.1 -20 No",
    b"-5",
    b"ffffffffffffffffff",
    b"X-A: " + b"a" * 70_000,
    b"\r\n".join([b"X-A: a"] * 200),
]


def _with_line(response: bytes, line: bytes, position: int) -> bytes:
    lines = response.split(b"\r\n")
    return b"\r\n".join([*lines[:position], line, *lines[position:]])


responses = st.one_of(
    st.binary(max_size=100),
    strategies.mutated(
        st.one_of(
            st.sampled_from(RESPONSES),
            st.builds(_with_line, st.sampled_from(RESPONSES), st.sampled_from(LINES), st.integers(0, 5)),
        )
    ),
    st.builds(
        lambda status, body: b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body),
        strategies.http_statuses,
        strategies.bodies,
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(responses)
def test_any_response_gives_a_batch_or_a_respan_error_in_time(
    get_batch_once: Callable[[RespanConnection], Batch], response: bytes
) -> None:
    with raw_server(response) as url:
        connection = RespanConnection(conn_id="respan_default", api_key=KEY, base_url=url, timeout=2)
        started_at = time.monotonic()
        try:
            assert get_batch_once(connection).id == BATCH_ID
        except RespanError as error:
            message = str(error)
            assert f" (retrieve batch_abc123, connection respan_default at {url}). " in message
            assert len(message) < 1500
            assert message.isprintable()
            assert KEY not in message
        assert time.monotonic() - started_at < 10

    watchdogs = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(watchdog.finished.is_set() for watchdog in watchdogs)


def test_no_file_stays_open_after_any_response(
    get_batch_once: Callable[[RespanConnection], Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps each log record, and those of urllib3 about odd headers keep a traceback, and so the socket.
    monkeypatch.setattr(logging.getLogger("urllib3.connection"), "disabled", True)

    def get_batch(response: bytes) -> None:
        with raw_server(response) as url, suppress(RespanError):
            get_batch_once(RespanConnection(conn_id="respan_default", api_key=KEY, base_url=url, timeout=2))

    def open_files() -> int:
        gc.collect()
        return len(list(Path("/dev/fd").iterdir()))

    get_batch(RESPONSES[0])
    before = open_files()
    for response in RESPONSES:
        for line in LINES:
            get_batch(_with_line(response, line, position=1))

    deadline = time.monotonic() + 10  # the threads of the server may still have to close their sockets
    while open_files() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
