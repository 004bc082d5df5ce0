"""Downloads that are cut: they go on or begin anew, and never pass as whole."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_respan.api.download import MAX_ATTEMPTS_WITHOUT_PROGRESS, MIN_PROGRESS_BYTES
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import RespanSandbox
from tests.api.raw_server import raw_server

CONTENT = bytes(range(256)) * 40
TOTAL = len(CONTENT)

Connect = Callable[..., None]


def head(status: str, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "\r\n"]).encode()


def whole(content: bytes = CONTENT, *, cut: int | None = None, **headers: object) -> bytes:
    """All of it promised, and perhaps not all of it sent."""
    return head("200 OK", Content_Length=len(content), **headers) + content[:cut]


def rest(start: int, *, cut: int | None = None, content: bytes = CONTENT, **headers: object) -> bytes:
    answer = {
        "Content_Length": len(content) - start,
        "Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
        **headers,
    }
    return head("206 Partial Content", **answer) + content[start:cut]


class Script:
    """Answers one request after the other, the last again and again; the requests are kept."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    def __call__(self, request: bytes) -> bytes:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def ranges(self) -> list[str | None]:
        found = [re.search(rb"(?im)^range: (.*?)\r$", request) for request in self.requests]
        return [match[1].decode() if match else None for match in found]


@pytest.fixture
def download(connect: Connect, tmp_path: Path) -> Callable[[Script], bytes]:
    """Download from a service that answers by a script; nothing but the target may be left."""

    def run(script: Script) -> bytes:
        with raw_server(script) as url:
            connect(host=url, password="a-key")
            try:
                return RespanHook().download_file("file-1", tmp_path / "out").read_bytes()
            finally:
                assert {path.name for path in tmp_path.iterdir()} <= {"out"}

    return run


def test_a_cut_download_goes_on_where_it_was(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000, ETag='"a"'), rest(1000, cut=5000, ETag='"a"'), rest(5000, ETag='"a"'))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-", "bytes=5000-"]
    assert b'If-Range: "a"\r\n' in script.requests[1]


def test_without_a_tag_the_length_has_to_be_the_same(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), rest(1000))

    assert download(script) == CONTENT
    assert b"If-Range" not in script.requests[1]


@pytest.mark.parametrize(
    "answer",
    [
        rest(1000, ETag='"b"'),
        rest(999, ETag='"a"'),
        rest(1000, content=CONTENT + b"!", ETag='"a"'),
        rest(1000, Content_Range=f"bytes 1000-{TOTAL - 1}/*", ETag='"a"'),
        rest(1000, Content_Range="lines 1-2/3", ETag='"a"'),
        head("206 Partial Content", Content_Length=TOTAL - 1000) + CONTENT[1000:],
        head("206 Partial Content", Content_Length=3, Content_Type="multipart/byteranges; boundary=x") + b"--x",
        head("416 Range Not Satisfiable", Content_Range="bytes */7", Content_Length=0),
    ],
    ids=["other tag", "other place", "other length", "no length", "other unit", "no range", "multipart", "416"],
)
def test_what_is_not_the_rest_is_not_appended(download: Callable[[Script], bytes], answer: bytes) -> None:
    script = Script(whole(cut=1000, ETag='"a"'), answer, whole(ETag='"b"'))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-", None]


def test_a_part_that_nobody_asked_for_is_not_the_whole(download: Callable[[Script], bytes]) -> None:
    assert download(Script(rest(0, cut=1000), whole())) == CONTENT


def test_a_service_that_ignores_the_range_is_read_from_the_start(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), whole())

    assert download(script) == CONTENT


def test_a_content_that_has_become_shorter_replaces_what_came_before(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), whole(b"short"))

    assert download(script) == b"short"


def chunked(content: bytes, *, end: bytes) -> bytes:
    return head("200 OK", Transfer_Encoding="chunked") + b"%x\r\n%s\r\n" % (len(content), content) + end


def test_a_chunked_content_without_its_end_is_not_whole(download: Callable[[Script], bytes]) -> None:
    script = Script(chunked(CONTENT[:1000], end=b""), chunked(CONTENT, end=b"0\r\n\r\n"))

    assert download(script) == CONTENT
    assert script.ranges == [None, None]


def test_a_content_that_ends_with_the_connection_is_measured_against_the_files_size(
    connect: Connect, tmp_path: Path
) -> None:
    answers = iter([head("200 OK") + CONTENT[:1000], rest(1000)])

    def answer(request: bytes) -> bytes:
        if b"/content/" in request:
            return next(answers)
        body = b'{"id": "file-1", "object": "file", "bytes": %d}' % TOTAL
        return head("200 OK", Content_Length=len(body)) + body

    with raw_server(answer) as url:
        connect(host=url, password="a-key")

        assert RespanHook().download_file("file-1", tmp_path / "out").read_bytes() == CONTENT


def test_a_rest_that_ends_with_the_connection_is_measured_against_the_whole(
    download: Callable[[Script], bytes],
) -> None:
    endless = head("206 Partial Content", Content_Range=f"bytes 1000-{TOTAL - 1}/{TOTAL}") + CONTENT[1000:2000]

    assert download(Script(whole(cut=1000), endless, rest(2000))) == CONTENT


def test_where_nobody_knows_the_size_the_end_of_the_connection_is_the_end(
    download: Callable[[Script], bytes],
) -> None:
    assert download(Script(head("200 OK") + CONTENT)) == CONTENT


def test_a_download_that_gets_nowhere_is_given_up(connect: Connect, tmp_path: Path) -> None:
    script = Script(whole(cut=1000), rest(1000, cut=1000))
    with raw_server(script) as url:
        connect(host=url, password="a-key")

        with pytest.raises(
            RespanTransientError, match=r"Asked to download file 'file-1', Respan .* sent no complete response"
        ):
            RespanHook().download_file("file-1", tmp_path / "out")

    assert len(script.requests) == MAX_ATTEMPTS_WITHOUT_PROGRESS
    assert list(tmp_path.iterdir()) == []


def test_more_than_was_promised_is_not_believed(connect: Connect, tmp_path: Path) -> None:
    """The size of a file may be the only promise there is."""

    def answer(request: bytes) -> bytes:
        body = b'{"id": "file-1", "bytes": 9}'
        promised = head("200 OK", Content_Length=len(body)) + body
        return head("200 OK") + CONTENT if b"/content/" in request else promised

    with raw_server(answer) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match=f"sent {TOTAL} bytes of content instead of 9"):
            RespanHook().download_file("file-1", tmp_path / "out")


def test_as_long_as_it_gets_on_it_is_not_given_up(connect: Connect, tmp_path: Path) -> None:
    content = bytes(MIN_PROGRESS_BYTES) * (MAX_ATTEMPTS_WITHOUT_PROGRESS + 2)

    def answer(request: bytes) -> bytes:
        found = re.search(rb"(?i)\r\nrange: bytes=(\d+)-", request)
        start = int(found[1]) if found else 0
        end = start + MIN_PROGRESS_BYTES
        return rest(start, cut=end, content=content) if start else whole(content, cut=end)

    with raw_server(answer) as url:
        connect(host=url, password="a-key")

        assert RespanHook().download_file("file-1", tmp_path / "out").read_bytes() == content


def test_the_sandbox_can_be_asked_for_the_rest(connected: RespanSandbox, tmp_path: Path) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(CONTENT)).id
    with (tmp_path / "out").open("w+b") as file:
        file.write(b"something else, and more of it than the content" * 1000)

        hook.download_into(file_id, file)

    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_file_that_cannot_be_written_is_named(connected: RespanSandbox, tmp_path: Path) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(CONTENT)).id

    with pytest.raises(FileNotFoundError, match=r"'.*no-such-folder/.*out.*'"):
        hook.download_file(file_id, tmp_path / "no-such-folder" / "out")
