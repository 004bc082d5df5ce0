"""Tasks to be killed: each waits for the end of a batch, which does not come."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_respan.operators.batch import RespanCreateBatchOperator

with DAG("killed", schedule=None):
    for name in (
        "worker_shut_down",
        "worker_shut_down_in_last_attempt",
        "marked_failed",
        "marked_success",
        "cleared",
        "no_heartbeats",
        "execution_timeout",
        "execution_timeout_in_last_attempt",
    ):
        RespanCreateBatchOperator(
            task_id=name,
            requests=[{"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}],
            wait_for_completion=True,
            deferrable=False,
            poke_interval=0.2,
            execution_timeout=timedelta(seconds=6) if name.startswith("execution_timeout") else None,
        )
