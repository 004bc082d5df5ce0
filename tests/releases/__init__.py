"""What each release wrote for later ones to read: a file for each release, never changed after it.

:mod:`airflow_respan.persisted` lists what is saved, and where.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, TaskDeferred

import airflow_respan
from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanWrongIdError,
)
from airflow_respan.operators.batch import RespanBatchOperator
from airflow_respan.results.claim import CLAIM_NAME, Claim
from airflow_respan.results.folder import Folder
from airflow_respan.results.manifest import LandingKey
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.waiting.event import make_event
from airflow_respan.waiting.policy import TimedOut
from tests.operators import modes
from tests.operators.landings import add_batch, good, jsonl, land
from tests.sensors.modes import make_sensor
from tests.task_instance import TaskInstance

FOLDER = Path(__file__).parent
BATCH_ID = "batch_of_an_earlier_release"
LANDING_KEY = ("batch_id", "output_file_id", "error_file_id", "input", "on_missing")
ENDS: tuple[Batch | TimedOut | RespanError, ...] = (
    Batch(id=BATCH_ID, status="completed", output_file_id="file-out"),
    Batch(id=BATCH_ID, status="expired", error_file_id="file-err"),
    RespanAPIError("no", status_code=422),
    RespanAuthenticationError("no", status_code=401),
    RespanNotFoundError("no", status_code=404),
    TimedOut("late"),
    RespanConfigurationError("no API key"),
    RespanMissingConnectionError("no such connection"),
    RespanError("broken"),
    RespanWrongIdError("another batch"),
)


def recorded() -> dict[str, dict[str, Any]]:
    """Return what each release wrote, by release."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def present(sandbox: RespanSandbox) -> dict[str, Any]:
    """Return what this checkout writes; the connection ``respan_default`` must lead to the sandbox."""
    sandbox.add_batch(id=BATCH_ID)
    sensor = make_sensor(
        "deferrable",
        batch_id=BATCH_ID,
        respan_params={"customer_identifier": "user123"},
        provider_id="openai",
        cancel_on_kill=True,
        exponential_backoff=True,
        max_wait=0.5,
    )
    return {
        "sensor": deferral(sensor, {"ti": TaskInstance()}),
        "events": [make_event(end) for end in ENDS],
        "create": creation(sandbox),
        "landing": landing(sandbox),
        "rounds": rounds(sandbox),
    }


def deferral(task: BaseOperator, context: Any) -> dict[str, Any]:
    """Run a task until it defers, and return what Airflow saves of it."""
    with pytest.raises(TaskDeferred) as raised:
        task.execute(context)
    class_path, kwargs = raised.value.trigger.serialize()
    return {
        "trigger": {"class_path": class_path, "kwargs": kwargs},
        "next_method": raised.value.method_name,
        "next_kwargs": raised.value.kwargs,
    }


def creation(sandbox: RespanSandbox) -> dict[str, Any]:
    """Create a batch of two requests, and return what the next attempt can find."""
    with tempfile.TemporaryDirectory() as folder:
        store = modes.Store(Path(folder) / "store.json")
        deferred = deferral(modes.create("deferrable"), modes.context_of(TaskInstance(), store=store))
        note = json.loads(store.path.read_text())
    batch = sandbox.service.batches.page(limit=1, after=None)["data"][0]
    return {**deferred, "note": note, "batch": {name: batch[name] for name in ("id", "metadata", "input_file_id")}}


def landing(sandbox: RespanSandbox) -> dict[str, Any]:
    """Land a batch, and return the content of the folder."""
    with tempfile.TemporaryDirectory() as folder:
        batch_id = add_batch(sandbox, jsonl(good("r-1")), id=f"{BATCH_ID}_landed")
        land(folder, batch_id=batch_id)
        manifest = json.loads((Path(folder) / "manifest.json").read_text().replace(folder, "{folder}"))
        key = LandingKey(**{name: manifest["landing"][name] for name in LANDING_KEY})
        with Claim(Folder(folder), key, overwrite=False):
            claim = json.loads((Path(folder) / CLAIM_NAME).read_text())
        return {"manifest": manifest, "output": (Path(folder) / "output.jsonl").read_text(), "claim": claim}


def rounds(sandbox: RespanSandbox) -> dict[str, Any]:
    """Ask until the task defers, and return what it leaves: what Airflow saves, and the content of the folder."""
    with tempfile.TemporaryDirectory() as folder:
        deferred = deferral(make_asking(folder), modes.context_of(TaskInstance()))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_text() for path in paths}
    return {**deferred, "files": files}


def make_asking(path: Path | str) -> RespanBatchOperator:
    """Return a task that asks two requests in two batches."""
    requests = [{**modes.request(number), "body": {"model": f"m-{number}"}} for number in (1, 2)]
    return RespanBatchOperator(
        task_id="ask", path=str(path), requests=requests, split_by_model=True, deferrable=True, poke_interval=0.05
    )


def write(sandbox: RespanSandbox) -> Path:
    """Record what the release in this checkout writes."""
    path = FOLDER / f"{airflow_respan.__version__}.json"
    path.write_text(json.dumps(present(sandbox), indent=1) + "\n")
    return path
