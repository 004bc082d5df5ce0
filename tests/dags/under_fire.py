"""Waits for the batches in ``FIRE_WAITS``, and notes in the file ``FIRE_SEEN`` what became of each.

Line by line as JSON: each end of a try as its callback is called, and at the end what was in XCom.
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
WAITS = json.loads(os.environ.get("FIRE_WAITS", "{}"))


def note(**seen):
    with Path(os.environ["FIRE_SEEN"]).open("a") as file:
        file.write(json.dumps(seen) + "\n")


def noting(end):
    def callback(context):
        ti = context["ti"]
        note(task_id=ti.task_id, map_index=ti.map_index, end=end, error=str(context.get("exception")))

    return callback


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def under_fire():
    @task(trigger_rule="all_done")
    def read_xcoms(ti=None):
        for task_id, wait in WAITS.items():
            for map_index in range(len(wait["batch_ids"])):
                values = {key: ti.xcom_pull(task_ids=task_id, map_indexes=map_index, key=key) for key in KEYS}
                note(
                    task_id=task_id,
                    map_index=map_index,
                    xcoms={key: value for key, value in values.items() if value is not None},
                )

    read = read_xcoms()
    for task_id, wait in WAITS.items():
        sensor = RespanBatchSensor.partial(
            task_id=task_id,
            timeout=timedelta(hours=2),
            retries=2,
            retry_delay=timedelta(seconds=5),
            on_success_callback=noting("success"),
            on_failure_callback=noting("failed"),
            on_retry_callback=noting("up_for_retry"),
            **wait["options"],
        )
        sensor.expand(batch_id=wait["batch_ids"]) >> read


under_fire()
