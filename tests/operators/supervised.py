"""Runs tasks of a DAG file as a worker of Airflow does, each below a real supervisor in a process of its own.

``python -m tests.operators.supervised DAG_FILE API_URL TASK ...``: says the process id of each supervisor.
"""

from __future__ import annotations

import os
import sys
from uuid import UUID

from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.sdk.execution_time import task_runner  # noqa: F401 (so that each task does not import it again)
from airflow.sdk.execution_time.supervisor import supervise_task

import airflow_respan.hooks.respan
import airflow_respan.operators.batch  # noqa: F401 (for the same reason)


def supervise(dag_file: str, api_url: str, task_id: str, number: int) -> int:
    """Run a task to its end, and return the exit code of its process."""
    ti = TaskInstanceDTO(
        id=UUID(int=number),
        dag_version_id=UUID(int=0),
        task_id=task_id,
        dag_id="killed",
        run_id="run",
        try_number=1,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )
    return supervise_task(
        ti=ti, bundle_info=BundleInfo(name="dags-folder"), dag_rel_path=dag_file, token="", server=api_url
    )


def main(dag_file: str, api_url: str, *task_ids: str) -> None:
    """Start the supervisors, and wait for their ends."""
    for number, task_id in enumerate(task_ids):
        pid = os.fork()
        if not pid:
            os._exit(bool(supervise(dag_file, api_url, task_id, number)))
        sys.stdout.write(f"SUPERVISOR {task_id} {pid}\n")
        sys.stdout.flush()
    for _ in task_ids:
        os.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
