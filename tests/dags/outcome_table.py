"""One sensor for each case in ``OUTCOME_CASES``, and a task that reads what they all pushed.

A case with ``batch_ids`` is one sensor that is mapped over them. What is seen goes line by line as JSON to the file
``OUTCOME_SEEN``: errors, XComs, and at the end the states.
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
    # Within dag.test() Airflow 3.0 to 3.2 do not tell callbacks the exception.
    if error := context.get("exception"):
        ti = context["ti"]
        note(task_id=ti.task_id, map_index=ti.map_index, error=type(error).__name__, message=str(error))


def sensor_for(case):
    fixed = {
        "task_id": case["task_id"],
        "poke_interval": 0.1,
        "retries": 1,
        "retry_delay": timedelta(0),
        "on_failure_callback": note_error,
        "on_retry_callback": note_error,
        **case["options"],
    }
    if "batch_ids" in case:
        return RespanBatchSensor.partial(**fixed).expand(batch_id=case["batch_ids"])
    return RespanBatchSensor(batch_id=case["batch_id"], **fixed)


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def outcome_table():
    @task(trigger_rule="all_done")
    def read_xcoms(cases, ti=None):
        for task_id, map_index in cases:
            values = {key: ti.xcom_pull(task_ids=task_id, key=key, map_indexes=map_index) for key in KEYS}
            xcoms = {key: value for key, value in values.items() if value is not None}
            note(task_id=task_id, map_index=map_index, xcoms=xcoms)

    sensors = [sensor_for(case) for case in CASES]
    to_read = [
        [case["task_id"], map_index]
        for case in CASES
        for map_index in (range(len(case["batch_ids"])) if "batch_ids" in case else [-1])
    ]
    sensors >> read_xcoms(to_read)


outcome_table_dag = outcome_table()

if __name__ == "__main__":
    for ti in outcome_table_dag.test().get_task_instances():
        note(task_id=ti.task_id, map_index=ti.map_index, state=str(ti.state), tries=ti.try_number)
