"""What a DAG can do if a batch ends badly: accept a partial output up to a limit, cancel the batch, fail the run.

To run it without a scheduler: ``python example_dags/failure_handling.py [INPUT_PATH [RESULTS_PATH]]``. The exit status
is not 0 if the run fails.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowFailException, Param, dag, task

from airflow_respan.operators.batch import (
    RespanBatchResultsOperator,
    RespanCancelBatchOperator,
    RespanCreateBatchOperator,
)
from airflow_respan.sensors.batch import RespanBatchSensor

INPUT_PATH = f"file://{Path(__file__).with_name('questions.jsonl')}"
RESULTS_PATH = f"file://{tempfile.gettempdir()}/failure_handling"


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
def failure_handling() -> None:
    """Write the results of a batch, even if up to a tenth of its requests have none, and clean up if it fails."""
    create = RespanCreateBatchOperator(task_id="create", input_path="{{ params.input_path }}", retries=3)

    wait = RespanBatchSensor(
        task_id="wait",
        batch_id=create.output,
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(hours=26),
        success_statuses=("completed", "expired"),
        max_failed_ratio=0.1,
    )

    land = RespanBatchResultsOperator(
        task_id="land", batch_id=wait.output["batch_id"], path="{{ params.results_path }}/{{ run_id }}", retries=3
    )

    # A teardown without a setup runs whatever happened before it, and does not decide whether the run fails. If the
    # batch has ended, it does nothing.
    cancel = RespanCancelBatchOperator(
        task_id="cancel", batch_id="{{ ti.xcom_pull('create', key='batch_id') }}", skip_if_no_batch=True
    ).as_teardown()

    @task(trigger_rule="all_done")
    def report(status: Any) -> str:
        return f"The status of the batch: {status}"

    # "report" succeeds also if "wait" has failed, and the run would be a success.
    @task(trigger_rule="one_failed", retries=0)
    def watcher() -> None:
        raise AirflowFailException("A task of this run has failed.")

    reported = report("{{ ti.xcom_pull('wait', key='status') }}")
    create >> wait >> land >> [reported, cancel]
    [create, wait, land, reported] >> watcher()


failure_handling_dag = failure_handling()

if __name__ == "__main__":
    for each in failure_handling_dag.tasks:
        each.retries = 0  # the first retry would come after five minutes
    run = failure_handling_dag.test(run_conf=dict(zip(("input_path", "results_path"), sys.argv[1:], strict=False)))
    raise SystemExit(run.state != "success")
