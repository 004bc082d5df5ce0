"""The operators in a real Airflow, by ``dag.test()``: templates, XComs of another task, mapping, retries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from airflow_respan.sandbox import RespanSandbox

DAG_FILE = Path(__file__).parent.parent / "dags" / "create_once.py"


def test_a_retry_of_each_mapped_task_finds_its_own_batch(
    run_dag_file: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    record = tmp_path / "seen.jsonl"
    with RespanSandbox(pace=None) as sandbox:
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        done = run_dag_file(DAG_FILE, CREATE_SEEN=str(record), AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection))
        batches = sandbox.service.batches.page(limit=100, after=None)["data"]
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    *attempts, read, end = [json.loads(line) for line in record.read_text().splitlines()]

    assert end == {"state": "success"}, done.stdout[-5000:]
    tries = [(each["map_index"], each["try_number"], each["cleared"]) for each in attempts]
    assert sorted(tries) == [(0, 1, False), (0, 2, False), (1, 1, False), (1, 2, False)]
    by_id = {batch["id"]: batch for batch in batches}
    assert sorted(read["batch_ids"]) == sorted(by_id)
    assert [by_id[batch_id]["input_file_id"] for batch_id in read["batch_ids"]] == read["file_ids"]
    assert [json.loads(by_id[batch_id]["metadata"]["airflow_task"])[3] for batch_id in read["batch_ids"]] == [0, 1]
    assert {batch["metadata"]["run"] for batch in batches} == {
        json.loads(batch["metadata"]["airflow_task"])[2] for batch in batches
    }
    assert {batch["status"] for batch in batches} == {"cancelling"}
