"""An input that is too large for one batch: split it; each part is created, awaited and written by itself.

To run it without a scheduler: ``python example_dags/large_input.py [INPUT_PATH [RESULTS_PATH]]``. The exit status is
not 0 if the run fails.
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
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath, Param, dag, task, task_group

from airflow_respan.operators.batch import RespanBatchResultsOperator, RespanCreateBatchOperator
from airflow_respan.sensors.batch import RespanBatchSensor

INPUT_PATH = f"file://{Path(__file__).with_name('questions.jsonl')}"
RESULTS_PATH = f"file://{tempfile.gettempdir()}/large_input"
BLANKS = b" \t\r\n\xef\xbb\xbf"
"""What a line without a request may have, such as the byte order mark of the first line."""
FOLDER = "{{ params.results_path }}/{{ run_id }}"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={
        "input_path": Param(
            INPUT_PATH, type="string", description="A JSONL file, such as s3://my_aws_conn@bucket/in.jsonl"
        ),
        "results_path": Param(RESULTS_PATH, type="string", description="The folder for the folders of all runs"),
        "requests_each": Param(2, type="integer", minimum=1, description="Requests a batch; at most 50,000 and 200 MB"),
    },
    tags=["respan"],
)
def large_input() -> None:
    """Split the requests at `input_path`, create a batch of each part, and write its results into its own folder."""

    @task
    def split(input_path: str, folder: str, requests_each: str) -> list[str]:
        ObjectStoragePath(folder).mkdir(parents=True, exist_ok=True)
        parts: list[str] = []
        with ObjectStoragePath(input_path).open("rb") as file:
            lines = iter(file.readline, b"")  # iter(file) does not work in Airflow 3.0
            requests = (line for line in lines if line.strip(BLANKS))
            for first in requests:
                parts.append(f"{folder}/part-{len(parts)}.jsonl")
                with ObjectStoragePath(parts[-1]).open("wb") as part:
                    part.write(first)
                    part.writelines(islice(requests, int(requests_each) - 1))
        if not parts:
            raise AirflowFailException(f"There is no request in {input_path}.")
        return parts

    # In a mapped group no part waits for another, or fails because of it. Mapped operators would wait for each other.
    @task_group
    def batch(input_path: str) -> Any:
        create = RespanCreateBatchOperator(
            task_id="create",
            input_path=input_path,
            retries=3,
            map_index_template="{{ task.input_path.split('/')[-1] }}",
        )

        wait = RespanBatchSensor(
            task_id="wait",
            batch_id=create.output,
            deferrable=True,
            poke_interval=10,
            timeout=timedelta(hours=26),
            map_index_template="{{ task.batch_id }}",
        )

        land = RespanBatchResultsOperator(
            task_id="land",
            batch_id=wait.output["batch_id"],
            path=FOLDER + "/part-{{ ti.map_index }}",
            input_path=input_path,
            retries=3,
            map_index_template="{{ task.input_path.split('/')[-1] }}",
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
        each.retries = 0  # the first retry would come after five minutes
    run = large_input_dag.test(run_conf=dict(zip(("input_path", "results_path"), sys.argv[1:], strict=False)))
    raise SystemExit(run.state != "success")
