"""The outcome table in a real Airflow, by ``dag.test()``: all rows, in every mode, with and without ``soft_fail``."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.sensors.outcomes import MODES, ROWS, Row

Seen = dict[str, dict[str, Any]]

DAG_FILE = Path(__file__).parent.parent / "dags" / "outcome_table.py"
OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "soft": {"soft_fail": True}, "never": {"never_fail": True}}
CASES = [
    pytest.param(row, mode, option, id=f"{row.name}-{mode}-{option}")
    for row in ROWS
    for mode in MODES
    for option in OPTIONS
    if option != "never" or row.state == "failed"
]


def task_id(row: Row, mode: str, option: str) -> str:
    return f"{row.name}__{mode}__{option}"


@pytest.fixture(scope="session")
def seen(run_dag_file: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What became of every case, all of them in one run of one DAG."""
    found = tmp_path_factory.mktemp("outcomes") / "seen.jsonl"
    with RespanSandbox(pace=None) as sandbox:
        cases = []
        for row, mode, option in (case.values for case in CASES):
            batch_id = sandbox.add_batch(id=f"batch_{task_id(row, mode, option)}")
            row.prepare(sandbox, batch_id)
            options = {**MODES[mode], **OPTIONS[option], **row.options}
            batch_id = row.batch_id or batch_id
            cases.append({"task_id": task_id(row, mode, option), "batch_id": batch_id, "options": options})
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        done = run_dag_file(
            DAG_FILE,
            OUTCOME_CASES=json.dumps(cases),
            OUTCOME_SEEN=str(found),
            AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection),
        )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    if log := os.environ.get("OUTCOME_LOG"):
        Path(log).write_text(done.stdout + done.stderr)
    result: Seen = defaultdict(dict)
    for line in found.read_text().splitlines():
        about = json.loads(line)
        result[about.pop("task_id")].update(about)
    return result


@pytest.mark.parametrize(("row", "mode", "option"), CASES)
def test_a_wait_ends_as_the_table_says(seen: Seen, row: Row, mode: str, option: str) -> None:
    outcome = seen[task_id(row, mode, option)]
    state = {"plain": row.state, "soft": row.soft, "never": "skipped"}[option]

    assert outcome["state"] == state
    assert outcome["tries"] == (2 if row.retried and state == "failed" else 1)
    if state == "failed":
        assert outcome["error"] == row.error


@pytest.mark.parametrize(("row", "mode", "option"), CASES)
def test_a_downstream_task_reads_what_is_known(seen: Seen, row: Row, mode: str, option: str) -> None:
    outcome = seen[task_id(row, mode, option)]
    xcoms = dict(outcome["xcoms"])

    returned = xcoms.pop("return_value", None)
    if row.pushed is None:
        assert xcoms == {}
    else:
        keys = ("status", "output_file_id", "error_file_id", "request_counts")
        expected = {key: row.pushed[key] for key in keys if key in row.pushed}
        assert xcoms == {"batch_id": f"batch_{task_id(row, mode, option)}", **expected}
    if outcome["state"] == "success":
        assert {key: returned[key] for key in xcoms if key != "batch_id"} == expected
        assert returned["id"] == xcoms["batch_id"]
    else:
        assert returned is None
