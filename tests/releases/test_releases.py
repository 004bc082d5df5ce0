"""One release reads what another wrote: the record of every release is replayed."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import airflow_respan
from airflow_respan.exceptions import RespanBatchFailed, RespanResultsError
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.triggers.batch import RespanBatchTrigger
from airflow_respan.triggers.batches import RespanBatchesTrigger
from tests.operators import modes
from tests.operators.landings import good, jsonl, land, upload
from tests.releases import BATCH_ID, make_asking, present, recorded
from tests.sensors.modes import first_event, make_sensor
from tests.task_instance import TaskInstance

each_release = pytest.mark.parametrize(
    "record", [pytest.param(record, id=release) for release, record in recorded().items()]
)
TO_DO = "record what it writes: python -m tests.releases"
TIMES = {"started_at", "next_check_at", "checked_at", "sent_at", "created_at"}
RANDOM = {"owner", "id", "plan_id", "planned_at"}


def trigger_of(deferral: dict[str, Any], **more: Any) -> RespanBatchTrigger:
    assert deferral["trigger"]["class_path"] == "airflow_respan.triggers.batch.RespanBatchTrigger"
    return RespanBatchTrigger(**deferral["trigger"]["kwargs"], **more)


def resume(record: dict[str, Any], event: Any, **more: Any) -> tuple[Any, TaskInstance]:
    ti, sensor = TaskInstance(), make_sensor("deferrable", batch_id=BATCH_ID)
    kwargs = {**record["sensor"]["next_kwargs"], **more, "event": event}
    return sensor.resume_execution(record["sensor"]["next_method"], kwargs, {"ti": ti}), ti


def shape(value: Any, name: str = "") -> Any:
    """Return a record without times and without the numbers in the sandbox's ids, which differ each time."""
    if name in TIMES | RANDOM:
        return type(value).__name__
    if name.endswith("_id") and str(value).startswith(("batch_0", "file-0")):
        return value[:-4]
    if isinstance(value, dict):
        return {key: shape(item, key) for key, item in value.items()}
    if isinstance(value, str) and value.startswith(('{"', "{\n")) and "\n{" not in value:
        return shape(json.loads(value))  # a file with one JSON object
    return [shape(item) for item in value] if isinstance(value, list) else value


def test_what_this_release_writes_is_recorded(connected: RespanSandbox) -> None:
    record = recorded().get(airflow_respan.__version__)

    assert record is not None, f"Release {airflow_respan.__version__} has no record; {TO_DO}"
    assert shape(record) == shape(present(connected)), f"If {airflow_respan.__version__} is not published yet, {TO_DO}"


@each_release
def test_a_task_that_a_release_deferred_succeeds_after_an_upgrade(
    connected: RespanSandbox,
    record: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    connected.add_batch(id=BATCH_ID, status="completed", output_file_id="file-out", request_counts=None)

    event = asyncio.run(first_event(trigger_of(record["sensor"])))
    value, ti = resume(record, event)

    assert value["id"] == BATCH_ID
    assert ti.xcoms == {"batch_id": BATCH_ID, "status": "completed", "output_file_id": "file-out"}
    [request] = connected.requests
    assert request.params == {"customer_identifier": "user123"}
    assert request.query == {"provider_id": "openai"}
    assert "does not know" not in capsys.readouterr().out + caplog.text


@each_release
def test_the_trigger_of_a_release_keeps_all_its_arguments(record: dict[str, Any]) -> None:
    before = record["sensor"]["trigger"]["kwargs"]

    after = trigger_of(record["sensor"]).serialize()[1]

    # By the values, because this release has other names for some arguments. New ones have their defaults.
    assert not Counter(map(json.dumps, before.values())) - Counter(map(json.dumps, after.values()))


@each_release
def test_an_event_of_a_release_can_be_read(connected: RespanSandbox, record: dict[str, Any]) -> None:
    completed, expired, *errors = record["events"]

    assert resume(record, completed)[0]["output_file_id"] == "file-out"
    with pytest.raises(RespanBatchFailed):
        resume(record, expired)
    for event in errors:
        with pytest.raises(Exception, match=event["message"]) as raised:
            resume(record, event)
        assert type(raised.value).__name__ == event["error"]
    assert connected.requests == []


@each_release
def test_a_task_that_a_later_release_deferred_succeeds_after_a_downgrade(
    connected: RespanSandbox,
    record: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    connected.add_batch(id=BATCH_ID, status="completed", output_file_id="file-out")

    event = asyncio.run(first_event(trigger_of(record["sensor"], priority="high", budget={"per_minute": 60})))
    value, _ti = resume(record, event, seen_by="a later release")

    assert value["status"] == "completed"
    warning = f"Ignoring arguments that are not in this release ({airflow_respan.__version__}): budget, priority."
    assert warning in capsys.readouterr().out + caplog.text  # Airflow 3 logs by structlog, 2 by logging


@each_release
def test_a_create_that_a_release_deferred_succeeds_after_an_upgrade(
    connected: RespanSandbox, record: dict[str, Any]
) -> None:
    created = record["create"]
    connected.add_batch(id=created["batch"]["id"], status="completed", output_file_id="file-out")

    event = asyncio.run(first_event(trigger_of(created)))
    context = modes.context_of(TaskInstance())
    kwargs = {**created["next_kwargs"], "event": event}
    value = modes.create("deferrable").resume_execution(created["next_method"], kwargs, context)

    assert value == created["batch"]["id"]


@each_release
@pytest.mark.parametrize("where", ["note", "metadata"])
def test_a_retry_finds_the_batch_that_a_release_created(
    connected: RespanSandbox, record: dict[str, Any], tmp_path: Path, where: str
) -> None:
    batch, store = record["create"]["batch"], None
    if where == "note":
        store = modes.Store(tmp_path / "store.json")
        store.path.write_text(json.dumps(record["create"]["note"]))
        batch = {**batch, "metadata": None}
    connected.add_batch(**batch, status="in_progress")

    outcome = modes.attempt(lambda: modes.create("plain"), TaskInstance(try_number=2), store=store)

    assert outcome.error is None
    assert outcome.value == batch["id"]
    assert [request.method for request in connected.requests if request.method == "POST"] == []


@each_release
def test_results_that_a_release_landed_are_not_landed_again(
    connected: RespanSandbox, record: dict[str, Any], tmp_path: Path
) -> None:
    manifest = json.loads(json.dumps(record["landing"]["manifest"]).replace("{folder}", str(tmp_path)))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "output.jsonl").write_text(record["landing"]["output"])
    # The output file itself was deleted at the service after the landing.
    output_file_id = manifest["landing"]["output_file_id"]
    connected.add_batch(id=manifest["batch_id"], status="completed", output_file_id=output_file_id)

    xcoms = land(tmp_path, batch_id=manifest["batch_id"])

    urls = {"output_url": f"{tmp_path}/output.jsonl", "errors_url": None, "rejected_url": None, "parquet_url": None}
    assert xcoms["return_value"] == {**manifest, "rejected_path": None, **urls}  # 0.1.0 has no URLs


@pytest.mark.parametrize(
    "record",
    [pytest.param(record, id=release) for release, record in recorded().items() if "claim" in record["landing"]],
)
def test_a_landing_that_was_killed_in_a_release_is_repeated_after_an_upgrade(
    connected: RespanSandbox, record: dict[str, Any], tmp_path: Path
) -> None:
    claim = record["landing"]["claim"]
    output_file_id = upload(record["landing"]["output"].encode())
    claim["landing"]["output_file_id"] = output_file_id
    (tmp_path / ".manifest.json.part").write_text(json.dumps({**claim, "started_at": time.time()}))
    connected.add_batch(id=claim["landing"]["batch_id"], status="completed", output_file_id=output_file_id)
    connected.add_batch(id="batch_other", status="completed", output_file_id=upload(b""))

    with pytest.raises(RespanResultsError, match=f"The landing of batch {claim['landing']['batch_id']} is writing"):
        land(tmp_path, batch_id="batch_other", on_missing="warn")
    land(tmp_path, batch_id=claim["landing"]["batch_id"])

    assert {path.name for path in tmp_path.iterdir()} == {"output.jsonl", "manifest.json"}


@pytest.mark.parametrize(
    "record", [pytest.param(record, id=release) for release, record in recorded().items() if "rounds" in record]
)
@pytest.mark.parametrize("is_cleared", [False, True])
def test_rounds_that_a_release_began_continue_after_an_upgrade(
    connected: RespanSandbox, record: dict[str, Any], tmp_path: Path, is_cleared: bool
) -> None:
    rounds = record["rounds"]
    for name, content in rounds["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    batch_ids = rounds["trigger"]["kwargs"]["batch_ids"]
    for number, batch_id in enumerate(batch_ids, start=1):
        output_file_id = upload(jsonl(good(f"r-{number}")))
        connected.add_batch(id=batch_id, status="completed", output_file_id=output_file_id)

    ti = TaskInstance(try_number=2 if is_cleared else 1, max_tries=int(is_cleared))
    event = asyncio.run(first_event(RespanBatchesTrigger(**rounds["trigger"]["kwargs"])))
    kwargs = {**rounds["next_kwargs"], "event": event}
    task, context = make_asking(tmp_path), modes.context_of(ti)
    manifest = task.execute(context) if is_cleared else task.resume_execution(rounds["next_method"], kwargs, context)

    assert manifest["counts"]["succeeded"] == 2
    assert [batch["batch_id"] for batch in manifest["rounds"][0]["batches"]] == batch_ids
    assert not [
        request for request in connected.requests if request.path.endswith("/batches/") and request.method == "POST"
    ]
