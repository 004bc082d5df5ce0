"""The whole life of a batch: create it from a file of requests, wait, write the results with a manifest, read that.

To run it without a scheduler: ``python example_dags/batch_lifecycle.py [INPUT_PATH [RESULTS_PATH]]``. The exit status
is not 0 if the run fails.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_respan.operators.batch import RespanBatchResultsOperator, RespanCreateBatchOperator
from airflow_respan.sensors.batch import RespanBatchSensor

INPUT_PATH = f"file://{Path(__file__).with_name('questions.jsonl')}"
RESULTS_PATH = f"file://{tempfile.gettempdir()}/batch_lifecycle"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={
        "input_path": Param(
            INPUT_PATH, type="string", description="A JSONL file, such as s3://my_aws_conn@bucket/in.jsonl"
        ),
        "results_path": Param(RESULTS_PATH, type="string", description="The folder for the folders of all runs"),
    },
    tags=["respan"],
)
def batch_lifecycle() -> None:
    """Create a batch of the requests at `input_path`, wait for it, and write its results."""
    create = RespanCreateBatchOperator(task_id="create", input_path="{{ params.input_path }}", retries=3)

    wait = RespanBatchSensor(
        task_id="wait", batch_id=create.output, deferrable=True, poke_interval=10, timeout=timedelta(hours=26)
    )

    land = RespanBatchResultsOperator(
        task_id="land",
        batch_id=wait.output["batch_id"],
        path="{{ params.results_path }}/{{ run_id }}",
        input_path="{{ params.input_path }}",
        retries=3,
    )

    @task
    def report(manifest: dict[str, Any]) -> str:
        counts, tokens = manifest["counts"], manifest["usage"]["total_tokens"]
        return f"{counts['succeeded']} of {counts['rows']} answers for {tokens} tokens in {manifest['path']}"

    report(land.output)


batch_lifecycle_dag = batch_lifecycle()

if __name__ == "__main__":
    for each in batch_lifecycle_dag.tasks:
        each.retries = 0  # the first retry would come after five minutes
    run = batch_lifecycle_dag.test(run_conf=dict(zip(("input_path", "results_path"), sys.argv[1:], strict=False)))
    raise SystemExit(run.state != "success")
