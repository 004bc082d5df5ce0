"""Tasks that a real supervisor of Airflow runs and kills: what becomes of the batch, and of the task."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pendulum
import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.conftest import environment_without_coverage
from tests.http_server import QuietHandler, served

DAG_FILE = Path(__file__).parent.parent / "dags" / "killed.py"
# Task -> the state that Airflow then has for it (None: its API server is not available), the status of its batch, and
# the state that its supervisor reports. The API server refuses a report if a person has changed the state.
CASES: dict[str, tuple[str | None, str, str | None]] = {
    "worker_shut_down": ("running", "validating", "up_for_retry"),
    "worker_shut_down_in_last_attempt": ("running", "cancelling", "failed"),
    "marked_failed": ("failed", "cancelling", None),
    "marked_success": ("success", "validating", None),
    "cleared": ("restarting", "validating", None),
    "no_heartbeats": (None, "validating", "up_for_retry"),
    "execution_timeout": ("running", "validating", "up_for_retry"),
    "execution_timeout_in_last_attempt": ("running", "cancelling", "failed"),
}


@dataclass
class AirflowAPI:
    """What a task needs of Airflow's API server for tasks.

    :param states: task -> the state that a person has given it
    :param unavailable: tasks whose requests get a 503
    :param reported: task -> the states that its supervisor has reported
    """

    states: dict[str, str] = field(default_factory=dict)
    unavailable: set[str] = field(default_factory=set)
    reported: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def respond(self, method: str, url: str, body: dict[str, Any]) -> tuple[int, Any]:
        path = urlsplit(url).path.removeprefix("/")
        if path == "task-instances/states":
            [task_id] = parse_qs(urlsplit(url).query)["task_ids"]
            if task_id in self.unavailable:
                return 503, {}
            return 200, {"task_states": {"run": {task_id: self.states.get(task_id, "running")}}}
        if found := re.fullmatch(r"task-instances/([0-9a-f-]{36})/(\w+)", path):
            return self._respond_to_task(list(CASES)[int(found[1].replace("-", ""), 16)], found[2], body)
        return (404, {}) if method == "GET" else (201, "")

    def _respond_to_task(self, task_id: str, action: str, body: dict[str, Any]) -> tuple[int, Any]:
        if task_id in self.unavailable and action == "heartbeat":
            return 503, {}
        if task_id in self.states and action in ("heartbeat", "state"):
            return 409, {"detail": {"reason": "not_running", "current_state": self.states[task_id]}}
        if action == "state":
            self.reported[task_id].append(body["state"])
        if action != "run":
            return 204, None
        start = pendulum.now("UTC").isoformat()
        dag_run = {
            **dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date")),
            "dag_id": "killed",
            "run_id": "run",
            "run_after": start,
            "start_date": start,
            "run_type": "manual",
            "state": "running",
            "consumed_asset_events": [],
            "partition_key": None,
        }
        retries = 0 if task_id.endswith("last_attempt") else 3
        return 200, {"dag_run": dag_run, "max_tries": retries, "should_retry": retries > 0, "start_date": start}


def handler_of(api: AirflowAPI) -> type[QuietHandler]:
    """Return the handler that answers for the API."""

    class Handler(QuietHandler):
        def answer(self) -> None:
            status, value = api.respond(self.command, self.path, json.loads(self.read_body() or "{}"))
            self.respond(status, b"" if status == 204 else json.dumps(value).encode())

    return Handler


def batch_of(sandbox: RespanSandbox, task_id: str) -> dict[str, Any] | None:
    """Return the only batch of a task."""
    batches = sandbox.service.batches.page(limit=100, after=None)["data"]
    found = [batch for batch in batches if json.loads(batch["metadata"]["airflow_task"])[1] == task_id]
    assert len(found) <= 1
    return found[0] if found else None


def is_waiting(sandbox: RespanSandbox, task_id: str) -> bool:
    """Return whether a task has checked its batch."""
    batch = batch_of(sandbox, task_id)
    return batch is not None and any(r.path.endswith(f"{batch['id']}/") for r in sandbox.requests)


@pytest.fixture(scope="module")
def killed() -> Iterator[tuple[RespanSandbox, AirflowAPI, str]]:
    """Run all tasks, kill each as its name says, and wait for the end of all."""
    api = AirflowAPI()
    with RespanSandbox(pace=None) as sandbox, served(handler_of(api)) as url:
        environment = {
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAG_FILE.parent),
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "1",
            "AIRFLOW_CONN_RESPAN_DEFAULT": json.dumps(
                {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
            ),
        }
        command = [sys.executable, "-m", "tests.operators.supervised", DAG_FILE.name, f"{url}/", *CASES]
        process = subprocess.Popen(
            command,
            env=environment_without_coverage() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        try:
            for task_id, (state, _status, _reported) in CASES.items():
                if task_id.startswith("execution_timeout"):
                    continue
                while not is_waiting(sandbox, task_id):
                    assert process.poll() is None, "".join(lines)
                    reader.join(0.02)
                if task_id.startswith("worker_shut_down"):
                    [pid] = [line.split()[2] for line in lines if line.startswith(f"SUPERVISOR {task_id} ")]
                    os.kill(int(pid), signal.SIGTERM)
                elif state is None:
                    api.unavailable.add(task_id)
                else:
                    api.states[task_id] = state
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            reader.join()
        yield sandbox, api, "".join(lines)


@pytest.mark.parametrize("task_id", CASES)
def test_a_killed_task_keeps_or_cancels_its_batch(killed: tuple[RespanSandbox, AirflowAPI, str], task_id: str) -> None:
    sandbox, api, output = killed
    _state, status, reported = CASES[task_id]
    batch = batch_of(sandbox, task_id)

    assert batch is not None
    assert batch["status"] == status, output
    assert api.reported[task_id] == ([reported] if reported else []), output
