"""What a whole job has left is read back."""

from __future__ import annotations

from pathlib import Path

from airflow_respan.results import answers, to_arrow
from airflow_respan.sandbox import RespanSandbox
from tests.rounds.asking import ask


def test_each_request_of_a_job_has_one_answer_or_its_last_error(moving: RespanSandbox, tmp_path: Path) -> None:
    moving.set_outcomes({"r-1": "429, ok", "r-2": "429, 503"})

    manifest = ask("deferrable", tmp_path, max_rounds=2).value

    read = {answer.custom_id: answer.error.code if answer.error else answer.value for answer in answers(manifest)}
    assert read == {"r-1": "echo: What is 1?", "r-2": "server_error", "r-3": "echo: What is 3?"}
    assert to_arrow(tmp_path).read_all().num_rows == 3
