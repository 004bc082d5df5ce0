"""Runs the operator for the whole job as Airflow does, without its database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_respan.operators.batch import RespanBatchOperator
from tests.operators.modes import Outcome, attempt, request
from tests.task_instance import TaskInstance

MODES: dict[str, dict[str, Any]] = {"poking": {"deferrable": False}, "deferrable": {"deferrable": True}}


def numbered(count: int) -> list[dict[str, Any]]:
    return [request(number) for number in range(1, count + 1)]


def ask(mode: str, path: Path | str, *, ti: TaskInstance | None = None, **options: Any) -> Outcome:
    """Run one attempt of a task that asks three requests, or those that are given."""
    defaults: dict[str, Any] = {"poke_interval": 0.05, "not_found_grace": 0, **MODES[mode]}
    if not {"input_file_id", "input_path", "requests"} & options.keys():
        defaults["requests"] = numbered(3)
    options = {**defaults, **options}
    return attempt(lambda: RespanBatchOperator(task_id="ask", path=str(path), **options), ti or TaskInstance())


def rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file by their ids; no id may be there twice."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    by_id = {row["custom_id"]: row for row in lines}
    assert len(by_id) == len(lines)
    return by_id
