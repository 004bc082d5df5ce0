"""Creates batches of what an upstream task gives, and breaks off once in each of them after the batch is made.

What is seen goes line by line as JSON to the file ``CREATE_SEEN``.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_respan.operators.batch import RespanCancelBatchOperator, RespanCreateBatchOperator


def note(**seen):
    with Path(os.environ["CREATE_SEEN"]).open("a") as file:
        file.write(json.dumps(seen) + "\n")


class Breaking(RespanCreateBatchOperator):
    """Breaks off in the first attempt, between the answer of the service and the push."""

    def execute(self, context):
        ti = context["ti"]
        note(
            map_index=ti.map_index,
            try_number=ti.try_number,
            cleared=ti.max_tries > self.retries,
            store="task_state_store" in context,
            clear_number=context["dag_run"].clear_number,
        )
        return super().execute(context)

    def _push(self, context, **xcoms):
        if "batch_id" in xcoms and context["ti"].try_number == 1:
            if os.environ.get("CREATE_KILL"):
                os.kill(os.getpid(), 9)
            raise RuntimeError("broken off")
        super()._push(context, **xcoms)


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def create_once():
    @task
    def make_requests():
        return [
            [{"custom_id": f"r-{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "n": n}}]
            for n in range(2)
        ]

    create = Breaking.partial(
        task_id="create",
        metadata={"run": "{{ run_id }}"},
        retries=1,
        retry_delay=timedelta(0),
        not_found_grace=0,
    ).expand(requests=make_requests())

    @task
    def read(batch_ids, file_ids):
        note(batch_ids=list(batch_ids), file_ids=list(file_ids))

    cancel = RespanCancelBatchOperator.partial(task_id="cancel").expand(batch_id=create.output)
    read(create.output, create.output["input_file_id"]) >> cancel


create_once_dag = create_once()

if __name__ == "__main__":
    run = create_once_dag.test()
    note(state=str(run.state))
