"""The sandbox: its endpoints, the statuses of its batches, injected faults, and the program."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from airflow_respan.sandbox import Fault, RespanSandbox
from tests.sandbox.calls import LINE, call, create, lines, rows, run, upload


def test_the_statuses_of_a_batch_change_with_the_pace() -> None:
    with RespanSandbox(pace=0.2) as sandbox:
        batch = create(sandbox, LINE)
        statuses = [batch["status"]]
        while batch["status"] != "completed":
            batch = call(sandbox, "GET", f"/api/v1/batches/{batch['id']}/").json()
            if batch["status"] != statuses[-1]:
                statuses.append(batch["status"])

    assert statuses == ["validating", "in_progress", "finalizing", "completed"]
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert all(batch[f"{status}_at"] for status in statuses[1:])


@pytest.mark.parametrize(
    ("outcome", "statuses", "counts", "files"),
    [
        ("completed", ["in_progress", "finalizing", "completed"], (4, 3, 1), (True, True)),
        ("expired", ["in_progress", "expired"], (4, 1, 1), (True, True)),
        ("cancelled", ["in_progress", "cancelling", "cancelled"], (4, 1, 1), (True, True)),
        ("failed", ["failed"], (0, 0, 0), (False, False)),
    ],
)
def test_the_metadata_choose_the_outcome(
    sandbox: RespanSandbox, outcome: str, statuses: list[str], counts: tuple[int, ...], files: tuple[bool, bool]
) -> None:
    lines = [{**LINE, "custom_id": f"request-{number}"} for number in range(4)]
    lines[0] = {**lines[0], "body": {**LINE["body"], "model": "sandbox-fails"}}
    batch_id = create(sandbox, *lines, metadata={"sandbox_outcome": outcome})["id"]

    assert [sandbox.advance(batch_id) for _ in statuses] == statuses
    assert sandbox.advance(batch_id) == outcome
    batch = call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").json()
    assert tuple(batch["request_counts"].values()) == counts
    assert (bool(batch["output_file_id"]), bool(batch["error_file_id"])) == files


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        (["no json"], "invalid_json_line", 1),
        (["[" * 100_000], "invalid_json_line", 1),
        ([LINE, LINE], "duplicate_custom_id", 2),
        ([LINE, {**LINE, "custom_id": "x", "url": "/v1/embeddings"}], "url_mismatch", 2),
        ([{**LINE, "method": "GET"}], "invalid_method", 1),
        ([{key: value for key, value in LINE.items() if key != "custom_id"}], "missing_required_parameter", 1),
        ([{key: value for key, value in LINE.items() if key != "method"}], "missing_required_parameter", 1),
        ([{**LINE, "body": "text"}], "missing_required_parameter", 1),
        (["[]"], "invalid_request", 1),
        ([], "empty_file", None),
    ],
)
def test_a_batch_of_a_wrong_input_file_fails_with_code_and_line(
    sandbox: RespanSandbox, lines: list[object], code: str, number: int | None
) -> None:
    batch_id = create(sandbox, *lines)["id"]

    assert sandbox.advance(batch_id) == "failed"
    [error] = call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").json()["errors"]["data"]
    assert (error["code"], error["line"]) == (code, number)


def test_a_batch_may_have_one_model_only() -> None:
    one, other, wrong = lines("a"), lines("b", model="gpt-4o"), {**LINE, "body": {"model": ["no", "text"]}}
    with RespanSandbox(pace=None, one_model_per_batch=True) as sandbox:
        same, mixed = run(sandbox, *one, *lines("b")), run(sandbox, *one, wrong, *other)

    assert same["status"] == "completed"
    assert [(error["code"], error["line"], error["param"]) for error in mixed["errors"]["data"]] == [
        ("model_mismatch", 2, "body.model"),
        ("model_mismatch", 3, "body.model"),
    ]
    assert mixed["errors"]["data"][1]["message"] == (
        "The model 'gpt-4o' is not 'gpt-4o-mini', which the first line has. A batch has one model."
    )


def test_a_batch_fails_while_the_queue_is_full() -> None:
    with RespanSandbox(pace=None, max_active_batches=2) as sandbox:
        by_hand, first = sandbox.add_batch(status="in_progress"), create(sandbox, LINE)["id"]
        full = run(sandbox, LINE)
        still_full = create(sandbox, LINE)["id"]  # it does not count itself, although it has not failed yet
        sandbox.change_batch(by_hand, status="completed")
        second = run(sandbox, LINE)

    assert (full["status"], second["status"]) == ("failed", "completed")
    assert (full["request_counts"]["total"], full["output_file_id"], full["error_file_id"]) == (0, None, None)
    assert full["errors"]["data"] == [
        {
            "code": "token_limit_exceeded",
            "line": None,
            "message": "The queue is full: 2 of at most 2 batches are active. "
            "Create the batch again when one of them has ended.",
            "param": None,
        }
    ]
    assert sandbox.runs_by_batch == {full["id"]: [], first: ["request-1"], second["id"]: ["request-1"]}
    assert still_full not in sandbox.runs_by_batch


def test_a_batch_that_has_ended_makes_room_in_the_queue() -> None:
    with RespanSandbox(pace=0, max_active_batches=1) as sandbox:
        ended = []
        for _ in range(3):
            batch_id = create(sandbox, LINE)["id"]
            while (batch := call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").json())["status"] == "validating":
                pass
            ended.append(batch["status"])

    assert ended == ["completed"] * 3


def test_the_errors_name_at_most_twenty_lines(sandbox: RespanSandbox) -> None:
    batch_id = create(sandbox, *["no json"] * 30, LINE)["id"]

    sandbox.advance(batch_id)
    [batch] = sandbox.batches
    assert [error["line"] for error in batch["errors"]["data"]] == list(range(1, 21))
    assert batch["errors"]["data"][0] == {
        "code": "invalid_json_line",
        "line": 1,
        "message": "This line is not parseable as valid JSON.",
        "param": None,
    }


def test_a_batch_of_a_missing_input_file_fails(sandbox: RespanSandbox) -> None:
    sandbox.service.files.get(upload(sandbox, LINE)).path.unlink()
    body = {"input_file_id": "file-00000001", "endpoint": "/v1/chat/completions", "completion_window": "24h"}

    batch_id = call(sandbox, "POST", "/api/v1/batches/", json=body).json()["id"]

    assert sandbox.advance(batch_id) == "failed"
    [error] = sandbox.batches[0]["errors"]["data"]
    assert (error["code"], error["message"]) == (
        "file_unreadable",
        "The input file cannot be read: No such file or directory.",
    )


def test_a_batch_that_is_cancelled_in_progress_has_a_partial_output(sandbox: RespanSandbox) -> None:
    batch_id = create(sandbox, *({**LINE, "custom_id": f"request-{number}"} for number in range(4)))["id"]
    sandbox.advance(batch_id)
    call(sandbox, "POST", f"/api/v1/batches/{batch_id}/cancel/")
    sandbox.advance(batch_id)

    batch = call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").json()
    rows = call(sandbox, "GET", f"/api/files/{batch['output_file_id']}/content/").text.splitlines()
    assert (batch["status"], batch["request_counts"]) == ("cancelled", {"total": 4, "completed": 2, "failed": 0})
    assert [json.loads(row)["custom_id"] for row in rows] == ["request-0", "request-1"]


def test_a_batch_that_is_cancelled_before_it_is_in_progress_has_no_output(sandbox: RespanSandbox) -> None:
    batch_id = create(sandbox, LINE)["id"]
    call(sandbox, "POST", f"/api/v1/batches/{batch_id}/cancel/")

    assert sandbox.advance(batch_id) == "cancelled"
    [batch] = sandbox.batches
    assert (batch["output_file_id"], batch["request_counts"]["completed"]) == (None, 0)


def test_every_response_has_the_metadata_of_the_batch(sandbox: RespanSandbox) -> None:
    metadata = {"key": "a" * 512}
    created = create(sandbox, LINE, metadata=metadata)

    retrieved = call(sandbox, "GET", f"/api/v1/batches/{created['id']}/").json()
    [listed] = call(sandbox, "GET", "/api/v1/batches/").json()["data"]
    [from_python] = sandbox.batches
    assert [batch["metadata"] for batch in (created, retrieved, listed, from_python)] == [metadata] * 4


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("text", "Invalid type for 'metadata': expected an object with strings as its values."),
        ({"number": 1}, "Invalid type for 'metadata': expected an object with strings as its values."),
        ({str(number): "" for number in range(17)}, "Invalid 'metadata': at most 16 keys are allowed, got 17."),
        (
            {"key": "a" * 513},
            "Invalid 'metadata.key': at most 64 characters in a key and 512 in a value are allowed.",
        ),
    ],
)
def test_metadata_beyond_the_limits_are_refused(sandbox: RespanSandbox, metadata: object, message: str) -> None:
    refused = create(sandbox, LINE, metadata=metadata)

    assert refused == {"error": {"message": message, "type": "invalid_request_error"}}
    assert sandbox.batches == []


def test_fields_and_new_batches_may_be_missing_from_the_list() -> None:
    with RespanSandbox(pace=None, not_listed_for=3600, list_lacks=("metadata", "output_file_id")) as sandbox:
        old, new = sandbox.add_batch(), create(sandbox, LINE, metadata={"key": "value"})["id"]
        stale = call(sandbox, "GET", "/api/v1/batches/").json()
        sandbox.service.batches.not_listed_for = 0
        fresh = call(sandbox, "GET", "/api/v1/batches/").json()
        retrieved = call(sandbox, "GET", f"/api/v1/batches/{new}/").json()

    assert [batch["id"] for batch in stale["data"]] == [old]
    assert (stale["first_id"], stale["last_id"], stale["has_more"]) == (old, old, False)
    assert [batch["id"] for batch in fresh["data"]] == [new, old]
    assert retrieved.keys() - fresh["data"][0].keys() == {"metadata", "output_file_id"}


def test_the_response_to_a_create_may_be_lost(sandbox: RespanSandbox) -> None:
    file_id = upload(sandbox, LINE)
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    sandbox.inject(Fault.lost_answer(), method="POST")

    with pytest.raises(requests.ConnectionError):
        call(sandbox, "POST", "/api/v1/batches/", json=body)

    assert [batch["input_file_id"] for batch in sandbox.batches] == [file_id]
    assert sandbox.requests[-1].status is None


def test_the_response_to_a_create_may_be_late(sandbox: RespanSandbox) -> None:
    sandbox.inject(Fault.late_answer(3600), method="POST", path="/batches/")

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(create, sandbox, LINE)
        while not sandbox.batches:
            assert not waiting.done()
        sandbox.stop()

        with pytest.raises(requests.ConnectionError):
            waiting.result()


def test_an_upload_that_is_cut_off_leaves_no_file(sandbox: RespanSandbox) -> None:
    before = set(sandbox.service.files.directory.iterdir())

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n' + b" " * 2**20
        while set(sandbox.service.files.directory.iterdir()) == before:
            time.sleep(0.01)
        raise RuntimeError("The upload is cut off")

    with pytest.raises(RuntimeError):
        call(sandbox, "POST", "/api/files/", data=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    while set(sandbox.service.files.directory.iterdir()) != before:
        time.sleep(0.01)

    assert sandbox.service.files.all() == []


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "system", "content": "Echo."}, {"role": "user", "content": "Hello you"}]},
            {
                "id": "chatcmpl-000000",
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "echo: Hello you"},
                    }
                ],
                "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
            },
        ),
        (
            "/v1/completions",
            {"prompt": "Hello you"},
            {
                "id": "cmpl-000000",
                "object": "text_completion",
                "choices": [{"index": 0, "finish_reason": "stop", "text": "echo: Hello you"}],
                "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
            },
        ),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": "Hello you"}]},
            {
                "id": "resp_000000",
                "object": "response",
                "status": "completed",
                "output": [
                    {
                        "type": "message",
                        "role": "assistant",
                        "status": "completed",
                        "content": [{"type": "output_text", "text": "echo: Hello you", "annotations": []}],
                    }
                ],
                "usage": {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4},
            },
        ),
    ],
)
def test_an_answer_has_the_shape_of_its_endpoint(
    sandbox: RespanSandbox, endpoint: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "m", **body}}

    [row] = rows(sandbox, run(sandbox, line, endpoint=endpoint), "output")

    assert row["response"]["body"] == {**expected, "model": "m"}


def test_embeddings_have_a_vector_for_each_text(sandbox: RespanSandbox) -> None:
    def line(custom_id: str, texts: object) -> dict[str, Any]:
        body = {"model": "m", "input": texts}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}

    batch = run(sandbox, line("one", "Hello"), line("two", ["Hello", "you"]), endpoint="/v1/embeddings")

    [one], two = (row["response"]["body"]["data"] for row in rows(sandbox, batch, "output"))
    assert [item["index"] for item in two] == [0, 1]
    assert len(one["embedding"]) == 8
    assert one["embedding"] == two[0]["embedding"] != two[1]["embedding"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_paths_work_with_and_without_trailing_slash(sandbox: RespanSandbox, slash: str) -> None:
    batch_id, file_id = sandbox.add_batch(), upload(sandbox, LINE)

    for path in ("/api/v1/batches", f"/api/v1/batches/{batch_id}", "/api/files", f"/api/files/{file_id}/content"):
        assert call(sandbox, "GET", f"{path}{slash}").status_code == 200
    assert call(sandbox, "POST", f"/api/v1/batches/{batch_id}/cancel{slash}").json()["status"] == "cancelling"


def test_cancelling_a_batch_that_has_ended_changes_nothing(sandbox: RespanSandbox) -> None:
    batch_id = sandbox.add_batch(status="completed")

    assert call(sandbox, "POST", f"/api/v1/batches/{batch_id}/cancel/").json()["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "body"),
    [
        (
            "GET",
            "/api/v1/batches/batch_none/",
            {},
            404,
            {"error": {"message": "No such batch: batch_none", "type": "invalid_request_error"}},
        ),
        (
            "GET",
            "/api/v1/batches/batch_none/",
            {"headers": {"Authorization": ""}},
            401,
            {"error": "Authentication credentials were not provided."},
        ),
        (
            "GET",
            "/api/v1/batches/batch_none/",
            {"headers": {"Authorization": "Bearer wrong"}},
            401,
            {"error": "Invalid API key."},
        ),
        (
            "GET",
            "/api/v1/batches/?limit=101",
            {},
            422,
            {"detail": "Validation failed", "errors": {"limit": ["Ensure this value is between 1 and 100."]}},
        ),
        (
            "GET",
            "/api/v1/batches/",
            {"headers": {"X-Data-Respan-Params": "!"}},
            422,
            {
                "detail": "Validation failed",
                "errors": {"X-Data-Respan-Params": ["Neither a JSON object nor one in Base64."]},
            },
        ),
        (
            "POST",
            "/api/v1/batches/",
            {"json": {}},
            422,
            {"detail": "Validation failed", "errors": {"input_file_id": ["This field is required."]}},
        ),
        ("POST", "/api/v1/batches/", {"data": "{"}, 400, {"detail": "JSON parse error"}),
        (
            "POST",
            "/api/v1/batches/",
            {"json": {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}},
            400,
            {"error": {"message": "No such file: file-1", "type": "invalid_request_error"}},
        ),
        (
            "POST",
            "/api/files/",
            {},
            422,
            {"detail": "Validation failed", "errors": {"file": ["This field is required."]}},
        ),
        (
            "GET",
            "/api/files/file-none/content/",
            {},
            404,
            {"error": {"message": "No such file: file-none", "type": "invalid_request_error"}},
        ),
        ("GET", "/nowhere", {}, 404, {"detail": "Not Found"}),
    ],
)
def test_errors_have_the_shapes_of_the_service(
    sandbox: RespanSandbox, method: str, path: str, options: dict[str, Any], status: int, body: dict[str, Any]
) -> None:
    response = call(sandbox, method, path, **options)

    assert (response.status_code, response.json()) == (status, body)


def test_both_encodings_of_the_tracking_parameters_are_read(sandbox: RespanSandbox) -> None:
    params = json.dumps({"customer_identifier": "me"})
    for header in (params, base64.b64encode(params.encode()).decode()):
        call(sandbox, "GET", "/api/v1/batches/", headers={"X-Data-Respan-Params": header})

    assert [request.params for request in sandbox.requests] == [{"customer_identifier": "me"}] * 2


def test_a_new_batch_may_not_be_found_at_first() -> None:
    with RespanSandbox(pace=None, not_found_for=0.3) as sandbox:
        batch_id = create(sandbox, LINE)["id"]
        first = call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").status_code
        while call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").status_code == 404:
            pass

    assert first == 404


def test_a_fault_is_injected_as_often_as_given_and_only_into_matching_requests(sandbox: RespanSandbox) -> None:
    sandbox.inject(Fault.error(503), times=2, path="/batches/", method="GET")

    assert call(sandbox, "GET", "/api/files/").status_code == 200
    assert [call(sandbox, "GET", "/api/v1/batches/").status_code for _ in range(3)] == [503, 503, 200]


def test_a_sandbox_that_is_started_again_has_the_same_batches(sandbox: RespanSandbox) -> None:
    batch_id, url = sandbox.add_batch(), sandbox.url
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        call(sandbox, "GET", "/api/v1/batches/")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", sandbox.port))  # nobody else gets the port, and with it the requests of a test

    sandbox.start()

    assert sandbox.url == url
    assert call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").status_code == 200


def test_a_sandbox_that_was_not_started_raises_with_the_remedy() -> None:
    with pytest.raises(RuntimeError, match="use it in a with statement"):
        RespanSandbox().add_batch()


def test_the_program_serves_until_sigterm() -> None:
    program = [sys.executable, "-m", "airflow_respan.sandbox", "--port", "0", "--api-key", "my-key"]
    program += ["--max-active-batches", "3", "--one-model-per-batch", "--unfinished-rows", "--outcomes", "20% 429, ok"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline(), process.stdout.readline()]
        export = printed[1].removeprefix("export AIRFLOW_CONN_RESPAN_DEFAULT='").removesuffix("'\n")
        connection = json.loads(export)
        base_url = f"{connection['host']}:{connection['port']}"
        control = f"{base_url}/_sandbox"
        headers = {"Authorization": "Bearer my-key"}
        created = requests.post(f"{control}/batches", json={"status": "in_progress"}, timeout=10).json()
        url = f"{base_url}/api/v1/batches/{created['id']}/"
        requests.post(f"{control}/batches", json={"id": created["id"], "status": "completed"}, timeout=10)
        requests.post(f"{control}/faults", json={"fault": {"status": 503}, "times": None}, timeout=10)
        during = requests.get(url, headers=headers, timeout=10).status_code
        requests.post(f"{control}/faults", json={}, timeout=10)
        after = requests.get(url, headers=headers, timeout=10).json()["status"]
        os.kill(process.pid, signal.SIGTERM)

        assert process.wait(timeout=10) == 0

    assert printed[0] == f"Respan sandbox on {base_url}; stop it with Ctrl-C. For Airflow:\n"
    assert (connection["host"], connection["password"]) == ("http://127.0.0.1", "my-key")
    assert (during, after) == (503, "completed")


@pytest.mark.parametrize("port", ["taken", "87211"])
def test_the_program_prints_why_it_cannot_listen(sandbox: RespanSandbox, port: str) -> None:
    port = str(sandbox.port) if port == "taken" else port
    program = [sys.executable, "-m", "airflow_respan.sandbox", "--port", port]

    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert f"The sandbox cannot listen on 127.0.0.1:{port}:" in done.stderr


def test_the_program_prints_which_outcome_is_wrong() -> None:
    program = [sys.executable, "-m", "airflow_respan.sandbox", "--outcomes", "20% 4xx"]

    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert "error: argument --outcomes: '4xx' is not an outcome. Use an HTTP status" in done.stderr


def test_each_request_is_recorded_with_the_status_of_its_response() -> None:
    with RespanSandbox() as sandbox:
        batch_id = sandbox.add_batch()
        sandbox.inject(Fault.html())
        sandbox.inject(Fault.cut())
        for _ in range(2):
            try:
                call(sandbox, "GET", f"/api/v1/batches/{batch_id}/")
            except requests.ConnectionError:
                continue
        call(sandbox, "GET", f"/api/v1/batches/{batch_id}/")
        call(sandbox, "GET", "/api/v1/batches/batch_none/")
        requests.get(f"{sandbox.url}/api/files/", timeout=10)

        assert [request.status for request in sandbox.requests] == [502, None, 200, 404, 401]
