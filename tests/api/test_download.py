"""Downloads that are cut off: they resume or start again, and are never taken for complete."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_respan.api.download import MAX_ATTEMPTS_WITHOUT_PROGRESS, MIN_PROGRESS_BYTES
from airflow_respan.exceptions import RespanTransientError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import RespanSandbox
from tests.api.raw_server import raw_server
from tests.memory import peak_megabytes, reset_peak

CONTENT = bytes(range(256)) * 40
TOTAL = len(CONTENT)

Connect = Callable[..., None]


def head(status: str, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "\r\n"]).encode()


def whole(content: bytes = CONTENT, *, cut: int | None = None, **headers: object) -> bytes:
    """Return a response with the length of the whole content, cut off after so many bytes of it."""
    return head("200 OK", Content_Length=len(content), **headers) + content[:cut]


def rest(start: int, *, cut: int | None = None, content: bytes = CONTENT, **headers: object) -> bytes:
    """Return a partial response from a position on, cut off at another position of the content."""
    fields = {
        "Content_Length": len(content) - start,
        "Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
        **headers,
    }
    return head("206 Partial Content", **fields) + content[start:cut]


class Script:
    """Returns one response after the other, the last one again and again, and records the requests."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.requests: list[bytes] = []

    def __call__(self, request: bytes) -> bytes:
        self.requests.append(request)
        return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]

    @property
    def ranges(self) -> list[str | None]:
        matches = [re.search(rb"(?im)^range: (.*?)\r$", request) for request in self.requests]
        return [match[1].decode() if match else None for match in matches]


@pytest.fixture
def download(connect: Connect, tmp_path: Path) -> Callable[[Script], bytes]:
    """Download from a server that responds by a script, and check that no file but the target is left."""

    def run(script: Script) -> bytes:
        with raw_server(script) as url:
            connect(host=url, password="a-key")
            try:
                return RespanHook().download_file("file-1", tmp_path / "out").read_bytes()
            finally:
                assert {path.name for path in tmp_path.iterdir()} <= {"out"}

    return run


def test_a_download_that_was_cut_resumes_where_it_was_cut(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000, ETag='"a"'), rest(1000, cut=5000, ETag='"a"'), rest(5000, ETag='"a"'))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-", "bytes=5000-"]
    assert b'If-Range: "a"\r\n' in script.requests[1]


def test_a_tag_that_cannot_be_sent_back_is_left_out(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000, ETag='"Zoë"'), rest(1000, ETag='"Zoë"'))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-"]
    assert b"If-Range" not in script.requests[1]


def test_the_unit_of_a_range_may_be_in_capitals(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), rest(1000, Content_Range=f"Bytes 1000-{TOTAL - 1}/{TOTAL}"))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-"]


def test_a_download_without_etag_resumes_if_the_length_is_the_same(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), rest(1000))

    assert download(script) == CONTENT
    assert b"If-Range" not in script.requests[1]


@pytest.mark.parametrize(
    "response",
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
def test_a_response_that_is_not_the_missing_part_is_not_appended(
    download: Callable[[Script], bytes], response: bytes
) -> None:
    script = Script(whole(cut=1000, ETag='"a"'), response, whole(ETag='"b"'))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-", None]


def test_a_partial_response_to_a_complete_request_is_not_used(download: Callable[[Script], bytes]) -> None:
    assert download(Script(rest(0, cut=1000), whole())) == CONTENT


def test_a_complete_response_to_a_range_request_replaces_what_came_before(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), whole())

    assert download(script) == CONTENT


def test_a_content_that_has_become_shorter_replaces_the_longer_one(download: Callable[[Script], bytes]) -> None:
    script = Script(whole(cut=1000), whole(b"short"))

    assert download(script) == b"short"


def chunked(content: bytes, *, end: bytes) -> bytes:
    return head("200 OK", Transfer_Encoding="chunked") + b"%x\r\n%s\r\n" % (len(content), content) + end


def test_a_chunked_content_without_its_last_chunk_is_incomplete(download: Callable[[Script], bytes]) -> None:
    script = Script(chunked(CONTENT[:1000], end=b""), chunked(CONTENT, end=b"0\r\n\r\n"))

    assert download(script) == CONTENT
    assert script.ranges == [None, None]


LINES = b"".join(b'{"custom_id": "row-%d", "n": {"m": [%d]}}\n' % (number, number) for number in range(100))


def close_framed(content: bytes, *, version: str = "1.1", **headers: object) -> bytes:
    """Return a response that ends with its connection only."""
    return head("200 OK", **headers).replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1) + content


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A content that is cut off, and what the service says of its size."""

    cut: bytes
    error: str
    size: object = len(LINES)

    def respond(self, request: bytes, content: bytes) -> bytes:
        if b"/content/" in request:
            return content
        body = json.dumps({"id": "file-1", "object": "file", "bytes": self.size}).encode()
        return head("404 Not Found" if self.size is None else "200 OK", Content_Length=len(body)) + body


CUTS = {
    "length": Cut(cut=whole(LINES, cut=1000), error="No complete response"),
    "chunks without the last one": Cut(
        cut=head("200 OK", Transfer_Encoding="chunked") + b"3e8\r\n" + LINES[:1000] + b"\r\n",
        error="No complete response",
    ),
    "a chunk without its end": Cut(
        cut=head("200 OK", Transfer_Encoding="chunked") + b"3e8\r\n" + LINES[:999], error="No complete response"
    ),
    "nothing": Cut(cut=close_framed(LINES[:1000]), error=f"sent 1000 bytes of content instead of {len(LINES)}"),
    "nothing, HTTP 1.0": Cut(cut=close_framed(LINES[:1000], version="1.0"), error="sent 1000 bytes of content instead"),
    "nothing, no content": Cut(cut=close_framed(b""), error="sent 0 bytes of content instead of"),
    "nothing, a cut between lines": Cut(cut=close_framed(LINES[: LINES.index(b"\n") + 1]), error="sent .. bytes of"),
    "a length that is no number": Cut(cut=close_framed(LINES[:1000], Content_Length="all"), error="sent 1000 bytes of"),
    "a coding without chunks": Cut(
        cut=close_framed(LINES[:1000], Transfer_Encoding="identity"), error="sent 1000 bytes of content instead"
    ),
    "nothing, no size": Cut(cut=close_framed(LINES[:1000]), error="sent content that ends within a line", size=None),
    "nothing, size 0": Cut(cut=close_framed(LINES[:1000]), error="sent content that ends within a line", size=0),
    "nothing, size -1": Cut(cut=close_framed(LINES[:1000]), error="sent content that ends within a line", size=-1),
    "nothing, no size, a cut after an inner object": Cut(
        cut=close_framed(LINES[: LINES.rindex(b"}")]), error="sent content that ends within a line", size=None
    ),
    "nothing, no size, after a byte order mark": Cut(
        cut=close_framed(b"\xef\xbb\xbf\n" + LINES[:1000]), error="sent content that ends within a line", size=None
    ),
    "nothing, no size, a long line": Cut(
        cut=close_framed(LINES + b'{"a": "' + b"x" * 2**21 + b'"}'), error="ends within a line", size=None
    ),
    "nothing, no size, no content": Cut(
        cut=close_framed(b""), error="sent no content, and did not say that there is none", size=None
    ),
}
each_cut = pytest.mark.parametrize("cut", [pytest.param(cut, id=name) for name, cut in CUTS.items()])


@each_cut
def test_reading_a_content_that_is_cut_off_is_an_error(connect: Connect, cut: Cut) -> None:
    with raw_server(lambda request: cut.respond(request, cut.cut)) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match=cut.error):
            list(RespanHook().iter_file_content("file-1"))


@each_cut
def test_a_download_that_is_cut_off_is_repeated(connect: Connect, tmp_path: Path, cut: Cut) -> None:
    script = Script(cut.cut, whole(LINES))
    with raw_server(lambda request: cut.respond(request, script(request) if b"/content/" in request else b"")) as url:
        connect(host=url, password="a-key")

        assert RespanHook().download_file("file-1", tmp_path / "out").read_bytes() == LINES


@pytest.mark.parametrize(
    ("content", "size", "is_certain"),
    [
        (LINES, len(LINES), True),
        (LINES, None, False),
        (LINES, 0, False),
        (LINES.rstrip(), None, False),
        (LINES.replace(b"\n", b"\r\n")[:-1], None, False),
        (b"\xef\xbb\xbf" + LINES, None, False),
        (CONTENT, None, False),
        (b"", 0, True),
    ],
    ids=["size", "no size", "size 0", "no last line end", "half a line end", "byte order mark", "no JSONL", "empty"],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_whole_content_that_ends_with_its_connection_is_taken_and_doubt_is_logged(
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    version: str,
    content: bytes,
    size: int | None,
    is_certain: bool,
) -> None:
    described = Cut(cut=b"", error="", size=size)
    with raw_server(lambda request: described.respond(request, close_framed(content, version=version))) as url:
        connect(host=url, password="a-key")

        assert b"".join(RespanHook().iter_file_content("file-1")) == content

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"Respan did not say how long the content is (download file-1, connection respan_default at {url}). So the "
        f"{len(content)} bytes that arrived may not be all of it."
    ] * (not is_certain)


def test_a_content_without_length_is_compared_with_the_size_of_the_file(connect: Connect, tmp_path: Path) -> None:
    responses = iter([head("200 OK") + CONTENT[:1000], rest(1000)])

    def respond(request: bytes) -> bytes:
        if b"/content/" in request:
            return next(responses)
        body = b'{"id": "file-1", "object": "file", "bytes": %d}' % TOTAL
        return head("200 OK", Content_Length=len(body)) + body

    with raw_server(respond) as url:
        connect(host=url, password="a-key")

        assert RespanHook().download_file("file-1", tmp_path / "out").read_bytes() == CONTENT


def test_a_missing_part_without_length_is_compared_with_the_total(
    download: Callable[[Script], bytes],
) -> None:
    without_length = head("206 Partial Content", Content_Range=f"bytes 1000-{TOTAL - 1}/{TOTAL}") + CONTENT[1000:2000]

    assert download(Script(whole(cut=1000), without_length, rest(2000))) == CONTENT


def test_if_no_size_is_known_the_content_ends_with_the_connection(
    download: Callable[[Script], bytes],
) -> None:
    assert download(Script(head("200 OK") + CONTENT)) == CONTENT


def test_a_download_without_progress_fails_after_several_attempts(connect: Connect, tmp_path: Path) -> None:
    script = Script(whole(cut=1000), rest(1000, cut=1000))
    with raw_server(script) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match=r"^No complete response: .* \(download file-1, "):
            RespanHook().download_file("file-1", tmp_path / "out")

    assert len(script.requests) == MAX_ATTEMPTS_WITHOUT_PROGRESS
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_the_size_of_the_file_are_an_error(connect: Connect, tmp_path: Path) -> None:
    """If the response of the content has no length, the size of the file is the only known length."""

    def respond(request: bytes) -> bytes:
        body = b'{"id": "file-1", "bytes": 9}'
        description = head("200 OK", Content_Length=len(body)) + body
        return head("200 OK") + CONTENT if b"/content/" in request else description

    with raw_server(respond) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match=f"sent {TOTAL} bytes of content instead of 9"):
            RespanHook().download_file("file-1", tmp_path / "out")


def test_a_download_with_progress_is_retried_without_limit(connect: Connect, tmp_path: Path) -> None:
    content = bytes(MIN_PROGRESS_BYTES) * (MAX_ATTEMPTS_WITHOUT_PROGRESS + 2)

    def respond(request: bytes) -> bytes:
        match = re.search(rb"(?i)\r\nrange: bytes=(\d+)-", request)
        start = int(match[1]) if match else 0
        end = start + MIN_PROGRESS_BYTES
        return rest(start, cut=end, content=content) if start else whole(content, cut=end)

    with raw_server(respond) as url:
        connect(host=url, password="a-key")

        assert RespanHook().download_file("file-1", tmp_path / "out").read_bytes() == content


def test_a_download_overwrites_a_longer_old_content(connected: RespanSandbox, tmp_path: Path) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(CONTENT)).id
    with (tmp_path / "out").open("w+b") as file:
        file.write(b"an old content that is longer than the new one" * 1000)

        hook.download_into(file_id, file)

    assert (tmp_path / "out").read_bytes() == CONTENT


def test_the_error_for_a_file_that_cannot_be_written_names_it(connected: RespanSandbox, tmp_path: Path) -> None:
    hook = RespanHook()
    file_id = hook.upload_file(io.BytesIO(CONTENT)).id

    with pytest.raises(FileNotFoundError, match=r"'.*no-such-folder/.*out.*'"):
        hook.download_file(file_id, tmp_path / "no-such-folder" / "out")


@pytest.mark.parametrize(
    "encoding",
    ["identity", "Identity", "", "  ", "aws-chunked", "UTF-8", "utf8", "none", "binary", "aws-chunked, identity"],
)
@pytest.mark.parametrize("name", ["Content-Encoding", "CONTENT-ENCODING"])
def test_an_encoding_that_is_none_changes_nothing(
    download: Callable[[Script], bytes], name: str, encoding: str
) -> None:
    script = Script(whole(cut=1000, **{name: encoding}), rest(1000, **{name: encoding}))

    assert download(script) == CONTENT
    assert script.ranges == [None, "bytes=1000-"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "identity, compress", "klingon"])
def test_an_encoding_other_than_gzip_is_an_error_that_names_it(connect: Connect, encoding: str) -> None:
    with raw_server(whole(Content_Encoding=encoding)) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError) as failed:
            list(RespanHook().iter_file_content("file-1"))

    assert str(failed.value) == (
        f"Respan sent the content in the encoding {encoding.removeprefix('identity, ')}, which was not requested "
        f"(download file-1, connection respan_default at {url}). This may be temporary."
    )


GZIP = gzip.compress(LINES)
MEMBERS = gzip.compress(LINES[:1000]) + gzip.compress(b"") + gzip.compress(LINES[1000:])


def chunks(content: bytes) -> bytes:
    """Return a response in chunks of seven bytes."""
    pieces = [content[start : start + 7] for start in range(0, len(content), 7)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head("200 OK", Transfer_Encoding="chunked", Content_Encoding="gzip") + body + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "content"),
    [
        (whole(GZIP, Content_Encoding="gzip"), LINES),
        (whole(GZIP, Content_Encoding="X-GZip"), LINES),
        (whole(GZIP, Content_Encoding="gzip, aws-chunked"), LINES),
        (whole(MEMBERS, Content_Encoding="gzip"), LINES),
        (whole(gzip.compress(b""), Content_Encoding="gzip"), b""),
        (whole(b"", Content_Encoding="gzip"), b""),
        (chunks(GZIP), LINES),
        (close_framed(GZIP, Content_Encoding="gzip"), LINES),
        (close_framed(GZIP, version="1.0", Content_Encoding="gzip"), LINES),
    ],
    ids=["length", "old name", "two names", "members", "empty", "no content", "chunks", "close", "HTTP 1.0"],
)
def test_gzip_that_reaches_its_end_is_decoded(
    download: Callable[[Script], bytes], response: bytes, content: bytes
) -> None:
    script = Script(response)

    assert download(script) == content
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (whole(GZIP, cut=100, Content_Encoding="gzip"), "No complete response"),
        (close_framed(GZIP[:-1], Content_Encoding="gzip"), "sent gzip content that ends too early"),
        (close_framed(GZIP[:100], version="1.0", Content_Encoding="gzip"), "sent gzip content that ends too early"),
        (close_framed(b"", Content_Encoding="gzip"), "sent gzip content that ends too early"),
        (close_framed(MEMBERS[:-9], Content_Encoding="gzip"), "sent gzip content that ends too early"),
        (whole(GZIP[:-8] + bytes(8), Content_Encoding="gzip"), "sent gzip content that is damaged"),
        (whole(GZIP + b"more", Content_Encoding="gzip"), "sent gzip content that is damaged"),
        (whole(LINES, Content_Encoding="gzip"), "sent gzip content that is damaged"),
    ],
    ids=["length", "one byte", "HTTP 1.0", "nothing", "last member", "checksum", "more", "no gzip"],
)
def test_gzip_that_is_cut_off_or_damaged_is_repeated_from_the_beginning(
    connect: Connect, tmp_path: Path, response: bytes, error: str
) -> None:
    with raw_server(response) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match=error):
            list(RespanHook().iter_file_content("file-1"))

    script = Script(response, whole(GZIP, Content_Encoding="gzip"))
    with raw_server(script) as url:
        connect(host=url, password="a-key")

        assert RespanHook().download_file("file-1", tmp_path / "out").read_bytes() == LINES
    assert script.ranges == [None, None]


def test_gzip_that_expands_too_much_is_an_error_and_needs_little_memory(connect: Connect, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(2**27))
    before = reset_peak()
    with raw_server(whole(bomb, Content_Encoding="gzip")) as url:
        connect(host=url, password="a-key")

        with pytest.raises(RespanTransientError, match="sent gzip content that expands to more than 200 times its"):
            for _piece in RespanHook().iter_file_content("file-1"):
                pass

    assert peak_megabytes() - before < 32


def test_a_content_that_a_proxy_has_changed_is_taken(download: Callable[[Script], bytes]) -> None:
    assert download(Script(head("203 Non-Authoritative Information", Content_Length=TOTAL) + CONTENT)) == CONTENT


@pytest.mark.parametrize(("size", "error"), [(0, None), (None, None), (7, "sent 0 bytes of content instead of 7")])
def test_a_204_is_an_empty_content_unless_the_file_has_a_size(
    connect: Connect, size: int | None, error: str | None
) -> None:
    described = Cut(cut=b"", error="", size=size)
    with raw_server(lambda request: described.respond(request, head("204 No Content"))) as url:
        connect(host=url, password="a-key")
        expected = pytest.raises(RespanTransientError, match=error) if error else nullcontext()

        with expected:
            assert list(RespanHook().iter_file_content("file-1")) == []
