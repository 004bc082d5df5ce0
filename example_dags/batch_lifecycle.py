"""The whole life of two batches side by side: upload, create, wait, download, summarise.

Also ``python example_dags/batch_lifecycle.py``, which ends with a status other than 0 if the run fails.
"""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_respan.hooks.respan import RespanHook
from airflow_respan.sensors.batch import RespanBatchSensor

ENDPOINT = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
QUESTIONS = [
    ["What is the capital of France?", "What is the capital of Japan?"],
    ["Who wrote Faust?", "Who wrote Emma?", "Who wrote Ulysses?"],
]


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), tags=["respan"])
def batch_lifecycle() -> None:
    """Ask, wait, read the answers."""

    @task
    def upload(questions: list[str]) -> str:
        with tempfile.NamedTemporaryFile("w+", suffix=".jsonl") as file:
            for number, question in enumerate(questions):
                body = {"model": MODEL, "messages": [{"role": "user", "content": question}]}
                request = {"custom_id": f"question-{number}", "method": "POST", "url": ENDPOINT, "body": body}
                file.write(json.dumps(request) + "\n")
            file.flush()
            return RespanHook().upload_file(file.name).id

    # Not retried: a batch costs money, and a create that seemed to fail may have arrived.
    @task(retries=0)
    def create(input_file_id: str) -> str:
        return RespanHook().create_batch(input_file_id, endpoint=ENDPOINT).id

    batch_ids = create.expand(input_file_id=upload.expand(questions=QUESTIONS))

    # One wait for each batch, however many there are.
    wait = RespanBatchSensor.partial(task_id="wait", poke_interval=10, timeout=timedelta(hours=26)).expand(
        batch_id=batch_ids
    )

    @task
    def download(batch: dict[str, Any]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            path = RespanHook().download_file(batch["output_file_id"], Path(folder) / "output.jsonl")
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]

    @task
    def summarise(answers: list[list[str]]) -> str:
        return f"{sum(len(some) for some in answers)} answers from {len(answers)} batches"

    summarise(download.expand(batch=wait.output))


batch_lifecycle_dag = batch_lifecycle()

if __name__ == "__main__":
    run = batch_lifecycle_dag.test()
    raise SystemExit(run.state != "success")
