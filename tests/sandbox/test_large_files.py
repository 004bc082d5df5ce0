"""Files at the limits, 200 MB and 50,000 requests: constant memory, and responses to other requests meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_respan.sandbox import RespanSandbox
from airflow_respan.sandbox.input_runner import MAX_INPUT_BYTES, MAX_REQUESTS
from tests.conftest import environment_without_coverage
from tests.memory import peak_megabytes

HEADERS = {"Authorization": "Bearer sandbox-key"}


def write_input(path: Path, *, lines: int, size: int) -> None:
    """Write a file with this number of requests and this size in bytes."""
    with path.open("w") as file:
        for number in range(lines):
            length = size // lines + (number < size % lines)
            request: dict[str, Any] = {
                "custom_id": f"request-{number:05d}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "m", "messages": [{"role": "user", "content": ""}]},
            }
            request["body"]["messages"][0]["content"] = "x" * (length - len(json.dumps(request)) - 1)
            file.write(json.dumps(request) + "\n")


def upload(url: str, path: Path) -> str:
    boundary = b"boundary"
    start = b'--%s\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' % boundary
    start += b'--%s\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n' % boundary

    def body() -> Iterator[bytes]:
        yield start
        with path.open("rb") as file:
            while piece := file.read(2**16):
                yield piece
        yield b"\r\n--%s--\r\n" % boundary

    headers = {**HEADERS, "Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
    response = requests.post(f"{url}/api/files/", data=body(), headers=headers, timeout=120)
    assert response.json()["bytes"] == path.stat().st_size
    return response.json()["id"]


def create(url: str, file_id: str) -> str:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return requests.post(f"{url}/api/v1/batches/", json=body, headers=HEADERS, timeout=10).json()["id"]


def get_batch(url: str, batch_id: str) -> dict[str, Any]:
    return requests.get(f"{url}/api/v1/batches/{batch_id}/", headers=HEADERS, timeout=10).json()


@pytest.fixture
def program() -> Iterator[tuple[str, int]]:
    """A local Respan in a process of its own: its URL, and its process id."""
    command = [sys.executable, "-m", "airflow_respan.sandbox", "--port", "0", "--pace", "0"]
    with subprocess.Popen(command, env=environment_without_coverage(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        exported = process.stdout.readline().removeprefix("export AIRFLOW_CONN_RESPAN_DEFAULT='").strip("'\n")
        connection = json.loads(exported)
        yield f"{connection['host']}:{connection['port']}", process.pid
        process.terminate()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from Linux's /proc")
def test_a_batch_at_the_limits_takes_constant_memory(tmp_path: Path, program: tuple[str, int]) -> None:
    (url, pid), whole, small = program, tmp_path / "in.jsonl", tmp_path / "small.jsonl"
    write_input(whole, lines=MAX_REQUESTS, size=MAX_INPUT_BYTES)
    write_input(small, lines=1, size=1000)
    warm_up = create(url, upload(url, small))
    while get_batch(url, warm_up)["status"] != "completed":
        pass
    before = peak_megabytes(pid)

    batch_id = create(url, upload(url, whole))
    checks = 0
    while (batch := get_batch(url, batch_id))["status"] == "validating":
        checks += 1
    content = f"{url}/api/files/{batch['output_file_id']}/content/"
    with requests.get(content, headers=HEADERS, stream=True, timeout=60) as response, whole.open("wb") as file:
        shutil.copyfileobj(response.raw, file)
    grown_by = peak_megabytes(pid) - before
    with whole.open() as rows:
        custom_ids = [json.loads(row)["custom_id"] for row in rows]

    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": MAX_REQUESTS, "completed": MAX_REQUESTS, "failed": 0}
    assert custom_ids == [f"request-{number:05d}" for number in range(MAX_REQUESTS)]
    assert whole.stat().st_size > MAX_INPUT_BYTES
    assert grown_by < 64  # MB
    # At this pace the first status lasts as long as the run. Without responses meanwhile, no check would return it.
    assert checks >= 10


@pytest.mark.parametrize(
    ("lines", "size", "code", "message"),
    [
        (MAX_REQUESTS + 1, 200 * (MAX_REQUESTS + 1), "too_many_tasks", "The batch has more than 50000 requests."),
        (1000, MAX_INPUT_BYTES + 1, "file_too_large", "The input file has more than 209715200 bytes."),
    ],
)
def test_a_batch_beyond_the_limits_fails(
    sandbox: RespanSandbox, tmp_path: Path, lines: int, size: int, code: str, message: str
) -> None:
    write_input(tmp_path / "in.jsonl", lines=lines, size=size)

    batch_id = create(sandbox.url, upload(sandbox.url, tmp_path / "in.jsonl"))

    assert sandbox.advance(batch_id) == "failed"
    assert get_batch(sandbox.url, batch_id)["errors"]["data"] == [
        {"code": code, "line": None, "message": message, "param": None}
    ]


def test_a_duplicate_at_the_end_of_a_large_file_is_found(sandbox: RespanSandbox, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    write_input(path, lines=MAX_REQUESTS - 2, size=300 * (MAX_REQUESTS - 2))
    first = path.open().readline()
    with path.open("a") as file:
        file.write(first)

    batch_id = create(sandbox.url, upload(sandbox.url, path))

    assert sandbox.advance(batch_id) == "failed"
    [error] = get_batch(sandbox.url, batch_id)["errors"]["data"]
    assert (error["code"], error["line"]) == ("duplicate_custom_id", 49_999)


def test_a_sandbox_stops_in_the_middle_of_a_large_file(tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", lines=MAX_REQUESTS, size=300 * MAX_REQUESTS)
    with RespanSandbox(pace=None) as sandbox:
        create(sandbox.url, upload(sandbox.url, tmp_path / "in.jsonl"))
        [output] = [path for path in sandbox.service.files.directory.iterdir() if path.name.endswith("2")]
        while not output.stat().st_size:
            pass

        sandbox.service.batches.close()

        assert output.read_bytes().count(b"\n") < MAX_REQUESTS
