"""A folder is complete or has no manifest: after killed processes, on full disks, with files of 200 MB."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sandbox import RespanSandbox
from tests.conftest import PAGE
from tests.operators.landings import add_batch, bad, good, jsonl, land, upload
from tests.results.programs import run


@pytest.mark.parametrize(
    "options", [{}, {"parquet": True}, {"delete_files": ["output", "error"]}], ids=["plain", "parquet", "deleting"]
)
def test_a_kill_at_any_step_leaves_no_manifest_and_the_next_attempt_completes_the_folder(
    connected: RespanSandbox, tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "temporary").mkdir()

    steps = run("dying", tmp_path / "results", tmp_path / "temporary", json.dumps(options))

    files = {"output.jsonl", "errors.jsonl", "manifest.json", *(["results.parquet"] if "parquet" in options else [])}
    complete = dict.fromkeys(files, "whole")
    assert [step["end"] for step in steps] == [9] * (len(steps) - 1) + [0]
    assert len(steps) > 15
    for step in steps:
        left = {name: state for name, state in step["after_death"].items() if not name.endswith(".part")}
        assert set(left.values()) <= {"whole"}
        assert "manifest.json" not in left or left == complete
        assert (step["second"], step["after_retry"]) == (0, complete)
    # At least one kill came before a rename, or else the test would not show what it should.
    assert any(name.endswith(".part") for step in steps for name in step["after_death"])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def filled(size: int, custom_id: str = "a", make: Callable[..., dict[str, Any]] = good) -> bytes:
    """Return a row of exactly so many bytes."""
    return jsonl(make(custom_id, "x" * (size - len(jsonl(make(custom_id, ""))))))


def test_a_full_worker_disk_is_named(
    connected: RespanSandbox, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(4)
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    batch_id = add_batch(connected, filled(5 * PAGE))

    with pytest.raises(RespanResultsError) as failed:
        land(tmp_path / "results", batch_id=batch_id)

    assert str(failed.value) == (
        f"[Errno 28] No space left on device: the results could not be kept in {disk} until they are checked. Make "
        "room there, or set the worker's variable TMPDIR to a larger folder, and clear the task."
    )
    assert (names(tmp_path / "results"), names(disk)) == (set(), set())


def test_a_temporary_folder_that_does_not_exist_is_named(
    connected: RespanSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", f"{tmp_path}/none")

    with pytest.raises(RespanResultsError) as failed:
        land(tmp_path / "results", batch_id=add_batch(connected, jsonl(good("a"))))

    message = re.sub(r"none/tmp\w+", "none/tmp", str(failed.value))
    assert message == (
        f"[Errno 2] No such file or directory: '{tmp_path}/none/tmp': the results could not be kept in {tmp_path}/none "
        "until they are checked. Check this folder on the worker, or set the worker's variable TMPDIR to "
        "another one, and clear the task."
    )


def test_a_worker_disk_without_room_for_parquet_is_named(
    connected: RespanSandbox, tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = add_batch(connected, jsonl(good("a", os.urandom(3 * PAGE).hex())))
    disk = small_disk(7)
    monkeypatch.setattr("tempfile.tempdir", str(disk))

    with pytest.raises(RespanResultsError, match=r"No space left on device: the results could not be kept in"):
        land(tmp_path / "results", batch_id=batch_id, parquet=True)

    assert (names(tmp_path / "results"), names(disk)) == (set(), set())


@pytest.mark.parametrize(
    ("pages", "fails", "left"),
    [
        (2, "output.jsonl", set()),
        (4, "errors.jsonl", {"output.jsonl"}),
        (5, "manifest.json", {"output.jsonl", "errors.jsonl"}),
    ],
)
def test_a_full_folder_has_no_incomplete_file_and_no_manifest(
    connected: RespanSandbox,
    small_disk: Callable[[int], Path],
    pages: int,
    fails: str,
    left: set[str],
) -> None:
    batch_id = add_batch(connected, filled(2 * PAGE), filled(2 * PAGE, "b", bad))
    disk = small_disk(pages)  # one page is for the claim

    with pytest.raises(RespanResultsError) as failed:
        land(disk, batch_id=batch_id)

    assert str(failed.value) == (
        f"OSError: [Errno 28] No space left on device (could not write {disk}/{fails}). Check free space and "
        "permissions, and clear the task. Results without a manifest.json beside them are not complete."
    )
    assert names(disk) == left
    subprocess.run(["mount", "-o", f"remount,size={20 * PAGE}", str(disk)], check=True)
    land(disk, batch_id=batch_id)
    assert names(disk) == {"output.jsonl", "errors.jsonl", "manifest.json"}


def test_a_download_to_a_full_disk_names_its_target(
    connected: RespanSandbox, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(1)
    file_id = upload(filled(2 * PAGE))

    with pytest.raises(OSError, match="No space left on device") as failed:
        RespanHook().download_file(file_id, disk / "out")

    assert str(failed.value) == f"[Errno 28] No space left on device: '{disk}/out'"
    assert names(disk) == set()


@pytest.mark.parametrize("parquet", [False, True])
def test_200_megabytes_are_landed_in_constant_memory(connected: RespanSandbox, tmp_path: Path, parquet: bool) -> None:
    files = connected.service.files
    output = files.new(filename="output.jsonl", purpose="batch_output")
    with output.path.open("wb") as rows, (tmp_path / "input.jsonl").open("wb") as requests:
        row = filled(4200, "request-00000")
        for number in range(50_000):
            rows.write(row.replace(b"request-00000", b"request-%05d" % number))
            requests.write(b'{"custom_id": "request-%05d"}\n' % number)
    files.add(output)
    options = {"output_file_id": output.id, "input_path": str(tmp_path / "input.jsonl"), "parquet": parquet}

    [measured] = run("measured", tmp_path / "results", json.dumps(options))

    assert measured["manifest"]["counts"] == {"rows": 50_000, "succeeded": 50_000, "failed": 0, "missing": 0}
    assert measured["manifest"]["bytes"]["output"] == 210_000_000
    assert measured["grown_by"] < 64  # MB
