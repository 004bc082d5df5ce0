"""Landing the results of a batch in a local folder: what is written, what is refused, and what is logged."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_respan.exceptions import RespanNotFoundError, RespanResultsError, RespanStorageError
from airflow_respan.operators.results import RespanBatchResultsOperator
from airflow_respan.sandbox import Fault, RespanSandbox
from airflow_respan.storage import open_for_reading
from tests.operators.holding import Hold, holding_proxy
from tests.operators.landings import add_batch, bad, good, jsonl, land, upload

GOOD, BAD = jsonl(good("a"), good("b")), jsonl(bad("c"))
COUNTS = {"total": 3, "completed": 2, "failed": 1}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def downloads(sandbox: RespanSandbox) -> int:
    return sum("/content/" in request.path for request in sandbox.requests)


def test_the_results_of_a_batch_are_written_and_counted(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD, BAD, request_counts=COUNTS)

    xcoms = land(f"{tmp_path}/results/", batch_id=batch_id)

    folder = tmp_path / "results"
    assert names(folder) == {"output.jsonl", "errors.jsonl", "manifest.json"}
    assert (folder / "output.jsonl").read_bytes() == GOOD
    assert (folder / "errors.jsonl").read_bytes() == BAD
    manifest = xcoms.pop("return_value")
    assert manifest == json.loads((folder / "manifest.json").read_text())
    assert xcoms == {key: value for key, value in manifest.items() if value is not None}
    assert manifest == {
        "batch_id": batch_id,
        "status": "completed",
        "path": str(folder),
        "manifest_path": f"{folder}/manifest.json",
        "output_path": f"{folder}/output.jsonl",
        "errors_path": f"{folder}/errors.jsonl",
        "rejected_path": None,
        "parquet_path": None,
        "output_url": f"{folder}/output.jsonl",
        "errors_url": f"{folder}/errors.jsonl",
        "rejected_url": None,
        "parquet_url": None,
        "counts": {"rows": 3, "succeeded": 2, "failed": 1, "missing": 0},
        "request_counts": COUNTS,
        "usage": {
            "rows": 2,
            "prompt_tokens": 6,
            "completion_tokens": 8,
            "total_tokens": 14,
            "cached_tokens": 4,
            "reasoning_tokens": 2,
        },
        "errors": [{"code": "context_length_exceeded", "message": "Too long.", "count": 1}],
        "rejected": {"count": 0, "reasons": []},
        "absent_files": [],
        "bytes": {"output": len(GOOD), "errors": len(BAD)},
        "warnings": [],
        "landing": {
            "batch_id": batch_id,
            "output_file_id": "file-00000001",
            "error_file_id": "file-00000002",
            "input": None,
            "on_missing": "by_status",
            "on_bad_rows": "fail",
            "parquet": False,
        },
    }


@pytest.mark.parametrize("empty", [None, "", "None", " "])
def test_files_can_be_landed_by_their_ids_without_the_batch(
    connected: RespanSandbox, tmp_path: Path, empty: str | None
) -> None:
    manifest = land(tmp_path, output_file_id=upload(GOOD), error_file_id=empty)["return_value"]

    assert names(tmp_path) == {"output.jsonl", "manifest.json"}
    assert manifest["counts"] == {"rows": 2, "succeeded": 2, "failed": 0, "missing": None}
    assert (manifest["batch_id"], manifest["status"], manifest["request_counts"]) == (None, None, None)


def test_a_batch_whose_requests_all_failed_is_landed(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, None, BAD, request_counts={"total": 1, "failed": 1})
    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert names(tmp_path) == {"errors.jsonl", "manifest.json"}
    assert manifest["counts"] == {"rows": 1, "succeeded": 0, "failed": 1, "missing": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give batch_id, or output_file_id and error_file_id, but not both"),
        (
            {"batch_id": "batch_1", "output_file_id": "file-1"},
            "Give batch_id, or output_file_id and error_file_id, but not both",
        ),
        (
            {"batch_id": "batch_1", "input_path": "/a", "input_file_id": "file-1"},
            "Give input_path or input_file_id, but not both",
        ),
        (
            {"batch_id": "batch_1", "on_missing": "ignore"},
            "on_missing is 'ignore'; choose among by_status, fail, warn",
        ),
        (
            {"batch_id": "batch_1", "on_bad_rows": "ignore"},
            "on_bad_rows is 'ignore'; choose among fail, warn, drop",
        ),
        (
            {"batch_id": "batch_1", "not_found_grace": -1},
            "not_found_grace is -1; it must be a number of seconds from 0 to 3153600000",
        ),
        (
            {"batch_id": "batch_1", "delete_files": ["inputs"]},
            "delete_files is ['inputs']; choose among input, output, error",
        ),
    ],
)
def test_an_invalid_argument_fails_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        RespanBatchResultsOperator(task_id="land", path="/nowhere", **options)

    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_id": "None"},
            "batch_id is 'None'. Check the argument, and that the upstream task ran and pushed this value.",
        ),
        (
            {"output_file_id": "", "error_file_id": "None"},
            "output_file_id is '' and error_file_id is 'None', so there are no results to write. Check that the "
            "upstream task ran and pushed the ids of a batch's files.",
        ),
        (
            {"output_file_id": "file-1", "input_path": "None"},
            "input_path is 'None'. Check the argument, and that the upstream task ran and pushed this value.",
        ),
        (
            {"output_file_id": "file-1", "path": " "},
            "path is ' '. Check the argument, and that the upstream task ran and pushed this value.",
        ),
    ],
)
def test_an_argument_that_rendered_to_nothing_is_named(
    connected: RespanSandbox, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as refused:
        land(**{"path": tmp_path, **options})

    assert str(refused.value) == message
    assert connected.requests == []


@pytest.mark.parametrize("argument", ["batch_id", "input_path", "input_file_id"])
@pytest.mark.parametrize("value", [None, "", "None"])
def test_a_missing_xcom_does_not_count_as_an_argument_that_was_not_given(
    connected: RespanSandbox, tmp_path: Path, argument: str, value: str | None
) -> None:
    files = {} if argument == "batch_id" else {"output_file_id": upload(GOOD)}
    operator = RespanBatchResultsOperator(
        task_id="land", path=str(tmp_path), **files, **{argument: "{{ ti.xcom_pull('before') }}"}
    )
    setattr(operator, argument, value)  # as Airflow renders it

    with pytest.raises(ValueError, match=f"{argument} is {value!r}. Check the argument"):
        operator.execute({})  # type: ignore[typeddict-item]


def test_ids_paths_connection_and_provider_are_templates() -> None:
    assert set(RespanBatchResultsOperator.template_fields) == {
        "batch_id",
        "output_file_id",
        "error_file_id",
        "path",
        "input_path",
        "input_file_id",
        "respan_conn_id",
        "provider_id",
    }
    assert issubclass(RespanBatchResultsOperator, BaseOperator)


def test_a_batch_that_has_not_ended_has_no_results(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = connected.add_batch(output_file_id="file-1")

    with pytest.raises(RespanResultsError) as refused:
        land(tmp_path, batch_id=batch_id)

    assert str(refused.value) == (
        f"Batch {batch_id} is in_progress, so its results are not complete yet. Wait for it with RespanBatchSensor "
        "before this task."
    )


def test_a_batch_without_files_has_nothing_to_land(connected: RespanSandbox, tmp_path: Path) -> None:
    errors = [{"code": "invalid", "message": "Line 1 is empty."}]
    batch_id = connected.add_batch(status="failed", request_counts=None, errors=errors)

    with pytest.raises(RespanResultsError) as refused:
        land(tmp_path, batch_id=batch_id)

    assert str(refused.value) == (
        f"Batch {batch_id} is failed (no request counts; no files). First error: invalid: Line 1 is empty. Without an "
        "output file and an error file there are no results to write."
    )


def test_a_complete_batch_with_a_missing_row_fails_the_task(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD, request_counts={"total": 3, "completed": 3, "failed": 0})

    with pytest.raises(RespanResultsError, match=r"^1 of 3 requests have no row."):
        land(tmp_path, batch_id=batch_id)

    assert names(tmp_path) == set()


def test_counts_of_zero_do_not_prove_that_rows_are_complete(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD, request_counts={"total": 0, "completed": 0, "failed": 0})

    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert manifest["counts"]["missing"] is None
    assert manifest["warnings"] == ["The service counts no requests, but 2 rows succeeded, 0 failed"]


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
def test_a_batch_that_ended_early_may_lack_rows_except_those_it_counts_as_completed(
    connected: RespanSandbox, tmp_path: Path, status: str, said: Callable[[], str]
) -> None:
    batch_id = add_batch(connected, GOOD, request_counts={"total": 9, "completed": 2, "failed": 0}, status=status)
    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert manifest["counts"]["missing"] == 7
    assert manifest["warnings"] == ["7 of 9 requests have no row"]
    assert "7 of 9 requests have no row" in said()
    connected.change_batch(batch_id, request_counts={"total": 9, "completed": 3, "failed": 0})
    with pytest.raises(RespanResultsError, match="7 of 9 requests have no row"):
        land(tmp_path / "again", batch_id=batch_id)


ROWS_OF_90 = (
    jsonl(*(good(f"good-{number}") for number in range(50))),
    jsonl(*(bad(f"bad-{number}") for number in range(40))),
)


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
@pytest.mark.parametrize(
    ("counts", "without_row"),
    [
        ({"total": 100, "completed": 60, "failed": 40}, "10 of 100 requests have no row. "),
        ({"total": "100", "completed": "60", "failed": "40"}, "10 of 100 requests have no row. "),
        ({"total": 100.0, "completed": 60.0, "failed": 40.0}, "10 of 100 requests have no row. "),
        ({"total": 100, "completed": 60}, "10 of 100 requests have no row. "),
        ({"total": 90, "completed": 60, "failed": 30}, ""),
        ({"completed": 60}, ""),
    ],
    ids=["all counts", "texts", "floats", "no count of failures", "as many rows as requests", "no total"],
)
def test_an_answer_of_a_partial_batch_that_was_completed_but_has_no_row_fails_the_task(
    connected: RespanSandbox, tmp_path: Path, status: str, counts: dict[str, Any], without_row: str
) -> None:
    batch_id = add_batch(connected, *ROWS_OF_90, request_counts=counts, status=status)

    with pytest.raises(RespanResultsError) as lost:
        land(tmp_path, batch_id=batch_id, delete_files=["output", "error"])

    assert str(lost.value) == (
        f"{without_row}The service counts 60 completed requests, but only 50 rows have an answer, so completed answers "
        f"have no row. So nothing was written of the results of batch {batch_id} ({status}). Clear the task to "
        "download the files again. If the rows are still missing, ask Respan's support for them "
        "before the files expire. To write the rows that there are, set on_missing='warn'."
    )
    assert names(tmp_path) == set()
    assert len(connected.service.files.all()) == 2
    manifest = land(tmp_path, batch_id=batch_id, on_missing="warn")["return_value"]
    assert manifest["counts"]["succeeded"] == 50
    assert "60" in manifest["warnings"][-1]


def test_an_answer_that_is_not_whole_is_no_answer_without_a_row(connected: RespanSandbox, tmp_path: Path) -> None:
    """A service counts it as completed, because its HTTP status is 200."""
    rows = jsonl(*(good(f"good-{n}", status="incomplete" if n < 5 else "completed") for n in range(10)))
    batch_id = add_batch(connected, rows, request_counts={"total": 20, "completed": 10}, status="expired")

    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert manifest["counts"] == {"rows": 10, "succeeded": 5, "failed": 5, "missing": 10}


def test_counts_that_differ_are_a_warning_if_every_request_of_a_complete_batch_has_a_row(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    """Some services count a request that was answered with an error as completed."""
    batch_id = add_batch(connected, *ROWS_OF_90, request_counts={"total": 90, "completed": 90, "failed": 0})

    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert manifest["warnings"] == [
        "The service counts 90 of 90 requests completed, 0 failed, but 50 rows succeeded, 40 failed"
    ]


def test_on_missing_decides_what_missing_rows_do(connected: RespanSandbox, tmp_path: Path) -> None:
    completed = add_batch(connected, GOOD, request_counts={"total": 3, "completed": 3, "failed": 0})
    expired = add_batch(connected, GOOD, request_counts={"total": 3, "completed": 2}, status="expired")

    manifest = land(tmp_path / "completed", batch_id=completed, on_missing="warn")["return_value"]
    with pytest.raises(RespanResultsError, match="1 of 3 requests have no row"):
        land(tmp_path / "expired", batch_id=expired, on_missing="fail")

    assert manifest["warnings"] == [
        "1 of 3 requests have no row",
        "The service counts 3 of 3 requests completed, 0 failed, but 2 rows succeeded, 0 failed",
    ]


def input_of(*custom_ids: str) -> bytes:
    return jsonl(*({"custom_id": custom_id, "method": "POST", "body": {}} for custom_id in custom_ids))


@pytest.mark.parametrize("kind", ["input_path", "input_file_id"])
def test_rows_are_compared_with_the_input(connected: RespanSandbox, tmp_path: Path, kind: str) -> None:
    def write_input(*custom_ids: str) -> str:
        path = tmp_path / "input.jsonl"
        path.write_bytes(input_of(*custom_ids))
        return str(path) if kind == "input_path" else upload(path.read_bytes())

    batch_id = add_batch(connected, GOOD, BAD)

    manifest = land(tmp_path / "results", batch_id=batch_id, **{kind: write_input("a", "b", "c")})["return_value"]
    with pytest.raises(RespanResultsError, match=r"2 of 5 requests have no row \(lines 1, 5 of the input\)"):
        land(tmp_path / "missing", batch_id=batch_id, **{kind: write_input("d", "c", "b", "a", "e" * 1000)})
    with pytest.raises(
        RespanResultsError, match="Line 1 of file 'file-00000002' has a custom_id that is not in the input"
    ):
        land(tmp_path / "unexpected", batch_id=batch_id, on_missing="warn", **{kind: write_input("a", "b")})

    assert manifest["counts"] == {"rows": 3, "succeeded": 2, "failed": 1, "missing": 0}
    assert names(tmp_path) == {"input.jsonl", "results"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n{}\n", "line 2: no custom_id"),
        (b"[\n", r"line 1: not JSON \(.*\)"),
    ],
)
def test_an_invalid_input_is_named(connected: RespanSandbox, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "input.jsonl").write_bytes(content)

    with pytest.raises(RespanResultsError, match=f"cannot be compared with the input '.*input.jsonl': {reason}"):
        land(tmp_path / "results", batch_id=add_batch(connected, GOOD), input_path=str(tmp_path / "input.jsonl"))


def test_a_missing_input_is_named(connected: RespanSandbox, tmp_path: Path) -> None:
    with pytest.raises(RespanStorageError, match=rf"^FileNotFoundError: .* \(could not read {tmp_path}/none.jsonl\)"):
        land(tmp_path / "results", batch_id=add_batch(connected, GOOD), input_path=f"{tmp_path}/none.jsonl")


def failed(number: int, error: Any, status_code: int = 400) -> dict[str, Any]:
    response = {"status_code": status_code, "request_id": f"req_{number}", "body": {"error": error}}
    return {"custom_id": f"failed-{number}", "response": response, "error": None}


def errors_of(sandbox: RespanSandbox, folder: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    errors: list[dict[str, Any]] = land(folder, batch_id=add_batch(sandbox, None, jsonl(*rows)))["errors"]
    return errors


def test_errors_with_the_same_code_are_counted_together_the_most_frequent_first(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    rows = [failed(n, {"code": "invalid_image", "message": f"Image {n} is broken."}) for n in range(3)]
    rows += [
        failed(10 + n, {"type": "server_error", "message": f"Try again. Request req_{n:032x}."}, 500) for n in range(50)
    ]
    rows += [{"custom_id": "x", "response": None, "error": {"code": "batch_expired", "message": "It expired."}}]

    assert errors_of(connected, tmp_path, *rows) == [
        {"code": "server_error", "message": f"Try again. Request req_{0:032x}.", "count": 50},
        {"code": "invalid_image", "message": "Image 0 is broken.", "count": 3},
        {"code": "batch_expired", "message": "It expired.", "count": 1},
    ]


@pytest.mark.parametrize(
    "message",
    [
        lambda n: f"Request {uuid.UUID(int=n << 64)} has failed.",
        lambda n: f"Request req_{n:032x} has failed.",
        lambda n: f"Trace {hashlib.sha256(bytes([n])).hexdigest()}: timed out.",
        lambda n: f"Try again in {n}.{n} s (2026-11-27T07:{n + 10}:00Z).",
        lambda n: f"Object 0x7f{n:x}a is gone.",
        lambda n: f"No file-{'abcdefgh'[n]}{'Qrstuvwxyzabcdefghijk'} here.",
    ],
    ids=["UUID", "request id", "hash", "numbers", "address", "id without digits"],
)
@pytest.mark.parametrize(
    "error",
    [
        lambda text: {"message": text},
        lambda text: text,
        lambda text: {"code": 503, "message": text},
        lambda text: {"error": text, "message": "Failed."},
    ],
    ids=["no code", "a text", "the status as code", "a sentence as code"],
)
def test_errors_without_a_code_are_counted_together_if_they_differ_in_ids_and_numbers(
    connected: RespanSandbox, tmp_path: Path, message: Callable[[int], str], error: Callable[[str], Any]
) -> None:
    rows = [failed(n, error(message(n)), 503) for n in range(8)]
    rows += [failed(10 + n, "Another error.", 503) for n in range(3)]

    counted = errors_of(connected, tmp_path, *rows)

    assert [each["count"] for each in counted] == [8, 3]
    assert message(0) in counted[0].values()
    assert counted[1] == {"code": "503", "message": "Another error.", "count": 3}


def test_codes_that_are_ids_are_counted_together(connected: RespanSandbox, tmp_path: Path) -> None:
    rows = [failed(n, {"code": f"err_{n:016x}", "message": "No."}) for n in range(4)]
    rows += [failed(10, {"code": "http_429_error", "message": "No."}), failed(11, {"code": "http_500_error"})]

    counted = errors_of(connected, tmp_path, *rows)

    assert [each["count"] for each in counted] == [4, 1, 1]
    assert counted[0]["code"] == "err_0000000000000000"


def test_errors_of_very_many_kinds_are_counted_in_limited_memory(connected: RespanSandbox, tmp_path: Path) -> None:
    kinds = ["".join(letters) for letters in itertools.product("abcdefg", repeat=4)]

    counted = errors_of(connected, tmp_path, *(failed(n, {"code": kind}) for n, kind in enumerate(kinds)))

    assert counted[0] == {"code": "others", "message": "(various errors)", "count": len(kinds) - 1000}
    assert counted[1] == {"code": "aaaa", "message": "", "count": 1}
    assert len(counted) == 10


def test_errors_are_shortened_and_have_no_secrets(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str]
) -> None:
    row = bad("a", f"Key {connected.api_key} is\n\x1b[31m {'too ' * 100} long")
    xcoms = land(tmp_path, batch_id=add_batch(connected, None, jsonl(row)))

    [error] = xcoms["errors"]
    assert error["message"].startswith("Key *** is ?[31m too too")
    assert len(error["message"]) < 210
    assert connected.api_key not in json.dumps(xcoms) + (tmp_path / "manifest.json").read_text()
    assert "too too" not in said()


def test_the_log_has_the_counts_but_no_row(connected: RespanSandbox, tmp_path: Path, said: Callable[[], str]) -> None:
    batch_id = add_batch(connected, GOOD, BAD, request_counts=COUNTS)
    land(tmp_path, batch_id=batch_id)

    log = said()
    size = sum((tmp_path / name).stat().st_size for name in ("output.jsonl", "errors.jsonl"))
    kilobytes = f"{size / 1e3:.1f} kB"
    assert (
        f"Wrote 3 rows of batch {batch_id} (completed) into {tmp_path} ({kilobytes}): 2 succeeded, 1 failed, 0 missing."
    ) in log
    assert "Hello" not in log
    assert "Too long" not in log


def test_a_second_landing_returns_the_first_manifest_and_downloads_nothing(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    batch_id = add_batch(connected, GOOD, BAD)

    first, second = (land(tmp_path, batch_id=batch_id) for _ in range(2))

    assert first == second
    assert downloads(connected) == 2


def copied(folder: Path) -> str:
    return str(shutil.copytree(folder, folder.parent / "copied"))


def renamed(folder: Path) -> str:
    return str(folder.rename(folder.parent / "renamed"))


def linked(folder: Path) -> str:
    link = folder.parent / "linked"
    link.symlink_to(folder)
    return str(link)


@pytest.mark.parametrize(
    "spell",
    [
        copied,
        renamed,
        linked,
        lambda folder: f"file://{folder}",
        lambda folder: f"{folder}/",
        lambda folder: f"{folder}/../{folder.name}",
    ],
    ids=["copied", "renamed", "linked", "with a scheme", "with a slash", "with dots"],
)
def test_the_paths_of_an_earlier_landing_are_those_of_the_folder_that_is_asked_for(
    connected: RespanSandbox, tmp_path: Path, spell: Callable[[Path], object]
) -> None:
    batch_id = add_batch(connected, GOOD, BAD)
    first = land(tmp_path / "results", batch_id=batch_id)["return_value"]
    asked_for = str(spell(tmp_path / "results"))

    second = land(asked_for, batch_id=batch_id)["return_value"]

    path = asked_for.rstrip("/")
    assert second == {
        **first,
        "path": path,
        "manifest_path": f"{path}/manifest.json",
        "output_path": f"{path}/output.jsonl",
        "errors_path": f"{path}/errors.jsonl",
        "output_url": f"{path.removeprefix('file://')}/output.jsonl",
        "errors_url": f"{path.removeprefix('file://')}/errors.jsonl",
    }
    with open_for_reading(second["output_path"]) as output:
        assert output.read() == GOOD
    assert downloads(connected) == 2


def without_bytes(folder: Path, value: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "bytes": value}))


UNFIT = {
    "a file of another size": lambda folder: (folder / "output.jsonl").write_bytes(b"spoilt"),
    "a missing file": lambda folder: (folder / "errors.jsonl").unlink(),
    "an empty folder": lambda folder: [(folder / name).unlink() for name in ("output.jsonl", "errors.jsonl")],
    "no sizes": lambda folder: without_bytes(folder, {}),
    "sizes that are null": lambda folder: without_bytes(folder, None),
    "the size of one file only": lambda folder: without_bytes(folder, {"output": len(GOOD)}),
    "sizes that are texts": lambda folder: without_bytes(folder, {"output": str(len(GOOD)), "errors": "1"}),
    "sizes in a list": lambda folder: without_bytes(folder, [len(GOOD), len(BAD)]),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_bytes(b""),
    "a manifest of zeros": lambda folder: (folder / "manifest.json").write_bytes(bytes(1000)),
}


@pytest.mark.parametrize("is_emptied", [False, True])
@pytest.mark.parametrize("unfit", UNFIT)
def test_a_manifest_that_does_not_fit_its_folder_does_not_count_as_a_landing(
    connected: RespanSandbox, tmp_path: Path, unfit: str, is_emptied: bool
) -> None:
    batch_id = add_batch(connected, GOOD, BAD)
    manifest = land(tmp_path, batch_id=batch_id)["return_value"]
    UNFIT[unfit](tmp_path)
    for path in tmp_path.glob("*.jsonl") if is_emptied else ():
        path.unlink()

    assert land(tmp_path, batch_id=batch_id)["return_value"] == manifest
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert (tmp_path / "output.jsonl").read_bytes() == GOOD
    assert (tmp_path / "errors.jsonl").read_bytes() == BAD
    assert names(tmp_path) == {"output.jsonl", "errors.jsonl", "manifest.json"}


def test_what_a_landing_has_left_that_was_killed_after_its_manifest_is_removed(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    batch_id = add_batch(connected, GOOD)
    manifest = land(tmp_path, batch_id=batch_id)["return_value"]
    claim = {"landing": manifest["landing"], "started_at": time.time(), "owner": "a"}
    (tmp_path / ".manifest.json.part").write_text(json.dumps(claim))
    (tmp_path / f".manifest.json.{'0' * 32}.part").write_text("half")

    assert land(tmp_path, batch_id=batch_id)["return_value"] == manifest
    assert names(tmp_path) == {"output.jsonl", "manifest.json"}
    assert downloads(connected) == 1


@pytest.mark.skipif(
    version("apache-airflow").startswith("2."), reason="only one thread of a process may execute operators in 2.11"
)
@pytest.mark.parametrize("delete_files", [(), ("output", "error")], ids=["kept", "deleted"])
def test_what_another_attempt_has_landed_during_the_download_is_returned(
    connected: RespanSandbox, connect: Callable[..., None], tmp_path: Path, delete_files: tuple[str, ...]
) -> None:
    batch_id = add_batch(connected, GOOD, BAD)
    hold = Hold("GET", "/api/files/file-00000002/content/", after=False)
    with holding_proxy(connected.url, hold) as host, ThreadPoolExecutor() as threads:
        connect(conn_id="held", host=host, password=connected.api_key)
        held = threads.submit(land, tmp_path, batch_id=batch_id, respan_conn_id="held")
        assert hold.holding.wait(60)

        manifest = land(tmp_path, batch_id=batch_id, delete_files=delete_files)
        hold.released.set()

        assert held.result(60) == manifest
    assert names(tmp_path) == {"output.jsonl", "errors.jsonl", "manifest.json"}


def test_the_claim_of_a_killed_landing_of_another_batch_is_taken_over_after_an_hour(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    batch_id, claim = add_batch(connected, GOOD), tmp_path / ".manifest.json.part"
    written = {"landing": {"batch_id": "batch_killed"}, "started_at": time.time() - 3500, "owner": "a"}
    claim.write_text(json.dumps(written))

    with pytest.raises(RespanResultsError, match=r"The landing of batch batch_killed is writing its results into"):
        land(tmp_path, batch_id=batch_id)
    assert json.loads(claim.read_text()) == written
    claim.write_text(json.dumps({**written, "started_at": time.time() - 3700}))
    land(tmp_path, batch_id=batch_id)

    assert names(tmp_path) == {"output.jsonl", "manifest.json"}


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[1]", b'{"started_at": "now"}'])
def test_a_claim_that_cannot_be_read_is_taken_over(connected: RespanSandbox, tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".manifest.json.part").write_bytes(content)

    land(tmp_path, batch_id=add_batch(connected, GOOD))

    assert names(tmp_path) == {"output.jsonl", "manifest.json"}


def test_other_options_land_again_and_remove_files_that_are_no_longer_wanted(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    batch_id = add_batch(connected, GOOD, BAD)
    land(tmp_path, batch_id=batch_id, parquet=True)
    assert names(tmp_path) == {"output.jsonl", "errors.jsonl", "results.parquet", "manifest.json"}

    land(tmp_path, batch_id=batch_id)

    assert names(tmp_path) == {"output.jsonl", "errors.jsonl", "manifest.json"}


def test_the_results_of_another_batch_are_overwritten_only_if_set(connected: RespanSandbox, tmp_path: Path) -> None:
    first, second = add_batch(connected, GOOD, BAD), add_batch(connected, jsonl(good("z")))
    land(tmp_path, batch_id=first)

    with pytest.raises(RespanResultsError) as refused:
        land(tmp_path, batch_id=second)

    assert str(refused.value) == (
        f"The folder has the results of batch {first}: {tmp_path}/manifest.json would be overwritten. Give each batch "
        "its own folder, for example with {{ run_id }} and {{ ti.map_index }} in the path, or set overwrite=True."
    )
    assert (tmp_path / "output.jsonl").read_bytes() == GOOD
    land(tmp_path, batch_id=second, overwrite=True)
    assert names(tmp_path) == {"output.jsonl", "manifest.json"}
    assert (tmp_path / "output.jsonl").read_bytes() == jsonl(good("z"))


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"no JSON",
        b'{"batch_id": "batch_1", "sta',
        b'{"batch_id": "a\\nb", "landing": {}}',
        b"[]",
        b"[" * 100_000,
    ],
)
def test_an_unknown_manifest_is_not_overwritten(connected: RespanSandbox, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)

    with pytest.raises(RespanResultsError, match=r"^The folder has the results of something else: "):
        land(tmp_path, batch_id=add_batch(connected, GOOD))

    assert (tmp_path / "manifest.json").read_bytes() == content


def test_files_are_deleted_after_the_landing_if_set(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str]
) -> None:
    files = [upload(content) for content in (input_of("a", "b", "c"), GOOD, BAD)]
    ids = dict(zip(("input_file_id", "output_file_id", "error_file_id"), files, strict=True))
    batch_id = connected.add_batch(status="completed", **ids)

    first = land(tmp_path, batch_id=batch_id, delete_files=["input", "output", "error"])

    assert connected.service.files.all() == []
    log = said()
    for kind, file_id in zip(("input", "output", "error"), files, strict=True):
        assert f"Deleted the {kind} file {file_id} at the service." in log
    # After a clear, the files are gone at the service, but the folder has all of them.
    assert land(tmp_path, batch_id=batch_id, delete_files=["input", "output", "error"]) == first
    with pytest.raises(RespanNotFoundError):
        land(tmp_path / "elsewhere", batch_id=batch_id, not_found_grace=0)


def test_a_file_that_cannot_be_deleted_is_a_warning(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str]
) -> None:
    batch_id = add_batch(connected, GOOD)
    connected.inject(Fault.error(403), method="DELETE", times=None)

    land(tmp_path, batch_id=batch_id, delete_files="output")

    assert "The results are written, but the output file file-00000001 could not be deleted: 403 Forbidden: " in said()
    assert "manifest.json" in names(tmp_path)


def test_a_file_whose_id_is_not_known_is_not_deleted(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str]
) -> None:
    xcoms = land(tmp_path, batch_id=add_batch(connected, GOOD), delete_files=["input", "error"], do_xcom_push=False)

    assert "There is no input file to delete, or its id is not known." in said()
    assert set(xcoms) == {"return_value"}
    assert [request.method for request in connected.requests].count("DELETE") == 0


def test_nothing_is_deleted_if_nothing_was_written(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, b"{no}\n")

    with pytest.raises(RespanResultsError):
        land(tmp_path, batch_id=batch_id, delete_files=["input", "output", "error"])

    assert [request.method for request in connected.requests].count("DELETE") == 0


def test_a_download_that_was_cut_off_is_completed(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD)
    connected.inject(Fault.cut(5), path="/content/")

    land(tmp_path, batch_id=batch_id)

    assert (tmp_path / "output.jsonl").read_bytes() == GOOD


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("has_size", [True, False])
def test_a_download_that_was_cut_off_within_a_line_is_completed(
    connected: RespanSandbox, tmp_path: Path, framing: Any, has_size: bool
) -> None:
    batch_id = add_batch(connected, GOOD)
    connected.inject(Fault.cut_download(100, framing=framing))
    if not has_size:
        connected.inject(Fault.error(404), path="/file-00000001/$", times=None)

    land(tmp_path, batch_id=batch_id)

    assert (tmp_path / "output.jsonl").read_bytes() == GOOD


@pytest.mark.parametrize("has_counts", [True, False])
def test_a_cut_between_lines_of_a_content_of_unknown_length_is_found_by_the_counts_of_the_batch(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str], has_counts: bool
) -> None:
    counts = {"total": 2, "completed": 2, "failed": 0} if has_counts else None
    batch_id = add_batch(connected, GOOD, request_counts=counts)
    cut = len(jsonl(good("a")))
    connected.inject(Fault.cut_download(cut, framing="close"))
    connected.inject(Fault.error(404), path="/file-00000001/$", times=None)

    if has_counts:
        with pytest.raises(RespanResultsError, match="1 of 2 requests have no row"):
            land(tmp_path, batch_id=batch_id)
    else:
        land(tmp_path, batch_id=batch_id)

    assert f"So the {cut} bytes that arrived may not be all of it." in said()


def test_the_provider_is_sent_with_each_request(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD, BAD)
    before = len(connected.requests)

    land(tmp_path, batch_id=batch_id, provider_id="openai", delete_files="error")

    asked = connected.requests[before:]
    assert len(asked) == 4
    assert all(request.query == {"provider_id": "openai"} for request in asked)


def test_an_unknown_store_is_named_before_anything_is_downloaded(connected: RespanSandbox, tmp_path: Path) -> None:
    with pytest.raises(
        RespanStorageError, match=r".*nope.* \(Airflow cannot open 'nope://bucket/folder'\)\. Install the"
    ):
        land("nope://bucket/folder", batch_id=add_batch(connected, GOOD))

    assert downloads(connected) == 0


def test_a_path_that_is_a_file_is_named(connected: RespanSandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(RespanResultsError, match=re.escape(f"{tmp_path}/file/")):
        land(tmp_path / "file", batch_id=add_batch(connected, GOOD))
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_that_has_the_name_of_a_file_is_named_and_kept(connected: RespanSandbox, tmp_path: Path) -> None:
    (tmp_path / "output.jsonl").mkdir()

    with pytest.raises(RespanResultsError) as failed:
        land(tmp_path, batch_id=add_batch(connected, GOOD))

    assert str(failed.value) == (
        f"IsADirectoryError: [Errno 21] Is a directory: '{tmp_path}/output.jsonl' (could not write "
        f"{tmp_path}/output.jsonl). Check that the path is right, and that its bucket or parent folder exists, and "
        "clear the task. Results without a manifest.json beside them are not complete."
    )
    assert names(tmp_path) == {"output.jsonl"}


def test_without_pyarrow_parquet_is_refused_before_anything_is_downloaded(
    connected: RespanSandbox, tmp_path: Path, run_without: Callable[..., str]
) -> None:
    batch_id = add_batch(connected, GOOD)
    said = run_without("pyarrow", batch_id=batch_id, path=str(tmp_path / "results"), parquet=True)

    assert said == (
        "Results as Parquet need pyarrow, which cannot be imported (No module named 'pyarrow'). Install it where the "
        "task runs: pip install 'airflow-respan[parquet]'"
    )
    assert downloads(connected) == 0
    assert names(tmp_path) == set()
