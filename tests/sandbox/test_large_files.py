"""Files of full size: 200 MB and 50,000 requests pass through in constant memory, while everybody else is answered."""

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
from airflow_respan.sandbox.work import LARGEST_INPUT, MOST_REQUESTS
from tests.memory import peak_megabytes

HEADERS = {"Authorization": "Bearer sandbox-key"}


def write_input(path: Path, *, lines: int, size: int) -> None:
    """Write so many requests into a file of so many bytes."""
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
    head = b'--%s\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' % boundary
    head += b'--%s\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n' % boundary

    def body() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while piece := file.read(2**16):
                yield piece
        yield b"\r\n--%s--\r\n" % boundary

    headers = {**HEADERS, "Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
    answer = requests.post(f"{url}/api/files/", data=body(), headers=headers, timeout=120)
    assert answer.json()["bytes"] == path.stat().st_size
    return answer.json()["id"]


def create(url: str, file_id: str) -> str:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return requests.post(f"{url}/api/v1/batches/", json=body, headers=HEADERS, timeout=10).json()["id"]


def look(url: str, batch_id: str) -> dict[str, Any]:
    return requests.get(f"{url}/api/v1/batches/{batch_id}/", headers=HEADERS, timeout=10).json()


@pytest.fixture
def program() -> Iterator[tuple[str, int]]:
    """A local Respan that is a process of its own: its address, and its process id."""
    command = [sys.executable, "-m", "airflow_respan.sandbox", "--port", "0", "--pace", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        connection = process.stdout.readline().removeprefix("export AIRFLOW_CONN_RESPAN_DEFAULT='").strip("'\n")
        yield json.loads(connection)["host"], process.pid
        process.terminate()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from Linux's /proc")
def test_a_batch_of_full_size_passes_through_in_constant_memory(tmp_path: Path, program: tuple[str, int]) -> None:
    (url, pid), whole, small = program, tmp_path / "in.jsonl", tmp_path / "small.jsonl"
    write_input(whole, lines=MOST_REQUESTS, size=LARGEST_INPUT)
    write_input(small, lines=1, size=1000)
    warm_up = create(url, upload(url, small))
    while look(url, warm_up)["status"] != "completed":
        pass
    before = peak_megabytes(pid)

    batch_id = create(url, upload(url, whole))
    looks = 0
    while (batch := look(url, batch_id))["status"] == "validating":
        looks += 1
    content = f"{url}/api/files/{batch['output_file_id']}/content/"
    with requests.get(content, headers=HEADERS, stream=True, timeout=60) as answer, whole.open("wb") as file:
        shutil.copyfileobj(answer.raw, file)
    grown_by = peak_megabytes(pid) - before
    with whole.open() as rows:
        answered = [json.loads(row)["custom_id"] for row in rows]

    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": MOST_REQUESTS, "completed": MOST_REQUESTS, "failed": 0}
    assert answered == [f"request-{number:05d}" for number in range(MOST_REQUESTS)]
    assert whole.stat().st_size > LARGEST_INPUT
    assert grown_by < 64  # MB
    # At this pace the first status lasts as long as the run: had that stopped all answers, no look had met it.
    assert looks >= 10


@pytest.mark.parametrize(
    ("lines", "size", "code", "message"),
    [
        (MOST_REQUESTS + 1, 200 * (MOST_REQUESTS + 1), "too_many_tasks", "The batch has more than 50000 requests."),
        (1000, LARGEST_INPUT + 1, "file_too_large", "The input file has more than 209715200 bytes."),
    ],
)
def test_an_input_file_beyond_the_limits_fails(
    sandbox: RespanSandbox, tmp_path: Path, lines: int, size: int, code: str, message: str
) -> None:
    write_input(tmp_path / "in.jsonl", lines=lines, size=size)

    batch_id = create(sandbox.url, upload(sandbox.url, tmp_path / "in.jsonl"))

    assert sandbox.advance(batch_id) == "failed"
    assert look(sandbox.url, batch_id)["errors"]["data"] == [
        {"code": code, "line": None, "message": message, "param": None}
    ]


def test_a_duplicate_at_the_end_of_a_large_file_is_found(sandbox: RespanSandbox, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    write_input(path, lines=MOST_REQUESTS - 2, size=300 * (MOST_REQUESTS - 2))
    first = path.open().readline()
    with path.open("a") as file:
        file.write(first)

    batch_id = create(sandbox.url, upload(sandbox.url, path))

    assert sandbox.advance(batch_id) == "failed"
    [error] = look(sandbox.url, batch_id)["errors"]["data"]
    assert (error["code"], error["line"]) == ("duplicate_custom_id", 49_999)


def test_a_sandbox_leaves_off_in_the_middle_of_a_large_file(tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", lines=MOST_REQUESTS, size=300 * MOST_REQUESTS)
    with RespanSandbox(pace=None) as sandbox:
        create(sandbox.url, upload(sandbox.url, tmp_path / "in.jsonl"))
        [output] = [path for path in sandbox.service.files.directory.iterdir() if path.name.endswith("2")]
        while not output.stat().st_size:
            pass

        sandbox.service.batches.close()

        assert output.read_bytes().count(b"\n") < MOST_REQUESTS
