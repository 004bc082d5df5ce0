"""The answers of a landing, read back: from where they can be read, and that no row ends the reading."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import BaseModel

from airflow_respan.exceptions import RespanResultsError, RespanStorageError
from airflow_respan.jsonl import MAX_LINE_BYTES
from airflow_respan.results import Answer, RowError, answers
from airflow_respan.sandbox import RespanSandbox
from tests.memory import peak_megabytes, reset_peak
from tests.operators.landings import add_batch, bad, good, jsonl, land
from tests.releases import recorded


class Ticket(BaseModel):
    subject: str
    urgent: bool


GOOD, BAD = jsonl(good("a"), good("b", "Good day")), jsonl(bad("c"))
ALL = [
    Answer(custom_id="a", value="Hello", error=None),
    Answer(custom_id="b", value="Good day", error=None),
    Answer(custom_id="c", value=None, error=RowError(code="context_length_exceeded", message="Too long.")),
]


@pytest.fixture
def manifest(connected: RespanSandbox, tmp_path: Path) -> dict[str, Any]:
    """The manifest of a landing, as XCom gives it."""
    landed = land(tmp_path / "results", batch_id=add_batch(connected, GOOD, BAD))["return_value"]
    return json.loads(json.dumps(landed))


SOURCES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "manifest": lambda manifest: manifest,
    "folder": lambda manifest: manifest["path"],
    "folder with a slash": lambda manifest: f"{manifest['path']}/",
    "folder as a URI": lambda manifest: f"file://{manifest['path']}",
    "folder as a Path": lambda manifest: Path(manifest["path"]),
    "folder as an ObjectStoragePath": lambda manifest: ObjectStoragePath(manifest["path"]),
    "path of the manifest": lambda manifest: manifest["manifest_path"],
}


@pytest.mark.parametrize("source", SOURCES)
def test_answers_and_errors_are_read_from_a_landing(manifest: dict[str, Any], source: str) -> None:
    assert list(answers(SOURCES[source](manifest))) == ALL


def test_a_landing_in_the_current_folder_is_read(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(manifest["path"])

    assert list(answers("manifest.json")) == list(answers(".")) == list(answers("../results")) == ALL


def test_one_file_is_read(manifest: dict[str, Any]) -> None:
    assert list(answers(manifest["output_path"])) == ALL[:2]
    assert list(answers(Path(manifest["errors_path"]))) == ALL[2:]


def test_a_folder_that_was_copied_is_read_and_not_the_one_that_it_was_copied_from(manifest: dict[str, Any]) -> None:
    copied = Path(manifest["path"]).rename(Path(manifest["path"]).parent / "copied")

    assert list(answers(copied)) == ALL


def test_a_landing_without_answers_has_only_errors(connected: RespanSandbox, tmp_path: Path) -> None:
    assert list(answers(land(tmp_path, batch_id=add_batch(connected, None, BAD))["return_value"])) == ALL[2:]


def test_an_empty_landing_has_no_answers(connected: RespanSandbox, tmp_path: Path) -> None:
    assert list(answers(land(tmp_path, batch_id=add_batch(connected, b""))["return_value"])) == []


@pytest.mark.parametrize(
    "record", [pytest.param(record["landing"], id=release) for release, record in recorded().items()]
)
@pytest.mark.parametrize("form", ["manifest", "folder"])
def test_the_landing_of_every_release_is_read(record: dict[str, Any], form: str, tmp_path: Path) -> None:
    text = json.dumps(record["manifest"]).replace("{folder}", str(tmp_path))
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "output.jsonl").write_text(record["output"])

    [answer] = answers(json.loads(text) if form == "manifest" else tmp_path)

    assert answer == Answer(custom_id="r-1", value="Hello", error=None)


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """A store in memory, which only the connection ``my_store`` opens."""
    store = MemoryFileSystem()
    attach(protocol="memory", conn_id="my_store", fs=store).fs = store
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def test_a_landing_in_a_store_is_read_with_the_connection_in_its_uri(
    connected: RespanSandbox, store: MemoryFileSystem
) -> None:
    uri = "memory://my_store@bucket/results"
    manifest = land(uri, batch_id=add_batch(connected, GOOD, BAD))["return_value"]

    assert list(answers(manifest)) == list(answers(uri)) == list(answers(f"{uri}/manifest.json")) == ALL
    assert list(answers(ObjectStoragePath(uri))) == ALL
    assert list(answers(f"{uri}/output.jsonl")) == ALL[:2]
    assert manifest["output_url"] == "memory://bucket/results/output.jsonl"


ODD_LINES = {
    b"{no}": "not JSON (Expecting property name enclosed in double quotes, column 2)",
    b'{"response": {}}': "no custom_id, or one that is not a text",
    b"[1]": "a list, not a JSON object",
    b"\xff": "not UTF-8",
    b"[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize("line", ODD_LINES, ids=ODD_LINES.values())
def test_a_line_that_is_not_a_row_is_an_answer_with_an_error_and_the_others_are_read(
    tmp_path: Path, line: bytes
) -> None:
    file = tmp_path / "output.jsonl"
    file.write_bytes(jsonl(good("a")) + line + b"\n\n" + jsonl(good("b", "Good day")))

    first, odd, last = answers(file)

    assert [first, last] == ALL[:2]
    error = RowError(code="invalid_row", message=f"line 2 of {file}: {ODD_LINES[line]}")
    assert odd == Answer(custom_id="", value=None, error=error)


def test_a_line_that_is_too_long_is_an_answer_with_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "output.jsonl"
    with file.open("wb") as opened:
        opened.write(jsonl(good("a")))
        opened.truncate(MAX_LINE_BYTES + 2**20)
        opened.seek(0, os.SEEK_END)
        opened.write(b"\n" + jsonl(good("b", "Good day")))

    first, odd, last = answers(file)

    assert [first, last] == ALL[:2]
    assert odd.error == RowError(code="invalid_row", message=f"line 2 of {file}: longer than {MAX_LINE_BYTES} bytes")


def test_an_unusual_row_is_an_answer_as_any_other(tmp_path: Path) -> None:
    file = tmp_path / "output.jsonl"
    file.write_bytes(jsonl(good("a", score=0.5)).replace(b"0.5", b"-Infinity") + jsonl({**good("b"), "custom_id": 7}))

    first, second = answers(file)

    assert first == ALL[0]
    assert (second.custom_id, second.error) == ("7", None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            None,
            "There are no results to read in None. Check that the upstream task ran and pushed its manifest.",
        ),
        (
            "None",
            "There are no results to read in 'None'. Check that the upstream task ran and pushed its manifest.",
        ),
        (
            {"batch_id": "batch_1"},
            "This is not a manifest of results: it has neither output_path nor errors_path. Give what the task that "
            "writes the results returned, or the path of its folder.",
        ),
    ],
)
def test_what_is_no_landing_is_refused_before_the_first_answer(source: Any, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        answers(source)

    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"{}", "is not a manifest"),
        (b"half", "is not a manifest"),
        (b'{"landing": {}, "bytes": null}', "is not a manifest"),
    ],
)
def test_a_folder_that_is_not_complete_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    (tmp_path / "output.jsonl").write_bytes(GOOD)
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)

    with pytest.raises(RespanResultsError) as refused:
        answers(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path}/manifest.json {reason}, so the results in this folder are not complete, or there are none. Read "
        "them after the task that writes them has succeeded, or name one .jsonl file."
    )


def test_a_file_that_is_gone_is_named(manifest: dict[str, Any]) -> None:
    Path(manifest["output_path"]).unlink()

    with pytest.raises(
        RespanStorageError, match=rf"^FileNotFoundError: .* \(could not read {re.escape(manifest['output_path'])}\)"
    ):
        list(answers(manifest))


def test_reading_can_stop_at_any_answer(manifest: dict[str, Any]) -> None:
    reading = answers(manifest)

    assert next(reading) == ALL[0]
    reading.close()  # type: ignore[attr-defined]
    assert list(reading) == []


def test_50000_answers_are_read_in_constant_memory(tmp_path: Path) -> None:
    row = jsonl(good("request-00000", json.dumps({"subject": "x" * 600, "urgent": True})))
    with (tmp_path / "output.jsonl").open("wb") as rows:
        rows.writelines(row.replace(b"request-00000", b"request-%05d" % number) for number in range(50_000))
    next(answers(tmp_path / "output.jsonl", Ticket))  # imports what it needs

    before = reset_peak()
    count = sum(answer.error is None for answer in answers(tmp_path / "output.jsonl", Ticket))

    assert count == 50_000
    assert peak_megabytes() - before < 10
