"""Files of a batch that come a little after its end, or never, and errors in the place of a file's content."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.exceptions import RespanNotFoundError, RespanResultsError, RespanTransientError
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.operators.landings import add_batch, bad, good, jsonl, land, upload
from tests.operators.modes import request

GOOD, BAD = jsonl(good("a"), good("b")), jsonl(bad("c"))
COUNTS = {"total": 3, "completed": 2, "failed": 1}
NONE_FAILED = {"total": 2, "completed": 2, "failed": 0}
ALL_FAILED = {"total": 1, "completed": 0, "failed": 1}
NEVER = "file-never"
GRACE_SECONDS = 12.0
LATE = "The files of a batch may come a little after its end, so this is tried again for"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def attempts(sandbox: RespanSandbox, path: str) -> int:
    return sum(path in each.path for each in sandbox.requests)


def land_late(folder: Path, **options: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = land(folder, not_found_grace=GRACE_SECONDS, **options)["return_value"]
    return manifest


def ended(seconds_ago: float | None) -> dict[str, Any]:
    return {} if seconds_ago is None else {"completed_at": int(time.time() - seconds_ago)}


EACH_END = pytest.mark.parametrize(
    "seconds_ago", [None, 0, -3600, 86400], ids=["unknown end", "now", "a clock ahead", "yesterday"]
)


@EACH_END
@pytest.mark.parametrize("path", ["/file-00000001/content/", "/file-00000002/content/"])
def test_a_file_that_is_not_found_for_a_moment_is_downloaded(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str], path: str, seconds_ago: float | None
) -> None:
    batch_id = add_batch(connected, GOOD, BAD, request_counts=COUNTS, **ended(seconds_ago))
    connected.inject(Fault.error(404), path=path, times=2)

    manifest = land_late(tmp_path, batch_id=batch_id)

    assert manifest["counts"] == {"rows": 3, "succeeded": 2, "failed": 1, "missing": 0}
    assert manifest["absent_files"] == []
    assert attempts(connected, path) == 3
    assert said().count(LATE) >= 2


def test_files_that_are_given_by_their_ids_may_come_late_too(connected: RespanSandbox, tmp_path: Path) -> None:
    output_file_id = upload(GOOD)
    connected.inject(Fault.error(404), path="/content/", times=2)

    assert land_late(tmp_path, output_file_id=output_file_id)["counts"]["rows"] == 2


@EACH_END
def test_a_file_that_is_never_found_fails_the_task_when_the_grace_is_over(
    connected: RespanSandbox, tmp_path: Path, seconds_ago: float | None
) -> None:
    batch_id = add_batch(connected, request_counts=COUNTS, output_file_id=NEVER, **ended(seconds_ago))
    started = time.monotonic()

    with pytest.raises(RespanNotFoundError, match=rf"^404 Not Found.* \(download {NEVER}, "):
        land(tmp_path, batch_id=batch_id, not_found_grace=0.3)

    assert time.monotonic() - started < 5
    assert attempts(connected, "/content/") > 1
    assert names(tmp_path) == set()


def test_without_a_grace_a_missing_file_fails_the_task_at_once(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD)
    connected.inject(Fault.error(404), path="/content/")

    with pytest.raises(RespanNotFoundError):
        land(tmp_path, batch_id=batch_id, not_found_grace=0)

    assert attempts(connected, "/content/") == 1


@contextmanager
def after(seconds: float, change: Callable[[], None]) -> Iterator[None]:
    """Change something while the block runs."""
    timer = threading.Timer(seconds, change)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@EACH_END
@pytest.mark.parametrize(
    ("counts", "errors"),
    [(COUNTS, BAD), (COUNTS, None), (None, None), ({"total": 0, "completed": 0, "failed": 0}, None)],
    ids=["answers are counted", "no file at all", "no counts", "counts of zero"],
)
def test_an_output_file_whose_id_comes_late_is_landed(
    connected: RespanSandbox,
    tmp_path: Path,
    counts: dict[str, int] | None,
    errors: bytes | None,
    seconds_ago: float | None,
) -> None:
    batch_id = add_batch(connected, None, errors, request_counts=counts, **ended(seconds_ago))
    late = {"output_file_id": upload(GOOD), "error_file_id": upload(BAD)}

    with after(0.05, lambda: connected.change_batch(batch_id, **late)):
        manifest = land_late(tmp_path, batch_id=batch_id)

    assert manifest["counts"]["rows"] == 3
    assert names(tmp_path) == {"output.jsonl", "errors.jsonl", "manifest.json"}


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled", "failed"])
def test_answers_that_are_counted_are_waited_for_whatever_the_status_is(
    connected: RespanSandbox, tmp_path: Path, status: str
) -> None:
    batch_id = add_batch(connected, None, BAD, request_counts=COUNTS, status=status)
    output_file_id = upload(GOOD)

    with after(0.05, lambda: connected.change_batch(batch_id, output_file_id=output_file_id)):
        assert land_late(tmp_path, batch_id=batch_id)["counts"]["rows"] == 3


def test_an_error_file_whose_id_comes_late_is_landed(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = add_batch(connected, GOOD, request_counts=COUNTS)
    error_file_id = upload(BAD)

    with after(0.05, lambda: connected.change_batch(batch_id, error_file_id=error_file_id)):
        manifest = land_late(tmp_path, batch_id=batch_id)

    assert manifest["counts"] == {"rows": 3, "succeeded": 2, "failed": 1, "missing": 0}
    assert manifest["landing"]["error_file_id"] == error_file_id


@pytest.mark.parametrize(
    ("output", "errors", "counts"),
    [
        (GOOD, BAD, COUNTS),
        (GOOD + BAD, None, COUNTS),
        (None, BAD, ALL_FAILED),
        (None, BAD, None),
        (GOOD, None, None),
    ],
    ids=["both files", "failed requests in the output", "all failed", "all failed without counts", "no counts"],
)
def test_a_batch_with_the_files_that_it_should_have_is_retrieved_once(
    connected: RespanSandbox, tmp_path: Path, output: bytes | None, errors: bytes | None, counts: dict[str, int] | None
) -> None:
    batch_id = add_batch(connected, output, errors, request_counts=counts)

    land(tmp_path, batch_id=batch_id)  # with a grace of a minute

    assert attempts(connected, "/batches/") == 1


def test_an_output_file_that_never_comes_fails_the_task_when_the_grace_is_over(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    batch_id = add_batch(connected, request_counts=NONE_FAILED)

    with pytest.raises(RespanResultsError, match="Without an output file and an error file there are no results"):
        land(tmp_path, batch_id=batch_id, not_found_grace=0.2)

    assert attempts(connected, "/batches/") > 1


ABSENT = {
    "no failure is counted": (GOOD, "error_file_id", NONE_FAILED, None),
    "no answer is counted": (BAD, "output_file_id", ALL_FAILED, None),
    "all rows are there by the counts": (GOOD, "error_file_id", {"total": 2, "completed": 2}, None),
    "all rows are there by the input": (GOOD, "error_file_id", None, "ab"),
}


@pytest.mark.parametrize("kind", ABSENT)
def test_a_file_that_does_not_exist_is_a_warning_if_it_would_have_no_row(
    connected: RespanSandbox, tmp_path: Path, kind: str
) -> None:
    content, absent, counts, requested = ABSENT[kind]
    files = (content, None) if absent == "error_file_id" else (None, content)
    batch_id = add_batch(connected, *files, request_counts=counts)
    connected.change_batch(batch_id, **{absent: NEVER})
    options: dict[str, Any] = {"batch_id": batch_id, "not_found_grace": 0.1}
    if requested:
        (tmp_path / "in.jsonl").write_bytes(jsonl(*({**request(1), "custom_id": each} for each in requested)))
        options["input_path"] = f"{tmp_path}/in.jsonl"

    manifest = land(tmp_path / "results", **options)["return_value"]
    downloads = attempts(connected, "/content/")
    again = land(tmp_path / "results", **options)["return_value"]

    written, left_out = ("output", "errors") if absent == "error_file_id" else ("errors", "output")
    assert names(tmp_path / "results") == {f"{written}.jsonl", "manifest.json"}
    assert manifest["absent_files"] == [left_out]
    assert (manifest[f"{left_out}_path"], manifest["bytes"]) == (None, {written: len(content)})
    assert manifest["counts"]["missing"] == 0
    assert manifest["warnings"][0].startswith(
        "A file of the batch does not exist, but it would have no row: 404 Not Found: "
    )
    assert (again, attempts(connected, "/content/")) == (manifest, downloads)
    expected_empty = kind in ("no failure is counted", "no answer is counted")
    assert (attempts(connected, NEVER) == 1) is expected_empty  # it is not looked for again then


@pytest.mark.parametrize(
    ("counts", "status"),
    [(COUNTS, "completed"), (None, "completed"), ({"total": 9, "completed": 2, "failed": 1}, "expired")],
)
def test_an_error_file_that_does_not_exist_fails_the_task_if_rows_may_be_in_it(
    connected: RespanSandbox, tmp_path: Path, counts: dict[str, int] | None, status: str
) -> None:
    batch_id = add_batch(connected, GOOD, request_counts=counts, status=status, error_file_id=NEVER)

    with pytest.raises(RespanNotFoundError, match=rf"^404 Not Found.* \(download {NEVER}, "):
        land(tmp_path, batch_id=batch_id, not_found_grace=0.1, on_missing="warn")

    assert names(tmp_path) == set()


ERRORS = {
    "an error": (json.dumps({"error": {"message": "Storage is down.", "code": 503}}), "Storage is down"),
    "a text": (json.dumps({"error": "Storage is down."}), "Storage is down"),
    "detail": (json.dumps({"detail": "Not authorised for this file."}), "Not authorised for this file"),
    "nested": (json.dumps({"error": {"error": {"message": "No such blob."}}}), "No such blob"),
    "errors": (json.dumps({"errors": [{"message": "One."}, {"message": "Two."}]}), "One"),
    "a message": (json.dumps({"message": "Internal error", "request_id": "req_1"}), "Internal error"),
    "a problem": (json.dumps({"type": "about:blank", "title": "Bad gateway", "status": 502}), "Bad gateway"),
    "in several lines": (json.dumps({"error": {"message": "Storage is down."}}, indent=2), "Storage is down"),
    "after a mark": ("\ufeff\n" + json.dumps({"error": {"message": "Storage is down."}}), "Storage is down"),
    "HTML": ("<!DOCTYPE html>\n<html><body>Please log in</body></html>\n", "not JSON but '<!DOCTYPE html> <html>"),
    "XML": ("<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>", "<Error><Code>SlowDown</Code></Error>"),
}


@pytest.mark.parametrize("on_bad_rows", ["fail", "warn", "drop"])
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_in_the_place_of_a_content_fails_the_task_with_its_words(
    connected: RespanSandbox, tmp_path: Path, kind: str, on_bad_rows: str
) -> None:
    content, words = ERRORS[kind]
    batch_id = add_batch(connected, content.encode(), BAD)

    with pytest.raises(RespanTransientError) as failed:
        land(tmp_path, batch_id=batch_id, not_found_grace=0.05, on_bad_rows=on_bad_rows, on_missing="warn")

    message = str(failed.value)
    assert message.startswith("Respan sent an error as the content of the file: ")
    assert words in message
    assert message.endswith(
        f" (download file-00000001, connection respan_default at {connected.url}). This may be temporary."
    )
    assert ".." not in message
    assert names(tmp_path) == set()


def test_an_error_in_the_place_of_a_content_shows_no_key(connected: RespanSandbox, tmp_path: Path) -> None:
    content = json.dumps({"error": {"message": f"Key {connected.api_key} is not known\nhere."}}).encode()

    with pytest.raises(RespanTransientError, match=r"the file: Key \*\*\* is not known here \(download"):
        land(tmp_path, batch_id=add_batch(connected, content), not_found_grace=0)


def test_a_content_that_is_an_error_for_a_moment_is_downloaded_again(
    connected: RespanSandbox, tmp_path: Path, said: Callable[[], str]
) -> None:
    batch_id = add_batch(connected, GOOD, BAD, request_counts=COUNTS)
    connected.inject(Fault(status=200, body={"error": {"message": "Not ready."}}), path="/file-00000001/", times=2)
    connected.inject(Fault.html(200), path="/file-00000002/", times=1)

    manifest = land_late(tmp_path, batch_id=batch_id)

    assert (tmp_path / "output.jsonl").read_bytes() == GOOD
    assert manifest["counts"]["rows"] == 3
    logged = said()
    assert "Respan sent an error as the content of the file: Not ready (download file-00000001, " in logged
    assert f"). This may be temporary. {LATE}" in logged


def test_an_error_in_the_place_of_the_input_is_not_taken_for_the_input(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    batch_id = add_batch(connected, GOOD)
    input_file_id = upload(b'{"detail": "Gone."}')

    with pytest.raises(RespanTransientError, match=rf"the content of the file: Gone \(download {input_file_id}, "):
        land(tmp_path, batch_id=batch_id, input_file_id=input_file_id)


@pytest.mark.parametrize(
    "row",
    [
        {"custom_id": "a", "error": {"message": "No.", "code": "x"}},
        {"custom_id": "a", "response": None, "error": {"message": "No."}},
        {"custom_id": "a", "response": {"status_code": 500, "body": {"error": {"message": "No."}}}},
        {"custom_id": "a", "error": "No.", "detail": "No.", "message": "No."},
        {"custom_id": 7, "error": {"message": "No."}},
    ],
)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_file_of_one_failed_row_is_landed(
    connected: RespanSandbox, tmp_path: Path, row: dict[str, Any], end: bytes
) -> None:
    content = json.dumps(row).encode() + end
    batch_id = add_batch(connected, None, content, request_counts=ALL_FAILED)

    manifest = land(tmp_path, batch_id=batch_id)["return_value"]

    assert manifest["counts"] == {"rows": 1, "succeeded": 0, "failed": 1, "missing": 0}
    assert manifest["errors"][0]["message"] == "No."
    assert (tmp_path / "errors.jsonl").read_bytes() == content
