"""An input that is too large for one batch: split it, and let each part live its own life beside the others.

Also ``python example_dags/large_input.py [INPUT_PATH [RESULTS_PATH]]``, which ends with a status other than 0 if the
run fails.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import ObjectStoragePath, Param, dag, task, task_group

from airflow_respan.operators.batch import RespanBatchResultsOperator, RespanCreateBatchOperator
from airflow_respan.sensors.batch import RespanBatchSensor

INPUT_PATH = f"file://{Path(__file__).with_name('questions.jsonl')}"
RESULTS_PATH = f"file://{tempfile.gettempdir()}/large_input"
FOLDER = "{{ params.results_path }}/{{ run_id }}"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={
        "input_path": Param(INPUT_PATH, type="string", description="A JSONL, also s3://my_aws_conn@bucket/in.jsonl"),
        "results_path": Param(RESULTS_PATH, type="string", description="Where the folder of each run goes"),
        "requests_each": Param(2, type="integer", minimum=1, description="Requests a batch; 50,000 and 200 MB at most"),
    },
    tags=["respan"],
)
def large_input() -> None:
    """Split the requests at `input_path`, make a batch of each part, and land the results of each in its own folder."""

    @task
    def split(input_path: str, folder: str, requests_each: str) -> list[str]:
        ObjectStoragePath(folder).mkdir(parents=True, exist_ok=True)
        parts: list[str] = []
        with ObjectStoragePath(input_path).open("rb") as file:
            requests = iter(file.readline, b"")  # not iter(file), which Airflow 3.0 cannot do
            for first in requests:
                parts.append(f"{folder}/part-{len(parts)}.jsonl")
                with ObjectStoragePath(parts[-1]).open("wb") as part:
                    part.write(first)
                    part.writelines(islice(requests, int(requests_each) - 1))
        return parts

    # A mapped group, not mapped operators: no part waits for another one, nor fails with it.
    @task_group
    def batch(input_path: str) -> Any:
        create = RespanCreateBatchOperator(task_id="create", input_path=input_path, retries=3)

        wait = RespanBatchSensor(
            task_id="wait", batch_id=create.output, deferrable=True, poke_interval=10, timeout=timedelta(hours=26)
        )

        land = RespanBatchResultsOperator(
            task_id="land",
            batch_id=wait.output["batch_id"],
            path=FOLDER + "/part-{{ ti.map_index }}",
            input_path=input_path,
            retries=3,
        )
        return land.output

    @task
    def report(manifests: Iterable[dict[str, Any]]) -> str:
        counts = [manifest["counts"] for manifest in manifests]
        answers = sum(each["succeeded"] for each in counts)
        return f"{answers} of {sum(each['rows'] for each in counts)} answers from {len(counts)} batches"

    report(batch.expand(input_path=split("{{ params.input_path }}", FOLDER, "{{ params.requests_each }}")))


large_input_dag = large_input()

if __name__ == "__main__":
    for each in large_input_dag.tasks:
        each.retries = 0  # five minutes apart, while somebody looks on
    run = large_input_dag.test(run_conf=dict(zip(("input_path", "results_path"), sys.argv[1:], strict=False)))
    raise SystemExit(run.state != "success")
