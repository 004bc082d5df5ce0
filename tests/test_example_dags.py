"""Every example runs as the quick start shows, in a process of its own, with a local Respan."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from airflow_respan.sandbox import Fault, RespanSandbox
from airflow_respan.sandbox.model import FAILING_MODEL
from tests.conftest import CHECKOUT
from tests.operators.landings import good, jsonl

EXAMPLES = CHECKOUT / "example_dags"
RunDagFile = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run_example(run_dag_file: RunDagFile) -> Callable[..., CompletedProcess[str]]:
    def run(name: str, *arguments: str, sandbox: RespanSandbox, **environment: str) -> CompletedProcess[str]:
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        return run_dag_file(
            EXAMPLES / name,
            *arguments,
            measure=False,
            AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection),
            **environment,
        )

    return run


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def questions(*models: str) -> list[str]:
    lines = []
    for number, model in enumerate(models):
        body = {"model": model, "messages": [{"role": "user", "content": "Who wrote Faust?"}]}
        request = {"custom_id": f"q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        lines.append(json.dumps(request) + "\n")
    return lines


def test_the_whole_life_of_a_batch(run_example: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    with RespanSandbox(pace=0.3) as sandbox:
        done = run_example("batch_lifecycle.py", sandbox=sandbox, TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(sandbox.batches) == 1
    [folder] = (tmp_path / "batch_lifecycle").iterdir()
    assert {path.name for path in folder.iterdir()} == {"output.jsonl", "manifest.json"}
    assert ids_in(folder / "output.jsonl") == ids_in(EXAMPLES / "questions.jsonl")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {"rows": 5, "succeeded": 5, "failed": 0, "missing": 0}
    assert f"5 of 5 answers for {manifest['usage']['total_tokens']} tokens in file://{folder}" in done.stdout


def test_rows_are_asked_and_answered(run_example: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    with RespanSandbox(pace=0.3, outcomes={"r-2": "429, ok"}) as sandbox:
        done = run_example("ask_rows.py", f"file://{tmp_path}", sandbox=sandbox)

    assert done.returncode == 0, done.stdout + done.stderr
    assert sandbox.runs == {"r-1": 1, "r-2": 2, "r-3": 1, "r-4": 1, "r-5": 1, "r-6": 1}
    for line in ("r-1    Guten Morgen", "r-2    Bonne nuit", "r-3    Buon giorno"):
        assert line in done.stdout


def test_a_large_input_is_split_into_batches(run_example: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    """Blank lines are no requests: neither those of a whole part, nor a byte order mark alone."""
    lines = questions("m", "m", "m", FAILING_MODEL, "m")
    (tmp_path / "in.jsonl").write_text(
        "".join(["\ufeff\n", *lines[:2], "\n", " \r\n", "\n", *lines[2:], "\n", "\n", "\t"])
    )
    with RespanSandbox(pace=0.01) as sandbox:
        done = run_example("large_input.py", f"file://{tmp_path}/in.jsonl", f"file://{tmp_path}/out", sandbox=sandbox)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(sandbox.batches) == 3
    [folder] = (tmp_path / "out").iterdir()
    assert {path.relative_to(folder).as_posix(): ids_in(path) for path in folder.rglob("*.jsonl")} == {
        "part-0.jsonl": ["q-0", "q-1"],
        "part-1.jsonl": ["q-2", "q-3"],
        "part-2.jsonl": ["q-4"],
        "part-0/output.jsonl": ["q-0", "q-1"],
        "part-1/output.jsonl": ["q-2"],
        "part-1/errors.jsonl": ["q-3"],
        "part-2/output.jsonl": ["q-4"],
    }
    assert {path.parent.name for path in folder.rglob("manifest.json")} == {"part-0", "part-1", "part-2"}
    assert "4 of 5 answers from 3 batches" in done.stdout


def test_the_other_parts_are_written_if_one_part_fails(
    run_example: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    lines = questions("m", "m", "m", "m", "m")
    lines[3] = "no JSON\n"
    (tmp_path / "in.jsonl").write_text("".join(lines))
    with RespanSandbox(pace=0.01) as sandbox:
        done = run_example("large_input.py", f"file://{tmp_path}/in.jsonl", f"file://{tmp_path}/out", sandbox=sandbox)

    assert done.returncode == 1
    assert "RespanInputError" in done.stdout + done.stderr
    assert len(sandbox.batches) == 2
    [folder] = (tmp_path / "out").iterdir()
    assert {path.parent.name for path in folder.rglob("manifest.json")} == {"part-0", "part-2"}


ENDED: dict[str, Any] = {"output_file_id": "file-out", "request_counts": {"total": 3, "completed": 2, "failed": 1}}


def test_waiting_for_a_batch_that_was_created_elsewhere(run_example: Callable[..., CompletedProcess[str]]) -> None:
    with RespanSandbox(pace=None) as sandbox:
        batch_id = sandbox.add_batch(status="completed", **ENDED)
        done = run_example("wait_for_batch.py", batch_id, sandbox=sandbox)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 3 answers are in file-out" in done.stdout


def test_an_example_whose_run_fails_has_another_exit_status(run_example: Callable[..., CompletedProcess[str]]) -> None:
    with RespanSandbox(pace=None) as sandbox:
        done = run_example("wait_for_batch.py", sandbox.add_batch(status="failed"), sandbox=sandbox)

    assert done.returncode == 1
    assert "is failed: only 'completed' counts as success." in done.stdout + done.stderr


def test_an_input_without_requests_is_not_split_into_nothing(
    run_example: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("\n\n \n")
    with RespanSandbox(pace=None) as sandbox:
        done = run_example("large_input.py", f"file://{tmp_path}/in.jsonl", f"file://{tmp_path}/out", sandbox=sandbox)

    assert done.returncode == 1
    assert f"There is no request in file://{tmp_path}/in.jsonl." in done.stdout + done.stderr
    assert sandbox.requests == []


def end_next_batch_early(sandbox: RespanSandbox, *custom_ids: str) -> None:
    """Let the next batch expire when only these of its requests have an answer."""

    def watch() -> None:
        while not sandbox.batches:
            threading.Event().wait(0.005)
        total = len(ids_in(EXAMPLES / "questions.jsonl"))
        counts = {"total": total, "completed": len(custom_ids), "failed": 0}
        output = sandbox.service.files.new(filename="output.jsonl", purpose="batch_output")
        output.path.write_bytes(jsonl(*(good(custom_id) for custom_id in custom_ids)))
        sandbox.service.files.add(output)
        sandbox.change_batch(
            sandbox.batches[0]["id"], status="expired", output_file_id=output.id, request_counts=counts
        )

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.parametrize("answers", [4, 5])
def test_a_partial_output_is_accepted_up_to_the_limit_and_else_the_run_fails(
    run_example: Callable[..., CompletedProcess[str]], tmp_path: Path, answers: int
) -> None:
    with RespanSandbox(pace=None) as sandbox:
        end_next_batch_early(sandbox, *ids_in(EXAMPLES / "questions.jsonl")[:answers])
        done = run_example("failure_handling.py", sandbox=sandbox, TMPDIR=str(tmp_path))

    log = done.stdout + done.stderr
    assert done.returncode == (answers < 5), log
    assert "The status of the batch: expired" in log
    reason = "20.0% of the requests failed or did not complete, and at most 10.0% may."
    assert (reason in log, "A task of this run has failed." in log) == (answers < 5, answers < 5)
    assert len(list(tmp_path.rglob("manifest.json"))) == (answers == 5)
    assert [request.path.rsplit("/", 2)[1] for request in sandbox.requests if request.method == "POST"] == [
        "files",
        "batches",
        "cancel",
    ]


def test_the_clean_up_is_skipped_if_no_batch_was_created(
    run_example: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("no JSON\n")
    with RespanSandbox(pace=None) as sandbox:
        done = run_example("failure_handling.py", f"file://{tmp_path}/in.jsonl", sandbox=sandbox)

    assert done.returncode == 1
    assert "There is no batch to cancel (skip_if_no_batch=True)." in done.stdout + done.stderr
    assert sandbox.requests == []


def test_a_refused_example_does_not_wait_for_a_retry(
    run_example: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    with RespanSandbox(pace=None) as sandbox:
        sandbox.inject(Fault.error(403), times=None)
        done = run_example("batch_lifecycle.py", sandbox=sandbox, TMPDIR=str(tmp_path))

    assert done.returncode == 1
    assert [(request.method, request.path) for request in sandbox.requests] == [("POST", "/api/files/")]


def test_every_example_is_run_by_a_test() -> None:
    here = Path(__file__).read_text()

    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.name}"' in here
