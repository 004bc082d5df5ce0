"""The input of a batch: what is refused, what is copied, and how much memory it takes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from airflow_respan.exceptions import RespanInputError
from airflow_respan.jsonl import read_lines
from airflow_respan.submission.input import MAX_BYTES, CheckedInput, check_and_copy
from tests.conftest import environment_without_coverage
from tests.operators.modes import request

ENDPOINT = "/v1/chat/completions"
EXAMPLE = (
    '{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", '
    '"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "..."}]}}'
)
LINE_ADVICE = f". Nothing was uploaded or created. Each line must be the JSON of a request like {EXAMPLE}"
REQUEST_ADVICE = f". Nothing was uploaded or created. Each request must be a dict like {EXAMPLE}"


def line(number: int, **fields: Any) -> bytes:
    return json.dumps(request(number, **fields)).encode() + b"\n"


def check(requests: Iterable[Any], *, endpoint: str = ENDPOINT) -> tuple[CheckedInput, bytes]:
    target = io.BytesIO()
    numbered = ((number, r.rstrip(b"\n") if isinstance(r, bytes) else r) for number, r in enumerate(requests, start=1))
    return check_and_copy(numbered, target, endpoint=endpoint), target.getvalue()


def check_file(content: bytes) -> tuple[CheckedInput, bytes]:
    target = io.BytesIO()
    lines = read_lines(io.BytesIO(content).read)
    return check_and_copy(lines, target, endpoint=ENDPOINT), target.getvalue()


def error_of(requests: Iterable[Any]) -> str:
    """Return the problems in the error for lines or for requests."""
    requests = iter(requests)
    first = next(requests)
    with pytest.raises(RespanInputError) as refused:
        check(chain([first], requests))
    return problems_in(refused.value, LINE_ADVICE if isinstance(first, bytes) else REQUEST_ADVICE)


def problems_in(error: BaseException, advice: str) -> str:
    message = str(error)
    assert message.startswith("Invalid input: ")
    assert message.endswith(advice)
    return message.removeprefix("Invalid input: ").removesuffix(advice)


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
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "not JSON that can be read (a number with too many digits)"),
        (b"[]", "a list, not a JSON object"),
        (b'"What is 1?"', "a text, not a JSON object"),
        (b"null", "null, not a JSON object"),
        (line(1, method="get"), "'method' is 'get': it must be 'POST'"),
        (line(1, method=7), "'method' is a number: it must be 'POST'"),
        (line(1, method=None), "'method' is null: it must be 'POST'"),
        (line(1, url=None), "'url' is null: it must be '/v1/chat/completions', the endpoint of the batch"),
        (line(1, url=""), "'url' is an empty text: it must be '/v1/chat/completions', the endpoint of the batch"),
        (
            line(1, url="/v1/x" * 99),
            f"'url' is '{('/v1/x' * 20)[:96]} ...': it must be '/v1/chat/completions', the endpoint of the batch",
        ),
        (line(1, body="text"), "'body' is a text: it must be an object"),
        (line(1, body=[]), "'body' is a list: it must be an object"),
    ],
)
def test_an_invalid_line_is_named_with_its_reason(wrong: bytes, reason: str) -> None:
    assert error_of([line(0), line(2), wrong, line(3)]) == f"line 3: {reason}"


class Mine:
    """A type that JSON does not have."""


CIRCLE: dict[str, Any] = {}
CIRCLE["body"] = CIRCLE
CONVERT = "which JSON does not have: convert it to a text, number, list or dict"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("What is 1?", "a text, not a dict"),
        (line(1).decode(), "a text of JSON (decode it with json.loads), not a dict"),
        ([{"role": "user", "content": "What is 1?"}], "a list of messages, not a dict"),
        (["What is 1?"], "a list, not a dict"),
        (("r-1", "What is 1?"), "a tuple, not a dict"),
        (7, "a number, not a dict"),
        (None, "null, not a dict"),
        (
            {"role": "user", "content": "What is 1?"},
            "a message with 'role' and 'content', not a request: put it into the 'messages' of a 'body'",
        ),
        (
            {"model": "m", "messages": []},
            "the body of a request, not the whole request: put it under the key 'body'",
        ),
        (request(1, custom_id=7), "'custom_id' is a number: it must be a text that no other request has"),
        (request(1, custom_id=None), "'custom_id' is null: it must be a text that no other request has"),
        (request(1, custom_id=" "), "'custom_id' is an empty text: it must be a text that no other request has"),
        (
            {"\ufeffcustom_id": "r", **{key: value for key, value in request(1).items() if key != "custom_id"}},
            "'custom_id' has a byte order mark before it: read its file with the encoding 'utf-8-sig'",
        ),
        (request(1, custom_id=uuid.UUID(int=1)), f"'custom_id' is of the type uuid.UUID, {CONVERT}"),
        (
            request(1, body={"model": "m", "since": datetime(2026, 1, 1, tzinfo=UTC)}),
            f"'body.since' is of the type datetime.datetime, {CONVERT}",
        ),
        (
            request(1, body={"model": "m", "messages": [{"content": "secret"}, {"content": {1, 2}}]}),
            f"'body.messages[1].content' is of the type set, {CONVERT}",
        ),
        (
            request(1, body={"the price": Decimal(1)}),
            f"'body[\"the price\"]' is of the type decimal.Decimal, {CONVERT}",
        ),
        (request(1, body={"k" * 50: Mine()}), f"'body.{'k' * 40}...' is of the type {__name__}.Mine, {CONVERT}"),
        (
            request(1, body={"a": {(1, 2): "secret"}}),
            "'body.a' has a key that is a tuple: JSON has only texts as keys",
        ),
        (request(1, body={"a": [0.5, float("nan")]}), "'body.a[1]' is NaN or infinite, which JSON does not have"),
        (
            request(1, body={"a": "\ud800"}),
            "'body.a' has half a character (a lone surrogate), which UTF-8 does not have",
        ),
        (
            request(1, body={"\ud800": 1}),
            "'body' has a key with half a character (a lone surrogate), which UTF-8 does not have",
        ),
        (request(1, body={"a": 10**5000}), "a value that JSON cannot encode"),
        (CIRCLE, f"'{('body.' * 20)[:96]} ...' is nested too deeply, or contains itself"),
    ],
)
def test_an_invalid_request_is_named_with_the_place_and_type_of_the_fault(wrong: Any, reason: str) -> None:
    assert error_of([request(0), request(2), wrong, request(3)]) == f"request 3: {reason}"


def test_a_request_may_be_any_mapping() -> None:
    nested = MappingProxyType({"model": "m", "metadata": MappingProxyType({"a": 1})})

    checked, copied = check([MappingProxyType(request(1, body=nested))])

    assert checked.count == 1
    assert json.loads(copied)["body"] == {"model": "m", "metadata": {"a": 1}}


def test_a_request_without_anything_has_a_problem_for_each_key() -> None:
    assert error_of([{}]).split("; ") == [
        "request 1: 'custom_id' is missing: it must be a text that no other request has",
        "request 1: 'method' is missing: it must be 'POST'",
        "request 1: 'url' is missing: it must be '/v1/chat/completions', the endpoint of the batch",
        "request 1: 'body' is missing: it must be an object",
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"model": "m", "stream": True}, "'body.stream' is set: a batch has no streams, so leave it out"),
        ({"model": "m", "stream": "true"}, "'body.stream' is set: a batch has no streams, so leave it out"),
        ({"messages": []}, "'body.model' is missing: it must be the name of a model"),
        ({"model": None}, "'body.model' is null: it must be the name of a model"),
        ({"model": ""}, "'body.model' is an empty text: it must be the name of a model"),
        ({"model": ["m"]}, "'body.model' is a list: it must be the name of a model"),
        ({"prompt": "What is 1?"}, "'body.model' is missing: it must be the name of a model"),
    ],
)
def test_what_every_provider_refuses_is_refused_before_the_upload(body: dict[str, Any], reason: str) -> None:
    assert error_of([line(1), line(2, body=body)]) == f"line 2: {reason}"
    assert error_of([request(1), request(2, body=body)]) == f"request 2: {reason}"


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"model": "m", "stream": False}),
        ("/v1/chat/completions", {"prompt": {"prompt_id": "p-1"}}),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
        ("/v1/moderations", {"input": "What is 1?"}),
        ("/openai/deployments/d/chat/completions", {"messages": []}),
    ],
)
def test_a_body_without_a_model_is_accepted_where_none_is_needed(endpoint: str, body: dict[str, Any]) -> None:
    checked, _copied = check([request(1, url=endpoint, body=body)], endpoint=endpoint)

    assert checked.count == 1


def test_the_models_are_counted() -> None:
    checked, _copied = check(line(n, body={"model": "b" if n % 3 else "a"}) for n in range(6))

    assert checked.models == {"a": 2, "b": 4}


def test_a_refused_input_of_another_endpoint_shows_a_request_for_it() -> None:
    with pytest.raises(RespanInputError) as refused:
        check([{}], endpoint="/v1/embeddings")

    assert str(refused.value).endswith(
        'Each request must be a dict like {"custom_id": "request-1", "method": "POST", "url": "/v1/embeddings", '
        '"body": {"model": "text-embedding-3-small", "input": "..."}}'
    )


def test_requests_with_the_same_problem_are_named_together() -> None:
    prompts: list[Any] = [f"What is {number}?" for number in range(25)]

    assert error_of(prompts) == "requests 1, 2, 3 and 22 more: a text, not a dict"
    assert error_of([request(0), *prompts[:2]]) == "requests 2 and 3: a text, not a dict"
    assert error_of([*prompts[:3], request(4, method="GET")]) == (
        "requests 1, 2 and 3: a text, not a dict; request 4: 'method' is 'GET': it must be 'POST'"
    )


def test_ten_different_problems_are_named_and_the_others_are_counted() -> None:
    message = error_of(line(number, method=f"M{number}") for number in range(25))

    expected = "; ".join(f"line {number + 1}: 'method' is 'M{number}': it must be 'POST'" for number in range(10))
    assert message == f"{expected}; and 15 more problems"


@pytest.mark.parametrize("nothing", [b"", b"\n  \n"])
def test_an_input_without_a_request_is_refused(nothing: bytes) -> None:
    with pytest.raises(RespanInputError) as refused:
        check_file(nothing)

    advice = f". Nothing was uploaded or created. A request looks like {EXAMPLE}"
    assert problems_in(refused.value, advice) == "there is no request in it"


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

    lines = read_lines(Endless().read)  # type: ignore[arg-type]
    with pytest.raises(RespanInputError, match=r"line 1 is longer than 209715200 bytes; the rest was not checked\. "):
        check_and_copy(lines, io.BytesIO(), endpoint=ENDPOINT)


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
