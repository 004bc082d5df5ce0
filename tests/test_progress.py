"""When a line about a transfer is due, told by the clock of the test."""

from __future__ import annotations

from airflow_respan.progress import Progress

TOTAL = 200_000_000


def lines(progress: Progress, *, rate: float, seconds: range, total: int | None = TOTAL) -> dict[int, str]:
    """All lines of a transfer at so many bytes a second, by their time."""
    said = {second: progress.line(int(second * rate), total, now=1000.0 + second) for second in seconds}
    return {second: line for second, line in said.items() if line}


def test_a_short_transfer_says_nothing() -> None:
    progress = Progress(what="download file 'file-1'", now=1000.0)

    assert lines(progress, rate=TOTAL / 9, seconds=range(10)) == {}
    assert progress.last_line(TOTAL, now=1009.0) is None


def test_a_line_comes_with_each_tenth() -> None:
    progress = Progress(what="download file 'file-1'", now=1000.0)

    assert lines(progress, rate=TOTAL / 200, seconds=range(200)) == {
        second: f"Download file 'file-1': {second}.0 MB of 200.0 MB ({second // 2}%), 1.0 MB/s"
        for second in range(20, 200, 20)
    }
    assert progress.last_line(TOTAL, now=1200.0) == "Download file 'file-1': 200.0 MB in 200 seconds, 1.0 MB/s"


def test_fast_tenths_share_a_line() -> None:
    progress = Progress(what="upload 'questions.jsonl'", now=1000.0)

    assert list(lines(progress, rate=TOTAL / 40, seconds=range(40))) == [10, 20, 30]


def test_a_very_slow_transfer_says_that_it_is_alive() -> None:
    progress = Progress(what="download file 'file-1'", now=1000.0)

    assert list(lines(progress, rate=1000, seconds=range(200))) == [60, 120, 180]


def test_without_a_total_there_is_no_share() -> None:
    progress = Progress(what="download file 'file-1'", now=1000.0)

    assert lines(progress, rate=1e6, seconds=range(70), total=None) == {60: "Download file 'file-1': 60.0 MB, 1.0 MB/s"}
