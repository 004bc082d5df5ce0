"""Any bytes whatever, over a real socket, to both clients: a batch or an error of ours, in time, no watchdog left."""

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

BATCH = strategies.written(strategies.SEED)
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BATCH)
ANSWERS = [
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


def _with_line(answer: bytes, line: bytes, place: int) -> bytes:
    lines = answer.split(b"\r\n")
    return b"\r\n".join([*lines[:place], line, *lines[place:]])


answers = st.one_of(
    st.binary(max_size=100),
    strategies.mutated(
        st.one_of(
            st.sampled_from(ANSWERS),
            st.builds(_with_line, st.sampled_from(ANSWERS), st.sampled_from(LINES), st.integers(0, 5)),
        )
    ),
    st.builds(
        lambda status, body: b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body),
        strategies.http_statuses,
        strategies.bodies,
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers)
def test_whatever_comes_is_a_batch_or_an_error_of_ours_in_time(
    get_batch_once: Callable[[RespanConnection], Batch], answer: bytes
) -> None:
    with raw_server(answer) as url:
        connection = RespanConnection(conn_id="respan_default", api_key=KEY, base_url=url, timeout=2)
        began = time.monotonic()
        try:
            assert get_batch_once(connection).id == BATCH_ID
        except RespanError as error:
            message = str(error)
            assert message.startswith(
                f"Asked to retrieve batch 'batch_abc123', Respan ({url}, connection 'respan_default') "
            )
            assert len(message) < 1500
            assert message.isprintable()
            assert KEY not in message
        assert time.monotonic() - began < 10

    watchdogs = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(watchdog.finished.is_set() for watchdog in watchdogs)


def test_nothing_stays_open_whatever_came(
    get_batch_once: Callable[[RespanConnection], Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps each record, and urllib3's about odd headers hold a traceback, and so the socket.
    monkeypatch.setattr(logging.getLogger("urllib3.connection"), "disabled", True)

    def ask(answer: bytes) -> None:
        with raw_server(answer) as url, suppress(RespanError):
            get_batch_once(RespanConnection(conn_id="respan_default", api_key=KEY, base_url=url, timeout=2))

    def open_files() -> int:
        gc.collect()
        return len(list(Path("/dev/fd").iterdir()))

    ask(ANSWERS[0])
    before = open_files()
    for answer in ANSWERS:
        for line in LINES:
            ask(_with_line(answer, line, place=1))

    patience = time.monotonic() + 10  # the server's own threads may have to hang up yet
    while open_files() > before:
        assert time.monotonic() < patience
        time.sleep(0.01)
