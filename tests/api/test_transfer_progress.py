"""When a log line about a transfer is due, by the clock of the test."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_respan.api.multipart import CHUNK_BYTES
from airflow_respan.api.transfer_progress import TransferProgress, format_bytes
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import RespanSandbox
from tests.api.raw_server import raw_server

SIZE = r"(\d+\.\d [kM]B|\d+ bytes)"
TOTAL = 200_000_000


def lines(progress: TransferProgress, *, rate: float, seconds: range, total: int | None = TOTAL) -> dict[int, str]:
    """Return the lines of a transfer with a rate in bytes a second, by the second in which each is due."""
    results = {second: progress.line(int(second * rate), total, now=1000.0 + second) for second in seconds}
    return {second: line for second, line in results.items() if line}


def test_a_short_transfer_logs_nothing() -> None:
    progress = TransferProgress(what="download file 'file-1'", now=1000.0)

    assert lines(progress, rate=TOTAL / 9, seconds=range(10)) == {}
    assert progress.final_line(TOTAL, now=1009.0) is None


def test_each_tenth_is_logged() -> None:
    progress = TransferProgress(what="download file 'file-1'", now=1000.0)

    assert lines(progress, rate=TOTAL / 200, seconds=range(200)) == {
        second: f"Download file 'file-1': {second}.0 MB of 200.0 MB ({second // 2}%), 1.0 MB/s"
        for second in range(20, 200, 20)
    }
    assert progress.final_line(TOTAL, now=1200.0) == "Download file 'file-1': 200.0 MB in 200 seconds, 1.0 MB/s"


def test_tenths_of_a_fast_transfer_are_logged_at_most_every_ten_seconds() -> None:
    progress = TransferProgress(what="upload 'questions.jsonl'", now=1000.0)

    assert list(lines(progress, rate=TOTAL / 40, seconds=range(40))) == [10, 20, 30]


def test_a_very_slow_transfer_is_logged_once_a_minute() -> None:
    progress = TransferProgress(what="download file 'file-1'", now=1000.0)

    assert list(lines(progress, rate=1000, seconds=range(200))) == [60, 120, 180]


def test_a_transfer_of_unknown_size_is_logged_without_a_percentage() -> None:
    progress = TransferProgress(what="download file 'file-1'", now=1000.0)

    assert lines(progress, rate=1e6, seconds=range(70), total=None) == {60: "Download file 'file-1': 60.0 MB, 1.0 MB/s"}


class SlowFile(io.BytesIO):
    """A file on a slow disk."""

    def read(self, size: int | None = -1) -> bytes:
        if size:
            time.sleep(0.5)
        return super().read(size)


def test_the_progress_of_a_long_transfer_is_logged(
    connected: RespanSandbox, connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "airflow_respan.api.client")
    with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n", b"\n", pause_seconds=0.5) as url,
        ThreadPoolExecutor() as threads,
    ):
        connect(conn_id="slow", host=url, password="a-key")
        transfers = [
            threads.submit(RespanHook("slow").download_into, "file-1", io.BytesIO()),
            threads.submit(RespanHook().upload_file, SlowFile(bytes(24 * CHUNK_BYTES))),
        ]
        for transfer in transfers:
            transfer.result()

    for what in ("Download file-1", "Upload 'batch.jsonl'"):
        messages = [message for message in caplog.messages if message.startswith(what)]
        assert re.search(rf": {SIZE} of {SIZE} \(\d+%\), {SIZE}/s$", messages[0])
        assert re.search(rf": {SIZE} in \d+ seconds, {SIZE}/s$", messages[-1])


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (100_000, "0.1 MB"), (2e8, "200.0 MB")]
)
def test_bytes_are_written_with_a_suitable_unit(count: float, text: str) -> None:
    assert format_bytes(count) == text
