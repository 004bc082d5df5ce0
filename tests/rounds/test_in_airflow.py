"""A task with rounds in a real Airflow, by ``dag.test()``: mapped, and with a retry in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from airflow_respan.sandbox import RespanSandbox

DAG_FILE = Path(__file__).parent.parent / "dags" / "rounds.py"


def test_each_of_ten_mapped_tasks_continues_in_its_own_folder_after_a_retry(
    run_dag_file: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    record = tmp_path / "seen.jsonl"
    with RespanSandbox(pace=0.0) as sandbox:
        sandbox.set_outcomes({f"{number}-b": "503, ok" for number in [*range(10), "x"]})
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        done = run_dag_file(
            DAG_FILE,
            ROUNDS_SEEN=str(record),
            ROUNDS_FOLDER=str(tmp_path / "results"),
            AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection),
        )
        runs = dict(sandbox.runs)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    *seen, end = [json.loads(line) for line in record.read_text().splitlines()]

    assert end == {"state": "success"}, done.stdout[-5000:]
    names = [*map(str, range(10)), "x"]
    assert [sorted(each["answered"]) for each in seen] == [[f"{name}-a", f"{name}-b"] for name in names]
    assert runs == {f"{name}-{letter}": paid for name in names for letter, paid in (("a", 1), ("b", 2))}
