"""Asks ten inputs, each in a mapped task that fails once in the middle of its first round; what came of it is written.

What is seen goes line by line as JSON to the file ``ROUNDS_SEEN``.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_respan.operators.batch import RespanBatchOperator


def note(**seen):
    with Path(os.environ["ROUNDS_SEEN"]).open("a") as file:
        file.write(json.dumps(seen) + "\n")


class Breaking(RespanBatchOperator):
    """Breaks off in the first attempt, when its batches are created."""

    def _push(self, context, **xcoms):
        if context["ti"].try_number == 1:
            raise RuntimeError("broken off")
        super()._push(context, **xcoms)


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1))
def rounds():
    options = {
        "body": {"model": "m"},
        "poke_interval": 0.05,
        "not_found_grace": 0,
        "retries": 1,
        "retry_delay": timedelta(0),
    }
    path = os.environ["ROUNDS_FOLDER"] + "/{{ run_id }}/{{ ti.task_id }}-{{ ti.map_index }}"

    @task
    def make_prompts():
        return [[[f"{number}-{letter}", "Why?"] for letter in "ab"] for number in range(10)]

    ask = Breaking.partial(task_id="ask", path=path, deferrable=True, **options).expand(requests=make_prompts())
    poke = Breaking(task_id="poke", path=path, deferrable=False, requests=[("x-a", "Why?"), ("x-b", "Why?")], **options)

    @task
    def read(manifests, other):
        for manifest in [*manifests, other]:
            lines = Path(manifest["output_path"]).read_text().splitlines()
            note(answered=[json.loads(line)["custom_id"] for line in lines], counts=manifest["counts"])

    read(ask.output, poke.output)


rounds_dag = rounds()

if __name__ == "__main__":
    run = rounds_dag.test()
    note(state=str(run.state))
