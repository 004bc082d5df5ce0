"""Runs an operator in each mode as Airflow does, without its database: each of Airflow's processes is a fresh one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_respan.operators.batch import RespanCancelBatchOperator, RespanCreateBatchOperator
from tests.sensors.modes import first_event, through_the_database
from tests.task_instance import TaskInstance

MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "waiting": {"wait_for_completion": True},
    "deferrable": {"wait_for_completion": True, "deferrable": True},
}
ENDED = {"status": "completed", "output_file_id": "file-out", "request_counts": {"total": 1, "completed": 1}}


class Store:
    """What the operator needs of ``task_state_store``, in a file: it outlives the process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str) -> Any:
        return json.loads(self.path.read_text()).get(key) if self.path.exists() else None

    def set(self, key: str, value: Any) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({key: value}))
        part.replace(self.path)


@dataclass
class Outcome:
    """What came of an attempt."""

    ti: TaskInstance
    value: Any = None
    error: BaseException | None = None
    deferrals: int = 0


def context_of(ti: TaskInstance, *, store: Store | None = None, **run: Any) -> dict[str, Any]:
    start = pendulum.now("UTC").subtract(minutes=5)
    dag_run = SimpleNamespace(**{"start_date": start, "run_after": start, "clear_number": 0, **run})
    return {"ti": ti, "dag_run": dag_run, **({"task_state_store": store} if store else {})}


def request(number: int, *, body: Any = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": f"What is {number}?"}]} if body is None else body
    return {"custom_id": f"r-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body, **fields}


def create(mode: str, **options: Any) -> RespanCreateBatchOperator:
    """Make an operator for one of the modes."""
    given = {"input_file_id", "input_path", "requests"} & options.keys()
    defaults: dict[str, Any] = {"deferrable": False, "poke_interval": 0.1, "not_found_grace": 0, **MODES[mode]}
    if not given:
        defaults["requests"] = [request(1), request(2)]
    return RespanCreateBatchOperator(task_id="create", **{**defaults, **options})


def attempt(
    make: Callable[[], RespanCreateBatchOperator | RespanCancelBatchOperator],
    ti: TaskInstance | None = None,
    *,
    store: Store | None = None,
    **run: Any,
) -> Outcome:
    """Run one attempt to its end."""
    ti = ti or TaskInstance()
    outcome = Outcome(ti=ti)
    context: Any = context_of(ti, store=store, **run)
    step: Callable[[Any], Any] = lambda operator: operator.execute(context)  # noqa: E731 (it changes below)
    while True:
        try:
            outcome.value = step(make())
        except TaskDeferred as deferred:
            outcome.deferrals += 1
            event = asyncio.run(first_event(through_the_database(deferred.trigger)))
            name, kwargs = deferred.method_name, {**json.loads(json.dumps(deferred.kwargs or {})), "event": event}
            step = lambda operator: operator.resume_execution(name, kwargs, context)  # noqa: B023, E731 (called before the next turn)
            continue
        except Exception as error:  # noqa: BLE001 (an outcome like any other)
            outcome.error = error
        return outcome
