"""A task that is killed (SIGKILL) anywhere between upload and the end makes one batch, which the next attempt finds."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.forked import PROCESSES, start
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


def first_attempt(step: str, mode: str, host: str, store: Path | None, at_step: Event) -> None:
    """Run the first attempt; if its step is the push of an XCom, stop there for good."""
    connection = {"conn_type": "respan", "host": host, "password": "sandbox-key"}
    os.environ["AIRFLOW_CONN_RESPAN_DEFAULT"] = json.dumps(connection)

    def stop(key: str) -> None:
        if key == step:
            at_step.set()
            threading.Event().wait()

    attempt(lambda: create(mode), TaskInstance(pushed=stop), store=Store(store) if store else None)


@contextmanager
def running(step: str, mode: str, host: str, store: Path | None) -> Iterator[Event]:
    """Run the first attempt in a process of its own, and kill it at the end; gives the event of its step."""
    at_step = PROCESSES.Event()
    process = start(first_attempt, step, mode, host, store, at_step)
    try:
        yield at_step
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


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
        with holding_proxy(connected.url, hold) as host, running("", mode, host, store):
            assert hold.holding.wait(60)
    else:
        with running(where, mode, connected.url, store) as at_step:
            assert at_step.wait(60)
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
