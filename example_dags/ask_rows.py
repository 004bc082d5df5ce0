"""Ask a model about each row of a table, and print the answers as a table.

To run it without a scheduler: ``python example_dags/ask_rows.py [RESULTS_PATH]``. The exit status is not 0 if the run
fails.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_respan.results import answers

ROWS = {
    "r-1": "Guten Morgen",
    "r-2": "Bonne nuit",
    "r-3": "Buon giorno",
    "r-4": "Dobré ráno",
    "r-5": "Boa noite",
    "r-6": "God kveld",
}
RESULTS_PATH = f"file://{tempfile.gettempdir()}/ask_rows"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={"results_path": Param(RESULTS_PATH, type="string", description="The folder for the folders of all runs")},
    tags=["respan"],
)
def ask_rows() -> None:
    """Ask which language each text is in."""

    @task.respan_batch(
        path="{{ params.results_path }}/{{ run_id }}",
        body={"model": "gpt-4o-mini"},
        deferrable=True,
        poke_interval=10,
    )
    def ask() -> Iterator[tuple[str, str]]:
        for row_id, text in ROWS.items():
            yield row_id, f"Which language is this? Answer with one word: {text}"

    @task
    def report(manifest: dict[str, Any]) -> None:
        for answer in answers(manifest):
            print(f"{answer.custom_id:<6} {ROWS[answer.custom_id]:<14} {answer.value or answer.error}")

    report(ask())


ask_rows_dag = ask_rows()

if __name__ == "__main__":
    run = ask_rows_dag.test(run_conf=dict(zip(("results_path",), sys.argv[1:], strict=False)))
    raise SystemExit(run.state != "success")
