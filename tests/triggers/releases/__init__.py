"""What each release left in Airflow's database for a deferred task: a file a release, never changed after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

import airflow_respan
from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanBatchTimeout,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
)
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.waiting.event import event_of
from tests.sensors.modes import TaskInstance, make_sensor

FOLDER = Path(__file__).parent
BATCH_ID = "batch_of_an_earlier_release"
ENDS: tuple[Batch | Exception, ...] = (
    Batch(id=BATCH_ID, status="completed", output_file_id="file-out"),
    Batch(id=BATCH_ID, status="expired", error_file_id="file-err"),
    RespanAPIError("no", status_code=422),
    RespanAuthenticationError("no", status_code=401),
    RespanNotFoundError("no", status_code=404),
    RespanBatchTimeout("late"),
    RespanConfigurationError("no API key"),
    RespanMissingConnectionError("no such connection"),
    RespanError("broken"),
)


def recorded() -> dict[str, dict[str, Any]]:
    """The files: release -> what it left."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def present() -> dict[str, Any]:
    """What the release in this checkout leaves; ``respan_default`` has to point at a sandbox with the batch."""
    sensor = make_sensor(
        "deferrable",
        batch_id=BATCH_ID,
        respan_params={"customer_identifier": "user123"},
        provider_id="openai",
        cancel_on_kill=True,
        exponential_backoff=True,
        max_wait=0.5,
    )
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]  # what the sensor needs of a context
    class_path, kwargs = deferral.value.trigger.serialize()
    return {
        "trigger": {"class_path": class_path, "kwargs": kwargs},
        "next_method": deferral.value.method_name,
        "next_kwargs": deferral.value.kwargs,
        "events": [event_of(end) for end in ENDS],
    }


def write(sandbox: RespanSandbox) -> Path:
    """Write the file of the release in this checkout."""
    sandbox.add_batch(id=BATCH_ID)
    path = FOLDER / f"{airflow_respan.__version__}.json"
    path.write_text(json.dumps(present(), indent=1) + "\n")
    return path
