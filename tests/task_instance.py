"""What the operators and the sensor need of Airflow's task instance, without its database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pendulum


@dataclass
class TaskInstance:
    """A task instance that keeps what was pushed in ``xcoms``.

    :param first_poke: when the first attempt of a rescheduled sensor started
    :param state: what Airflow says of the task when it is killed
    :param pushed: is called with the key after each push
    """

    try_number: int = 1
    max_tries: int = 0
    dag_id: str = "dag"
    task_id: str = "create"
    run_id: str = "manual__2026-01-01"
    map_index: int = -1
    start_date: pendulum.DateTime = field(default_factory=lambda: pendulum.now("UTC"))
    first_poke: pendulum.DateTime | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)
    state: str | None = "running"
    pushed: Callable[[str], None] = lambda key: None

    def xcom_push(self, *, key: str, value: Any) -> None:
        assert value is not None  # Airflow 3.0 refuses it
        self.xcoms[key] = json.loads(json.dumps(value, allow_nan=False))
        self.pushed(key)

    def get_first_reschedule_date(self, context: object) -> pendulum.DateTime | None:
        return self.first_poke

    def current_state(self) -> str | None:
        return self.state
