"""Lines of results that are unusual, and lines that are no usable rows: none of them costs the other rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import MAX_LINE_BYTES, read_lines
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.submission.input import check_and_copy
from tests.operators.landings import add_batch, bad, good, jsonl, land
from tests.operators.modes import request

ON_BAD_ROWS = ("fail", "warn", "drop")
A, B, C, D = (jsonl(good(name)) for name in "abcd")
GOOD = A + B
CUT = C[:-20]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def downloads(sandbox: RespanSandbox) -> int:
    return sum("/content/" in request.path for request in sandbox.requests)


def ids_in_parquet(folder: Path) -> list[str]:
    table = pq.read_table(folder / "results.parquet")
    for response in table["response"].to_pylist():
        json.loads(response, parse_constant=pytest.fail)
    ids: list[str] = table["custom_id"].to_pylist()
    return ids


def logprob(value: str) -> bytes:
    return jsonl(good("c", logprobs={"content": [{"token": "a", "logprob": 0.5}]})).replace(b"0.5", value.encode())


def nested(depth: int) -> bytes:
    return C.replace(b'"Hello"', b"[" * depth + b"]" * depth)


UNUSUAL = {
    "-Infinity": (logprob("-Infinity"), "c", "NaN or an infinite number"),
    "Infinity": (logprob("Infinity"), "c", "NaN or an infinite number"),
    "NaN": (logprob("NaN"), "c", "NaN or an infinite number"),
    "an id twice": (C.replace(b'"custom_id"', b'"custom_id": "z", "custom_id"'), "c", "a key twice"),
    "an inner key twice": (C.replace(b'"model"', b'"model": "m", "model"'), "c", "a key twice"),
    "a huge integer": (logprob("1" * 5000), "c", "an integer of thousands of digits"),
    "a tab in a text": (C.replace(b"Hello", b"Hel\tlo"), "c", "a control character in a text"),
    "Latin-1": (C.replace(b"Hello", b"Gr\xfc\xdfe"), "c", "bytes that are not UTF-8"),
    "Latin-1 in the id": (C.replace(b'"c"', b'"\xe9"'), "?", "bytes that are not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + C, "c", "a byte order mark within the file"),
    "a number as id": (jsonl({**good("c"), "custom_id": 7}), "7", "a custom_id that is a number"),
    "a float as id": (jsonl({**good("c"), "custom_id": 7.0}), "7", "a custom_id that is a number"),
}


@pytest.mark.parametrize("on_bad_rows", ON_BAD_ROWS)
@pytest.mark.parametrize("unusual", UNUSUAL)
def test_an_unusual_row_is_landed_byte_for_byte_with_a_warning(
    connected: RespanSandbox, tmp_path: Path, unusual: str, on_bad_rows: str
) -> None:
    content, custom_id, kind = UNUSUAL[unusual]
    counts = {"total": 3, "completed": 3, "failed": 0}
    batch_id = add_batch(connected, GOOD + content, request_counts=counts)

    manifest = land(tmp_path, batch_id=batch_id, parquet=True, on_bad_rows=on_bad_rows)["return_value"]

    assert names(tmp_path) == {"output.jsonl", "results.parquet", "manifest.json"}
    assert (tmp_path / "output.jsonl").read_bytes() == GOOD + content
    assert manifest["counts"] == {"rows": 3, "succeeded": 3, "failed": 0, "missing": 0}
    assert manifest["usage"]["rows"] == 3
    assert manifest["rejected"] == {"count": 0, "reasons": []}
    assert manifest["warnings"] == [f"1 rows have {kind} (first: line 3 of file 'file-00000001')"]
    assert ids_in_parquet(tmp_path) == ["a", "b", custom_id]


@pytest.mark.parametrize("depth", [50, 500, 900])
def test_a_deep_row_is_landed_if_it_can_be_read(connected: RespanSandbox, tmp_path: Path, depth: int) -> None:
    """What can be read may be too deep to be written again."""
    batch_id = add_batch(connected, GOOD + nested(depth))

    land(tmp_path, batch_id=batch_id, parquet=True, on_bad_rows="warn")

    assert ids_in_parquet(tmp_path)[:2] == ["a", "b"]


REPEATED = {
    "the same line": (GOOD + A, None),
    "with another line end": (GOOD + A.replace(b"\n", b"\r\n"), None),
    "with other spaces": (GOOD + A.replace(b": ", b":"), None),
    "with other escapes": (GOOD + A.replace(b"Hello", b"H\\u0065llo"), None),
    "with keys in another order": (GOOD + jsonl(dict(reversed(good("a").items()))), None),
    "with NaN": (GOOD + logprob("NaN") + logprob("NaN"), None),
    "in both files": (GOOD, A),
}


@pytest.mark.parametrize("on_bad_rows", ON_BAD_ROWS)
@pytest.mark.parametrize("repeated", REPEATED)
def test_a_repeated_row_counts_once_with_a_warning(
    connected: RespanSandbox, tmp_path: Path, repeated: str, on_bad_rows: str
) -> None:
    output, errors = REPEATED[repeated]
    batch_id = add_batch(connected, output, errors)

    manifest = land(tmp_path, batch_id=batch_id, parquet=True, on_bad_rows=on_bad_rows)["return_value"]

    ids = ids_in_parquet(tmp_path)
    assert (tmp_path / "output.jsonl").read_bytes() == output
    assert manifest["counts"]["rows"] == manifest["usage"]["rows"] == len(ids) == len(set(ids))
    assert manifest["rejected"]["count"] == 0
    assert manifest["warnings"][-1].startswith("1 rows have the content of an earlier row, and count once (first: line")


def test_one_file_that_a_batch_names_twice_is_landed(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD)
    connected.change_batch(batch_id, error_file_id="file-00000001")

    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert manifest["counts"]["rows"] == 2


@pytest.mark.parametrize("on_bad_rows", ON_BAD_ROWS)
@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + GOOD,
        b"\n" + GOOD.replace(b"\n", b"\n \n") + b"\n",
        A + b"\xef\xbb\xbf\r\n" + B,
        GOOD.rstrip(),
        jsonl(good("a\ud83d", "a lone \ud83d"), good("b" * 100_000)),
        jsonl(good("a", number=10**400), good("b")).replace(b"4,", b"1e999,"),
    ],
    ids=["CRLF", "byte order mark", "blank lines", "blank mark", "no last line end", "odd ids", "odd numbers"],
)
def test_what_is_only_spelled_otherwise_is_landed_byte_for_byte_without_a_warning(
    connected: RespanSandbox, tmp_path: Path, content: bytes, on_bad_rows: str
) -> None:
    batch_id = add_batch(connected, content)

    manifest = land(tmp_path, batch_id=batch_id, parquet=True, on_bad_rows=on_bad_rows)["return_value"]

    assert (tmp_path / "output.jsonl").read_bytes() == content
    assert manifest["counts"] == {"rows": 2, "succeeded": 2, "failed": 0, "missing": None}
    assert manifest["warnings"] == []


NO_ID = "no custom_id, or one that is not a text"
BAD_LINES = {
    "not JSON": (b"{no}\n", r": not JSON (Expecting property name enclosed in double quotes, column 2)", "not JSON"),
    "cut row": (CUT, r": not JSON (Expecting ',' delimiter, column {end})", "not JSON"),
    "zeros": (bytes(100) + b"\n", ": not JSON (Expecting value, column 1)", "not JSON"),
    "two rows in a line": (C.strip() + D, ": not JSON (Extra data, column {end})", "not JSON"),
    "not UTF-8": (b'{"custom_id": \xff}\n', ": not UTF-8", "not UTF-8"),
    "UTF-16": ('{"custom_id": "x"}'.encode("utf-16"), ": not UTF-8", "not UTF-8"),
    "deep": (nested(100_000), ": nested too deeply", "nested too deeply"),
    "no object": (b'["custom_id"]\n', ": a list, not a JSON object", "a list, not a JSON object"),
    "no id": (jsonl({"response": {}}), f": {NO_ID}", NO_ID),
    "null id": (jsonl({**good("c"), "custom_id": None}), f": {NO_ID}", NO_ID),
    "blank id": (jsonl(good(" \t")), f": {NO_ID}", NO_ID),
    "boolean id": (jsonl({**good("c"), "custom_id": True}), f": {NO_ID}", NO_ID),
    "NaN as id": (C.replace(b'"c"', b"NaN"), f": {NO_ID}", NO_ID),
    "an error without id": (
        jsonl({"error": {"code": "overloaded", "message": "Stopped at 2 of 3."}}),
        f": {NO_ID}, but the error 'overloaded: Stopped at 2 of 3.'",
        NO_ID,
    ),
    "another answer": (
        jsonl(good("b", "secret answer")),
        " has the custom_id of line 2 of file 'file-00000001'",
        "the custom_id of another row",
    ),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_by_default_a_bad_line_fails_the_task_and_nothing_is_written(
    connected: RespanSandbox, tmp_path: Path, kind: str
) -> None:
    content, problem, _reason = BAD_LINES[kind]
    batch_id = add_batch(connected, GOOD + content)

    with pytest.raises(RespanResultsError) as refused:
        land(tmp_path, batch_id=batch_id, on_missing="warn", parquet=True)

    column = len(CUT if kind == "cut row" else C.strip()) + 1
    assert str(refused.value) == (
        f"Line 3 of file 'file-00000001'{problem.replace('{end}', str(column))}. So nothing was written of the results "
        f"of batch {batch_id} (completed). Clear the task to download the files again. If these "
        "lines are still the same, set on_bad_rows='drop' to write the other rows, and these lines into rejected.jsonl."
    )
    assert names(tmp_path) == set()


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_does_not_block_the_other_rows_if_that_is_set(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str], kind: str, on_bad_rows: str
) -> None:
    content, _problem, reason = BAD_LINES[kind]
    line = content if content.endswith(b"\n") else content + b"\n"
    batch_id = add_batch(connected, A + line + B if reason != "the custom_id of another row" else GOOD + line)

    manifest = land(tmp_path, batch_id=batch_id, parquet=True, on_bad_rows=on_bad_rows)["return_value"]

    assert names(tmp_path) == {"output.jsonl", "rejected.jsonl", "results.parquet", "manifest.json"}
    assert (tmp_path / "rejected.jsonl").read_bytes() == line
    output = (tmp_path / "output.jsonl").read_bytes()
    assert output == GOOD if on_bad_rows == "drop" else sorted(output) == sorted(GOOD + line)
    assert manifest["rejected_path"] == f"{tmp_path}/rejected.jsonl"
    number = 3 if reason == "the custom_id of another row" else 2
    place = f"line {number} of file 'file-00000001'"
    assert manifest["rejected"] == {"count": 1, "reasons": [{"reason": reason, "count": 1, "first": place}]}
    assert manifest["counts"] == {"rows": 2, "succeeded": 2, "failed": 0, "missing": None}
    assert manifest["bytes"]["rejected"] == len(line)
    [warning] = manifest["warnings"]
    where = "also in rejected.jsonl" if on_bad_rows == "warn" else "in rejected.jsonl only"
    assert warning.startswith(f"1 line is no usable row, and is {where}: {place}")
    assert warning in said()
    assert "secret answer" not in warning
    assert ids_in_parquet(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_bad_lines_of_both_files_are_kept_byte_for_byte_in_their_order(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    output = b"\xef\xbb\xbf{1\r\n" + A + b"\n" + b"{2\n{3\n" + B + b"{4"
    errors = jsonl(bad("c")) + b"{5\r\n \n" + jsonl(bad("d"))
    batch_id = add_batch(connected, output, errors)

    manifest = land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows)["return_value"]

    assert (tmp_path / "rejected.jsonl").read_bytes() == b"\xef\xbb\xbf{1\r\n{2\n{3\n{4\n{5\r\n"
    landed = (tmp_path / "output.jsonl").read_bytes(), (tmp_path / "errors.jsonl").read_bytes()
    kept = A + b"\n" + B, jsonl(bad("c")) + b" \n" + jsonl(bad("d"))
    assert landed == (kept if on_bad_rows == "drop" else (output, errors))
    assert manifest["rejected"] == {
        "count": 5,
        "reasons": [{"reason": "not JSON", "count": 5, "first": "line 1 of file 'file-00000001'"}],
    }


def test_all_bad_lines_are_counted_and_the_first_are_named(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, A + b"{\n" * 1000 + B)

    with pytest.raises(RespanResultsError, match=r"line 6 of .*; and 995 more\. So nothing was written") as refused:
        land(tmp_path, batch_id=batch_id)
    manifest = land(tmp_path, batch_id=batch_id, on_bad_rows="drop")["return_value"]

    assert str(refused.value).count("not JSON") == 5
    assert manifest["rejected"]["count"] == 1000
    assert (tmp_path / "rejected.jsonl").read_bytes() == b"{\n" * 1000
    assert (tmp_path / "output.jsonl").read_bytes() == GOOD


@pytest.mark.parametrize("on_bad_rows", ON_BAD_ROWS)
def test_lines_of_which_none_is_usable_are_never_landed(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    batch_id = add_batch(connected, b"Service unavailable\n", b"")

    with pytest.raises(RespanResultsError) as refused:
        land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows, on_missing="warn")

    assert str(refused.value) == (
        "Line 1 of file 'file-00000001': not JSON (Expecting value, column 1). So nothing was written of the results "
        f"of batch {batch_id} (completed). Clear the task to download the files again."
    )
    assert names(tmp_path) == set()


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_a_line_without_id_counts_as_the_row_of_a_request_that_has_none(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    counts = {"total": 3, "completed": 3, "failed": 0}
    (tmp_path / "in.jsonl").write_bytes(jsonl(request(1), *({**request(2), "custom_id": name} for name in "ab")))
    batch_id = add_batch(connected, GOOD + CUT, request_counts=counts)

    by_counts = land(tmp_path / "counts", batch_id=batch_id, on_bad_rows=on_bad_rows)
    by_input = land(tmp_path / "ids", batch_id=batch_id, on_bad_rows=on_bad_rows, input_path=f"{tmp_path}/in.jsonl")
    connected.change_batch(batch_id, request_counts={"total": 4, "completed": 4, "failed": 0})

    assert by_counts["counts"]["missing"] == by_input["counts"]["missing"] == 0
    with pytest.raises(RespanResultsError, match=r"^1 of 3 requests have no row\."):
        land(tmp_path / "fewer", batch_id=batch_id, on_bad_rows=on_bad_rows)


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_a_second_answer_is_not_the_row_of_another_request(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    batch_id = add_batch(
        connected, GOOD + jsonl(good("b", "other")), request_counts={"total": 3, "completed": 3, "failed": 0}
    )

    with pytest.raises(RespanResultsError, match=r"^1 of 3 requests have no row\."):
        land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows)


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_a_row_that_is_not_in_the_input_is_a_bad_line(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(*({**request(2), "custom_id": name} for name in "ab")))
    batch_id = add_batch(connected, GOOD + C)
    options = {"input_path": f"{tmp_path}/in.jsonl", "on_bad_rows": on_bad_rows, "parquet": True}

    manifest = land(tmp_path / "results", batch_id=batch_id, **options)["return_value"]

    assert manifest["counts"] == {"rows": 2, "succeeded": 2, "failed": 0, "missing": 0}
    assert manifest["rejected"]["reasons"][0]["reason"] == "a custom_id that is not in the input"
    assert ids_in_parquet(tmp_path / "results") == ["a", "b"]


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_a_landing_with_bad_lines_is_not_repeated_unless_its_folder_has_changed(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    batch_id = add_batch(connected, A + b"{\n" + B)
    first = land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows)["return_value"]

    second = land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows)["return_value"]
    assert (second, downloads(connected)) == (first, 1)
    (tmp_path / "rejected.jsonl").unlink()
    third = land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows)["return_value"]

    assert (third, downloads(connected)) == (first, 2)
    assert (tmp_path / "rejected.jsonl").read_bytes() == b"{\n"


def test_bad_lines_of_an_earlier_landing_are_removed(connected: RespanSandbox, tmp_path: Path) -> None:
    land(tmp_path, batch_id=add_batch(connected, A + b"{\n"), on_bad_rows="drop")

    land(tmp_path, batch_id=add_batch(connected, GOOD), overwrite=True)

    assert names(tmp_path) == {"output.jsonl", "manifest.json"}


@pytest.mark.parametrize("on_bad_rows", ["warn", "drop"])
def test_files_may_be_deleted_because_no_line_is_lost(
    connected: RespanSandbox, tmp_path: Path, on_bad_rows: str
) -> None:
    batch_id = add_batch(connected, GOOD + CUT)

    land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows, delete_files=["output"])

    assert connected.service.files.all() == []
    assert (tmp_path / "rejected.jsonl").read_bytes() == CUT + b"\n"


def add_large_batch(sandbox: RespanSandbox, *lines: bytes) -> str:
    """Make a batch with an output file that is not uploaded first."""
    file = sandbox.service.files.new(filename="output.jsonl", purpose="batch_output")
    with file.path.open("wb") as content:
        content.writelines(lines)
    sandbox.service.files.add(file)
    return sandbox.add_batch(status="completed", output_file_id=file.id)


def test_a_row_may_be_as_long_as_a_whole_input(connected: RespanSandbox, tmp_path: Path) -> None:
    long = jsonl(good("c", "x" * (MAX_LINE_BYTES + 1 - len(jsonl(good("c", ""))))))
    assert len(long) == MAX_LINE_BYTES + len(b"\n")

    manifest = land(tmp_path, batch_id=add_large_batch(connected, A, long, B))["return_value"]

    assert manifest["counts"]["succeeded"] == 3
    assert manifest["bytes"]["output"] == len(GOOD) + len(long)


@pytest.mark.parametrize("on_bad_rows", ["fail", "drop"])
def test_a_line_that_is_longer_is_a_bad_line(connected: RespanSandbox, tmp_path: Path, on_bad_rows: str) -> None:
    long = b'{"custom_id": "c", "text": "' + b"x" * MAX_LINE_BYTES + b'"}\n'
    problem = "line 2 of file 'file-00000001': longer than 209715200 bytes"
    batch_id = add_large_batch(connected, A, long, B)

    if on_bad_rows == "fail":
        with pytest.raises(RespanResultsError, match=f"^L{problem[1:]}. So nothing was written of the results"):
            land(tmp_path, batch_id=batch_id)
        return
    manifest = land(tmp_path, batch_id=batch_id, on_bad_rows=on_bad_rows)["return_value"]

    assert manifest["warnings"][0].endswith(f": {problem}")
    assert (tmp_path / "rejected.jsonl").read_bytes() == long
    assert (tmp_path / "output.jsonl").read_bytes() == GOOD


UNUSUAL_INPUTS = {
    "blank lines": b"\n" + jsonl(request(1)) + b" \r\n\n" + jsonl(request(2)) + b"\n",
    "a byte order mark": b"\xef\xbb\xbf" + jsonl(request(1), request(2)),
    "a key twice": jsonl(request(1)).replace(b'"method"', b'"method": "GET", "method"') + jsonl(request(2)),
    "a line of 33 MB": jsonl(request(1), request(2, body={"model": "m", "text": "x" * 33_000_000})),
    "a huge number": jsonl(request(1), request(2, body={"model": "m", "seed": 10**400})),
    "half a character": jsonl(request(1), request(2, body={"model": "m", "text": "\ud83d"})),
}


@pytest.mark.parametrize("kind", UNUSUAL_INPUTS)
def test_what_create_accepts_is_accepted_by_the_landing_in_the_input_and_in_the_rows(
    connected: RespanSandbox, tmp_path: Path, kind: str
) -> None:
    content = UNUSUAL_INPUTS[kind]
    check_and_copy(read_lines(io.BytesIO(content).read), io.BytesIO(), endpoint="/v1/chat/completions")
    (tmp_path / "in.jsonl").write_bytes(content)
    # A service that repeats each request in the row of its answer.
    rows = content.replace(b'"body"', b'"response": {"status_code": 200, "body": {"id": "x"}}, "body"')
    batch_id = add_batch(connected, rows)

    manifest = land(tmp_path / "results", batch_id=batch_id, input_path=f"{tmp_path}/in.jsonl", parquet=True)

    assert manifest["counts"] == {"rows": 2, "succeeded": 2, "failed": 0, "missing": 0}
    assert (tmp_path / "results" / "output.jsonl").read_bytes() == rows


@pytest.mark.parametrize(
    ("content", "warnings"),
    [
        (jsonl({**request(1), "custom_id": 7}, request(2)), []),
        (jsonl({**request(1), "custom_id": "7"}, request(2, body={"seed": float("inf")})), []),
        (
            jsonl({**request(1), "custom_id": "7"}, request(2), request(2, body={"other": 1})),
            ["1 requests of the input have the custom_id of another one"],
        ),
    ],
    ids=["a number as id", "an infinite number", "an id twice"],
)
def test_rows_can_be_compared_with_an_unusual_input_that_was_not_checked(
    connected: RespanSandbox, tmp_path: Path, content: bytes, warnings: list[str]
) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    batch_id = add_batch(connected, jsonl(good("7"), good("r-2")))

    manifest: dict[str, Any] = land(tmp_path / "results", batch_id=batch_id, input_path=f"{tmp_path}/in.jsonl")

    assert manifest["counts"]["missing"] == 0
    assert manifest["warnings"] == warnings
