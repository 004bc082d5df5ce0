"""Every example is run as the README says, in a process of its own, against a local Respan."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.conftest import CHECKOUT

EXAMPLES = CHECKOUT / "example_dags"
RunDagFile = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run_example(run_dag_file: RunDagFile) -> Callable[..., CompletedProcess[str]]:
    def run(name: str, *arguments: str, sandbox: RespanSandbox, **environment: str) -> CompletedProcess[str]:
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        return run_dag_file(
            EXAMPLES / name, *arguments, AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection), **environment
        )

    return run


@pytest.mark.parametrize("deferrable", ["true", "false"])
def test_the_life_of_two_batches(run_example: Callable[..., CompletedProcess[str]], deferrable: str) -> None:
    with RespanSandbox(pace=0.5) as sandbox:
        done = run_example("batch_lifecycle.py", sandbox=sandbox, AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE=deferrable)
        created = [r for r in sandbox.requests if (r.method, r.path) == ("POST", "/api/v1/batches/")]

    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 answers from 2 batches" in done.stdout
    assert len(created) == 2


ENDED: dict[str, Any] = {"output_file_id": "file-out", "request_counts": {"total": 3, "completed": 2, "failed": 1}}


def test_waiting_for_a_batch_that_was_made_elsewhere(run_example: Callable[..., CompletedProcess[str]]) -> None:
    with RespanSandbox(pace=None) as sandbox:
        batch_id = sandbox.add_batch(status="completed", **ENDED)
        done = run_example("wait_for_batch.py", batch_id, sandbox=sandbox)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 3 answers are in file-out" in done.stdout


def test_an_example_whose_run_fails_says_so_with_its_status(run_example: Callable[..., CompletedProcess[str]]) -> None:
    with RespanSandbox(pace=None) as sandbox:
        done = run_example("wait_for_batch.py", sandbox.add_batch(status="failed"), sandbox=sandbox)

    assert done.returncode == 1
    assert "The wait fails because only 'completed' counts as success." in done.stdout + done.stderr


def test_every_example_is_run_by_a_test() -> None:
    here = Path(__file__).read_text()

    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.name}"' in here


def test_the_readme_shows_the_examples_as_they_are() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    shown = re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", readme, re.DOTALL)

    assert {name for name, _code in shown} == {"wait_for_batch.py"}
    for name, code in shown:
        whole = (EXAMPLES / name).read_text()
        assert code.strip() in whole, f"README and example_dags/{name} differ"
        # Whoever pastes it has no more than this.
        namespace: dict[str, Any] = {"__name__": "pasted"}
        exec(compile(code, "README.md", "exec"), namespace)
        assert "wait" in namespace["wait_for_batch_dag"].task_ids


def test_the_readmes_connection_line_is_one_that_airflow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    lines = re.findall(r"^export AIRFLOW_CONN_RESPAN_DEFAULT='(.*)'$", readme, re.MULTILINE)

    assert lines
    for line in lines:
        monkeypatch.setitem(os.environ, "AIRFLOW_CONN_RESPAN_DEFAULT", line)
        from airflow_respan.hooks.respan import RespanHook

        assert RespanHook().get_conn().connection.api_key
