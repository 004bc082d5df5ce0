"""Wait for a batch that was created elsewhere, then report: trigger the DAG with ``{"batch_id": "batch_..."}``.

To run it without a scheduler: ``python example_dags/wait_for_batch.py batch_...``. The exit status is not 0 if the run
fails.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_respan.sensors.batch import RespanBatchSensor


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), params={"batch_id": "batch_abc123"}, tags=["respan"])
def wait_for_batch() -> None:
    """Wait, then report."""
    wait = RespanBatchSensor(
        task_id="wait",
        batch_id="{{ params.batch_id }}",
        deferrable=True,
        poke_interval=60,
        timeout=timedelta(hours=26),
    )

    @task
    def report(output_file_id: str, request_counts: dict[str, int]) -> str:
        return f"{request_counts['completed']} of {request_counts['total']} answers are in {output_file_id}"

    report(wait.output["output_file_id"], wait.output["request_counts"])


wait_for_batch_dag = wait_for_batch()

if __name__ == "__main__":
    run = wait_for_batch_dag.test(run_conf={"batch_id": sys.argv[1]})
    raise SystemExit(run.state != "success")
