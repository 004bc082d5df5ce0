"""Every example runs as a program, as the quick start shows, with a local Respan."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from airflow_respan.sandbox import Fault, RespanSandbox
from tests.conftest import CHECKOUT, MAX_DAG_RUN_SECONDS, environment_without_coverage
from tests.dag_runs import END
from tests.operators.landings import good, jsonl

EXAMPLES = CHECKOUT / "example_dags"
ENDED: dict[str, Any] = {"output_file_id": "file-out", "request_counts": {"total": 3, "completed": 2, "failed": 1}}


def connection_to(sandbox: RespanSandbox) -> str:
    return json.dumps({"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key})


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def rows_of_a_table(sandbox: RespanSandbox, folder: Path) -> list[str]:
    sandbox.set_outcomes({"r-2": "429, ok"})
    return [f"file://{folder}"]


def completed_batch(sandbox: RespanSandbox, folder: Path) -> list[str]:
    return [sandbox.add_batch(status="completed", **ENDED)]


def failed_batch(sandbox: RespanSandbox, folder: Path) -> list[str]:
    return [sandbox.add_batch(status="failed")]


def end_early(sandbox: RespanSandbox, answers: int) -> None:
    """Let the next batch expire when only so many of its requests have an answer."""
    custom_ids = ids_in(EXAMPLES / "questions.jsonl")
    sandbox.service.batches.pace = None

    def watch() -> None:
        while not sandbox.batches:
            time.sleep(0.005)
        output = sandbox.service.files.new(filename="output.jsonl", purpose="batch_output")
        output.path.write_bytes(jsonl(*(good(custom_id) for custom_id in custom_ids[:answers])))
        sandbox.service.files.add(output)
        counts = {"total": len(custom_ids), "completed": answers, "failed": 0}
        sandbox.change_batch(
            sandbox.batches[0]["id"], status="expired", output_file_id=output.id, request_counts=counts
        )

    threading.Thread(target=watch, daemon=True).start()


def partial_output_beyond_the_limit(sandbox: RespanSandbox, folder: Path) -> list[str]:
    end_early(sandbox, 4)
    return []


def partial_output_within_the_limit(sandbox: RespanSandbox, folder: Path) -> list[str]:
    end_early(sandbox, 5)
    return []


def no_batch_to_clean_up(sandbox: RespanSandbox, folder: Path) -> list[str]:
    (folder / "in.jsonl").write_text("no JSON\n")
    return [f"file://{folder}/in.jsonl"]


def refusal(sandbox: RespanSandbox, folder: Path) -> list[str]:
    sandbox.inject(Fault.error(403), times=None)
    return []


RUNS: dict[Callable[[RespanSandbox, Path], list[str]], str] = {
    rows_of_a_table: "ask_rows.py",
    completed_batch: "wait_for_batch.py",
    failed_batch: "wait_for_batch.py",
    partial_output_beyond_the_limit: "failure_handling.py",
    partial_output_within_the_limit: "failure_handling.py",
    no_batch_to_clean_up: "failure_handling.py",
    refusal: "batch_lifecycle.py",
}
"""The runs of one process: a function that prepares the run and returns its arguments, and the example."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended.

    :param sandbox: the Respan of this run
    :param folder: its folder for temporary files
    :param output: what it printed and logged
    """

    sandbox: RespanSandbox
    folder: Path
    status: int
    output: str


Runs = dict[Callable[[RespanSandbox, Path], list[str]], Run]


@pytest.fixture(scope="module")
def runs(airflow_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Run the examples one after the other in one process, each with a Respan of its own."""
    with ExitStack() as stack:
        places = {}
        programs = []
        for prepare, example in RUNS.items():
            sandbox, folder = stack.enter_context(RespanSandbox(pace=0.01)), tmp_path_factory.mktemp("example")
            places[prepare] = (sandbox, folder)
            environment = {"AIRFLOW_CONN_RESPAN_DEFAULT": connection_to(sandbox), "TMPDIR": str(folder)}
            arguments = prepare(sandbox, folder)
            programs.append({"path": str(EXAMPLES / example), "arguments": arguments, "environment": environment})
        done = subprocess.run(
            [sys.executable, "-m", "tests.dag_runs", *map(json.dumps, programs)],
            cwd=CHECKOUT,
            env=environment_without_coverage() | {"AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=MAX_DAG_RUN_SECONDS,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        parts = re.split(rf"^{END}(\d+)\n", done.stdout, flags=re.MULTILINE)
        yield {
            prepare: Run(sandbox=sandbox, folder=folder, status=int(status), output=output)
            for (prepare, (sandbox, folder)), output, status in zip(
                places.items(), parts[:-1:2], parts[1::2], strict=True
            )
        }


def test_the_whole_life_of_a_batch(run_dag_file: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    with RespanSandbox(pace=0.3) as sandbox:
        done = run_dag_file(
            EXAMPLES / "batch_lifecycle.py",
            AIRFLOW_CONN_RESPAN_DEFAULT=connection_to(sandbox),
            TMPDIR=str(tmp_path),
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(sandbox.batches) == 1
    [folder] = (tmp_path / "batch_lifecycle").iterdir()
    assert {path.name for path in folder.iterdir()} == {"output.jsonl", "manifest.json"}
    assert ids_in(folder / "output.jsonl") == ids_in(EXAMPLES / "questions.jsonl")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {"rows": 5, "succeeded": 5, "failed": 0, "missing": 0}
    assert f"5 of 5 answers for {manifest['usage']['total_tokens']} tokens in file://{folder}" in done.stdout


def test_rows_are_asked_and_answered(runs: Runs) -> None:
    run = runs[rows_of_a_table]

    assert run.status == 0, run.output
    assert run.sandbox.runs == {"r-1": 1, "r-2": 2, "r-3": 1, "r-4": 1, "r-5": 1, "r-6": 1}
    for line in ("r-1    Guten Morgen", "r-2    Bonne nuit", "r-3    Buon giorno"):
        assert line in run.output


def test_waiting_for_a_batch_that_was_created_elsewhere(runs: Runs) -> None:
    run = runs[completed_batch]

    assert run.status == 0, run.output
    assert "2 of 3 answers are in file-out" in run.output


def test_an_example_whose_run_fails_has_another_exit_status(runs: Runs) -> None:
    run = runs[failed_batch]

    assert run.status == 1
    assert "is failed: only 'completed' counts as success." in run.output


@pytest.mark.parametrize("case", [partial_output_beyond_the_limit, partial_output_within_the_limit])
def test_a_partial_output_is_accepted_up_to_the_limit_and_else_the_run_fails(runs: Runs, case: Any) -> None:
    run, is_accepted = runs[case], case is partial_output_within_the_limit

    assert run.status == (not is_accepted), run.output
    assert "The status of the batch: expired" in run.output
    reason = "20.0% of the requests failed or did not complete, and at most 10.0% may."
    assert (reason in run.output, "A task of this run has failed." in run.output) == (not is_accepted, not is_accepted)
    assert len(list(run.folder.rglob("manifest.json"))) == is_accepted
    posts = [request.path.rsplit("/", 2)[1] for request in run.sandbox.requests if request.method == "POST"]
    assert posts == ["files", "batches", "cancel"]


def test_the_clean_up_is_skipped_if_no_batch_was_created(runs: Runs) -> None:
    run = runs[no_batch_to_clean_up]

    assert run.status == 1
    assert "There is no batch to cancel (skip_if_no_batch=True)." in run.output
    assert run.sandbox.requests == []


def test_a_refused_example_does_not_wait_for_a_retry(runs: Runs) -> None:
    run = runs[refusal]

    assert run.status == 1
    assert [(request.method, request.path) for request in run.sandbox.requests] == [("POST", "/api/files/")]


def test_every_example_is_run_by_a_test() -> None:
    here = Path(__file__).read_text()

    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.name}"' in here
