"""A task that one release deferred is gone on with by another: every release's triggers are replayed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import airflow_respan
from airflow_respan.exceptions import RespanBatchFailed
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.triggers.batch import RespanBatchTrigger
from tests.sensors.modes import TaskInstance, first_event, make_sensor
from tests.triggers.releases import BATCH_ID, present, recorded

RELEASES = [pytest.param(left, id=release) for release, left in recorded().items()]
TO_DO = "keep what it serialises: python -m tests.triggers.releases"


def trigger_of(left: dict[str, Any], **more: Any) -> RespanBatchTrigger:
    assert left["trigger"]["class_path"] == "airflow_respan.triggers.batch.RespanBatchTrigger"
    return RespanBatchTrigger(**left["trigger"]["kwargs"], **more)


def resume(left: dict[str, Any], event: Any, **more: Any) -> tuple[Any, TaskInstance]:
    ti, sensor = TaskInstance(), make_sensor("deferrable", batch_id=BATCH_ID)
    kwargs = {**left["next_kwargs"], **more, "event": event}
    return sensor.resume_execution(left["next_method"], kwargs, {"ti": ti}), ti


def shape(left: dict[str, Any]) -> dict[str, Any]:
    """What is the same at each writing: all but moments."""
    moments = {"started_at", "next_look_at"}
    kwargs = {name: type(v).__name__ if name in moments else v for name, v in left["trigger"]["kwargs"].items()}
    return {
        **left,
        "trigger": {**left["trigger"], "kwargs": kwargs},
        "next_kwargs": {name: type(v).__name__ for name, v in left["next_kwargs"].items()},
    }


def test_what_this_release_serialises_is_kept(connected: RespanSandbox) -> None:
    connected.add_batch(id=BATCH_ID)
    left = recorded().get(airflow_respan.__version__)

    assert left is not None, f"Release {airflow_respan.__version__} has no file; {TO_DO}"
    assert shape(left) == shape(present()), f"If {airflow_respan.__version__} is not published yet, {TO_DO}"


@pytest.mark.parametrize("left", RELEASES)
def test_a_task_that_a_release_deferred_ends_well_after_an_upgrade(
    connected: RespanSandbox, left: dict[str, Any]
) -> None:
    connected.add_batch(id=BATCH_ID, status="completed", output_file_id="file-out", request_counts=None)

    event = asyncio.run(first_event(trigger_of(left)))
    value, ti = resume(left, event)

    assert value["id"] == BATCH_ID
    assert ti.xcoms == {"batch_id": BATCH_ID, "status": "completed", "output_file_id": "file-out"}
    [request] = connected.requests
    assert request.params == {"customer_identifier": "user123"}
    assert request.query == {"provider_id": "openai"}


@pytest.mark.parametrize("left", RELEASES)
def test_an_event_that_a_releases_trigger_left_is_understood(connected: RespanSandbox, left: dict[str, Any]) -> None:
    completed, expired, *errors = left["events"]

    assert resume(left, completed)[0]["output_file_id"] == "file-out"
    with pytest.raises(RespanBatchFailed):
        resume(left, expired)
    for event in errors:
        with pytest.raises(Exception, match=event["message"]) as raised:
            resume(left, event)
        assert type(raised.value).__name__ == event["error"]
    assert connected.requests == []


@pytest.mark.parametrize("left", RELEASES)
def test_a_task_that_a_later_release_deferred_ends_well_after_a_downgrade(
    connected: RespanSandbox,
    left: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    connected.add_batch(id=BATCH_ID, status="completed", output_file_id="file-out")

    event = asyncio.run(first_event(trigger_of(left, priority="high", budget={"per_minute": 60})))
    value, _ti = resume(left, event, seen_by="a later release")

    assert value["status"] == "completed"
    warning = (
        f"Passing over arguments that this release ({airflow_respan.__version__}) does not know: budget, priority."
    )
    assert warning in capsys.readouterr().out + caplog.text  # Airflow 3 logs by structlog, 2 by logging
