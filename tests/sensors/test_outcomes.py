"""The outcome table in a real Airflow, by ``dag.test()``: all rows, in every mode, with and without ``soft_fail``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.sensors.outcome_run import DAG_FILE, Case, Seen, mapped, prepare, read_seen, table
from tests.sensors.outcomes import ROWS

CASES = [
    *table(rows=[row.name for row in ROWS]),
    *mapped(rows=["completed", "cancelling_first", "expired_later", "every_request_failed"]),
]
each_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])


@pytest.fixture(scope="session")
def run_of(
    run_dag_file: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Seen]:
    """Run all cases of a mode in one run of one DAG, once, and return what became of them."""

    @cache
    def run(mode: str) -> Seen:
        found = tmp_path_factory.mktemp("outcomes") / "seen.jsonl"
        with RespanSandbox(pace=None) as sandbox:
            connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
            done = run_dag_file(
                DAG_FILE,
                OUTCOME_CASES=prepare(sandbox, [case for case in CASES if case.mode == mode]),
                OUTCOME_SEEN=str(found),
                AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection),
            )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        if log := os.environ.get("OUTCOME_LOG"):
            Path(f"{log}.{mode}").write_text(done.stdout + done.stderr)
        return read_seen(found)

    return run


@pytest.fixture
def seen(case: Case, run_of: Callable[[str], Seen]) -> Seen:
    """What became of the cases in the mode of this case."""
    return run_of(case.mode)


@each_case
def test_a_wait_ends_as_the_table_says(seen: Seen, case: Case) -> None:
    assert case.end(seen) == case.expected_end()


@each_case
def test_a_downstream_task_reads_what_is_known(seen: Seen, case: Case) -> None:
    assert case.xcoms(seen) == case.expected_xcoms()
    assert case.returned(seen) == (case.expected_xcoms() if case.end(seen)["state"] == "success" else None)
