"""The input of a batch: what is refused, what is copied, and how much memory it takes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.exceptions import RespanInputError
from airflow_respan.jsonl import read_lines
from airflow_respan.submission.input import MAX_BYTES, CheckedInput, check_and_copy
from tests.conftest import environment_without_coverage
from tests.operators.modes import request

ENDPOINT = "/v1/chat/completions"
REFUSED = "The input is not what a batch for /v1/chat/completions can be made of, so nothing was uploaded or created: "


def line(number: int, **fields: Any) -> bytes:
    return json.dumps(request(number, **fields)).encode() + b"\n"


def check(requests: Iterable[Any]) -> tuple[CheckedInput, bytes]:
    target = io.BytesIO()
    numbered = ((number, r.rstrip(b"\n") if isinstance(r, bytes) else r) for number, r in enumerate(requests, start=1))
    return check_and_copy(numbered, target, endpoint=ENDPOINT), target.getvalue()


def check_file(content: bytes) -> tuple[CheckedInput, bytes]:
    target = io.BytesIO()
    return check_and_copy(read_lines(io.BytesIO(content).read), target, endpoint=ENDPOINT), target.getvalue()


def error_of(requests: Iterable[Any]) -> str:
    with pytest.raises(RespanInputError) as refused:
        check(requests)
    return str(refused.value).removeprefix(REFUSED).removesuffix(".")


def test_lines_are_copied_byte_for_byte_without_blank_lines_and_byte_order_mark() -> None:
    content = b"\xef\xbb\xbf" + b"\n".join([b"", line(1).rstrip(b"\n") + b"\r", b" \t\r", b" " + line(2).rstrip()])

    checked, copied = check_file(content)

    assert copied == line(1).rstrip(b"\n") + b"\r\n" + b" " + line(2)
    assert (checked.count, checked.size) == (2, len(copied))


def test_a_list_and_a_file_of_the_same_requests_are_the_same_input() -> None:
    requests = [request(1), request(2, body={"model": "m", "price": 1.50, "words": ["größer", "\U0001f600"]})]

    from_list, copied = check(requests)
    from_lines, _ = check(json.dumps(each, indent=None, sort_keys=True).encode() for each in requests)

    assert from_list.digest == from_lines.digest
    assert [json.loads(each) for each in copied.splitlines()] == requests


def test_another_order_is_another_input() -> None:
    assert check([line(1), line(2)])[0].digest != check([line(2), line(1)])[0].digest


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (b'{"custom_id": "r"', "not JSON (Expecting ',' delimiter, column 18)"),
        (b'{"price": NaN}', "not JSON (NaN is not JSON)"),
        (b"\xef\xbb\xbf{}", "not JSON (Unexpected UTF-8 BOM (decode using utf-8-sig), column 1)"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (request(1, body={"a": "\ud800"}), "half a character (a lone surrogate), which UTF-8 cannot encode"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "not JSON that can be read (a number with too many digits)"),
        (request(1, body={"a": float("nan")}), "a value that JSON cannot encode (ValueError)"),
        (request(1, body={"a": {1, 2}}), "a value that JSON cannot encode (TypeError)"),
        (b"[]", "not a JSON object"),
        (line(1, custom_id=None), "'custom_id' is missing, or not a text"),
        (line(1, custom_id=7), "'custom_id' is missing, or not a text"),
        (line(1, custom_id=" "), "'custom_id' is missing, or not a text"),
        (line(1, method="get"), "'method' is not 'POST'"),
        (line(1, url=None), "'url' is not a text, the batch's endpoint '/v1/chat/completions'"),
        (line(1, url="/v1/x" * 99), f"'url' is '{('/v1/x' * 20)}', the batch's endpoint '/v1/chat/completions'"),
        (line(1, body="text"), "'body' is missing, or not a JSON object"),
        (line(1, body=[]), "'body' is missing, or not a JSON object"),
    ],
)
def test_an_invalid_line_is_named_with_its_reason(wrong: bytes | dict[str, Any], reason: str) -> None:
    assert error_of([line(0), line(2), wrong, line(3)]) == f"line 3: {reason}"


def test_the_first_ten_problems_are_named_and_the_others_are_counted() -> None:
    message = error_of(line(number, method="GET") for number in range(25))

    expected = "; ".join(f"line {number}: 'method' is not 'POST'" for number in range(1, 11))
    assert message == f"{expected}; and 15 more problems"


@pytest.mark.parametrize("nothing", [b"", b"\n  \n"])
def test_an_input_without_a_request_is_refused(nothing: bytes) -> None:
    with pytest.raises(RespanInputError, match="there is no request in it"):
        check_file(nothing)


def test_fifty_thousand_requests_are_accepted_and_one_more_is_refused() -> None:
    assert check(line(number) for number in range(50_000))[0].count == 50_000
    assert error_of(line(number) for number in range(50_002)) == (
        "line 50001: a batch has at most 50,000 requests, and this is one more; the rest was not checked"
    )


def test_a_duplicate_id_far_down_names_both_lines() -> None:
    lines = [line(number) for number in range(1, 50_001)]
    lines[49_998] = line(17)

    assert error_of(lines) == "line 49999: custom_id 'r-17' is also that of line 17"


def large(size: int, *, count: int = 50_000) -> Iterator[bytes]:
    """Yield lines of so many bytes in total."""
    each = size // count
    for number in range(count):
        bare = len(line(number, body={"model": "m", "pad": ""}))
        length = each if number < count - 1 else size - each * (count - 1)
        yield line(number, body={"model": "m", "pad": "x" * (length - bare)})


def test_two_hundred_megabytes_are_accepted_and_one_byte_more_is_refused() -> None:
    class Nowhere(io.BytesIO):
        def write(self, data: Any) -> int:
            return len(data)

    lines = read_lines(io.BytesIO(b"".join(large(MAX_BYTES, count=1000))).read)
    checked = check_and_copy(lines, Nowhere(), endpoint=ENDPOINT)
    assert (checked.count, checked.size) == (1000, MAX_BYTES)
    assert error_of(large(MAX_BYTES + 1, count=1000)) == (
        "line 1000: here the input exceeds 200 MB (209,715,200 bytes); the rest was not checked"
    )


def test_an_endless_line_is_not_read_to_its_end() -> None:
    class Endless(io.RawIOBase):
        size = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            self.size += len(buffer)
            assert self.size <= MAX_BYTES + 2**20
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    with pytest.raises(RespanInputError, match=r"line 1 is longer than 209715200 bytes; the rest was not checked\.$"):
        check_and_copy(read_lines(Endless().read), io.BytesIO(), endpoint=ENDPOINT)  # type: ignore[arg-type]


MEASURED = """
import sys
from tests.memory import peak_megabytes, reset_peak
from tests.operators.modes import attempt, create

assert attempt(lambda: create("plain")).error is None  # all is imported now
before = reset_peak()
outcome = attempt(lambda: create("plain", input_path=sys.argv[1]))
assert outcome.error is None, outcome.error
print(peak_megabytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_the_largest_input_takes_little_memory(connected: Any, tmp_path: Any) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        file.writelines(large(MAX_BYTES))

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)],
        env=environment_without_coverage(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    path.unlink()
    assert float(done.stdout.splitlines()[-1]) < 64
