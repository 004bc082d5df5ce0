"""A task that is killed (SIGKILL) anywhere between upload and the end makes one batch, which the next attempt finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.operators.holding import Hold, holding_proxy
from tests.operators.modes import ENDED, MODES, Store, attempt, create
from tests.task_instance import TaskInstance

FILES, BATCHES = "/api/files/", "/api/v1/batches/"
STEPS = {
    "before the upload": Hold("POST", FILES, after=False),
    "before the answer to the upload": Hold("POST", FILES, after=True),
    "after the push of input_file_id": "input_file_id",
    "before the create": Hold("POST", BATCHES, after=False),
    "before the answer to the create": Hold("POST", BATCHES, after=True),
    "after the push of batch_id": "batch_id",
}


@contextmanager
def running(step: Hold | str, mode: str, host: str, store: Path | None) -> Iterator[subprocess.Popen[str]]:
    """Run the first attempt in a process of its own until it has come to a step."""
    told = {"mode": mode, "store": str(store) if store else None, "stop_at_xcom": step if isinstance(step, str) else ""}
    connection = {"conn_type": "respan", "host": host, "password": "sandbox-key"}
    environment = {**os.environ, "ATTEMPT": json.dumps(told), "AIRFLOW_CONN_RESPAN_DEFAULT": json.dumps(connection)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.operators.modes"], env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def paid(sandbox: RespanSandbox) -> list[str]:
    """The ids of all batches there are."""
    return [batch["id"] for batch in sandbox.service.batches.page(limit=100, after=None)["data"]]


@pytest.mark.parametrize("kept", ["store", "list"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_attempt_is_not_paid_twice(
    connected: RespanSandbox, tmp_path: Path, step: str, mode: str, kept: str
) -> None:
    where = STEPS[step]
    store = tmp_path / "store.json" if kept == "store" else None
    if isinstance(where, Hold):
        hold = Hold(where.method, where.path, after=where.after)
        with holding_proxy(connected.url, hold) as host, running(where, mode, host, store) as process:
            assert hold.holding.wait(60)
            process.kill()
            process.wait()
    else:
        with running(where, mode, connected.url, store) as process:
            assert process.stdout is not None
            assert "stopped\n" in process.stdout
            process.kill()
    for batch_id in paid(connected):
        connected.change_batch(batch_id, **ENDED)
    if not paid(connected):
        end_what_comes(connected)

    outcome = attempt(lambda: create(mode), TaskInstance(try_number=2), store=Store(store) if store else None)

    assert outcome.error is None
    assert paid(connected) == [outcome.value]
    assert outcome.ti.xcoms["batch_id"] == outcome.value
    assert outcome.ti.xcoms["input_file_id"]
    assert len(connected.service.files.all()) == 1


def end_what_comes(sandbox: RespanSandbox) -> None:
    """Let the batch that the second attempt creates end as soon as it is there."""

    def watch() -> None:
        while not paid(sandbox):
            threading.Event().wait(0.005)
        sandbox.change_batch(paid(sandbox)[0], **ENDED)

    threading.Thread(target=watch, daemon=True).start()
