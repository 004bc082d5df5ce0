"""One sensor for each case in ``OUTCOME_CASES``, and a task that reads what they all pushed.

What is seen goes line by line as JSON to the file ``OUTCOME_SEEN``: errors, XComs, and at the end the states.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_respan.sensors.batch import RespanBatchSensor

KEYS = ("return_value", "batch_id", "status", "output_file_id", "error_file_id", "request_counts")
CASES = json.loads(os.environ.get("OUTCOME_CASES", "[]"))


def note(**seen):
    with Path(os.environ["OUTCOME_SEEN"]).open("a") as file:
        file.write(json.dumps(seen) + "\n")


def note_error(context):
    note(task_id=context["ti"].task_id, error=type(context["exception"]).__name__, message=str(context["exception"]))


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def outcome_table():
    @task(trigger_rule="all_done")
    def read_xcoms(task_ids, ti=None):
        for task_id in task_ids:
            values = {key: ti.xcom_pull(task_ids=task_id, key=key) for key in KEYS}
            note(task_id=task_id, xcoms={key: value for key, value in values.items() if value is not None})

    sensors = [
        RespanBatchSensor(
            task_id=case["task_id"],
            batch_id=case["batch_id"],
            poke_interval=0.5,
            retries=1,
            retry_delay=timedelta(0),
            on_failure_callback=note_error,
            on_retry_callback=note_error,
            **case["options"],
        )
        for case in CASES
    ]
    sensors >> read_xcoms([sensor.task_id for sensor in sensors])


outcome_table_dag = outcome_table()

if __name__ == "__main__":
    for ti in outcome_table_dag.test().get_task_instances():
        note(task_id=ti.task_id, state=str(ti.state), tries=ti.try_number)
