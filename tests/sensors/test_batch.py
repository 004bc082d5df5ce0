"""What the sensor does while it waits, in every mode."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pendulum
import pytest
import trustme
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from airflow_respan.compat import AirflowRescheduleException
from airflow_respan.exceptions import (
    RespanBatchFailed,
    RespanBatchTimeout,
    RespanConfigurationError,
    RespanError,
    RespanNotFoundError,
    RespanWrongIdError,
)
from airflow_respan.sandbox import Fault, RespanSandbox
from airflow_respan.sensors.batch import DEFERRAL_MARGIN, RespanBatchSensor
from airflow_respan.triggers.batch import RespanBatchTrigger
from tests.api.raw_server import raw_server
from tests.sensors.modes import first_event, make_sensor, through_the_database, wait_for
from tests.task_instance import TaskInstance

ENDED = {
    "status": "completed",
    "output_file_id": "file-out",
    "request_counts": {"total": 1, "completed": 1, "failed": 0},
}

LONG_ID = f"projects/p/locations/us:east/batch={'bGl0ZWxsbV9wcm94eQ' * 12}=="
"""As long as the ids of some gateways, and with the characters that are quoted in a path."""

every_mode = pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable"])


def gaps(sandbox: RespanSandbox) -> list[float]:
    """Return the seconds between the checks."""
    return [later.at - earlier.at for earlier, later in itertools.pairwise(sandbox.requests)]


@every_mode
def test_a_batch_that_has_ended_is_checked_once_and_not_deferred(connected: RespanSandbox, mode: str) -> None:
    outcome = wait_for(connected.add_batch(**ENDED), mode)

    assert (outcome.state, outcome.deferrals, len(connected.requests)) == ("success", 0, 1)


@every_mode
def test_the_sensor_waits_for_a_batch_that_ends_later(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    end_after_checks(connected, batch_id, checks=3)

    outcome = wait_for(batch_id, mode)

    assert outcome.state == "success"
    assert outcome.value["output_file_id"] == "file-out"
    assert outcome.ti.xcoms == {"batch_id": batch_id, **ENDED}


def test_a_subclass_can_override_poke(connected: RespanSandbox) -> None:
    class ThirdPokeSensor(RespanBatchSensor):
        pokes = 0

        def poke(self, context: Any) -> Any:
            self.pokes += 1
            return self.pokes > 2 and super().poke(context)

    sensor = ThirdPokeSensor(task_id="wait", batch_id=connected.add_batch(**ENDED), poke_interval=0.1, deferrable=False)

    value = sensor.execute({"ti": TaskInstance()})

    assert value["output_file_id"] == "file-out"
    assert (sensor.pokes, len(connected.requests)) == (3, 1)


@every_mode
def test_checks_are_at_least_an_interval_apart(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    end_after_checks(connected, batch_id, checks=4)

    wait_for(batch_id, mode, poke_interval=0.3)

    assert len(connected.requests) >= 4
    assert all(gap >= 0.29 for gap in gaps(connected))


@every_mode
@pytest.mark.parametrize("fault", [Fault.rate_limit(retry_after=1.5), Fault.rate_limit(header="2")])
def test_a_rate_limit_is_obeyed_in_the_body_and_in_the_header(
    connected: RespanSandbox, mode: str, fault: Fault
) -> None:
    connected.inject(fault)

    outcome = wait_for(connected.add_batch(**ENDED), mode, poke_interval=0.1)

    assert outcome.state == "success"
    assert len(connected.requests) == 2
    assert gaps(connected)[0] >= 1.5


@every_mode
@pytest.mark.parametrize("fault", [Fault.error(401), Fault.error(404), Fault.error(502), Fault.html(200)])
def test_a_wait_moves_to_the_new_host_of_the_connection(
    connected: RespanSandbox, connect: Callable[..., None], mode: str, fault: Fault
) -> None:
    batch_id = connected.add_batch()
    with RespanSandbox(pace=None) as new:
        assert new.add_batch(**ENDED) == batch_id

        def move() -> None:
            while len(connected.requests) < 2:
                time.sleep(0.01)
            connect(host=new.url, password=new.api_key)
            connected.inject(fault, times=None)

        moving = threading.Thread(target=move)
        moving.start()
        outcome = wait_for(batch_id, mode, not_found_grace=0)
        moving.join()

    assert outcome.state == "success"


@every_mode
def test_the_last_check_is_at_the_deadline(connected: RespanSandbox, mode: str) -> None:
    started = pendulum.now("UTC")

    outcome = wait_for(connected.add_batch(), mode, poke_interval=3600, timeout=1)

    assert isinstance(outcome.error, RespanBatchTimeout)
    assert len(connected.requests) == 2
    assert 1 <= (pendulum.now("UTC") - started).total_seconds() < 20


@every_mode
def test_a_batch_that_ends_before_the_last_check_is_a_success(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    end_after_checks(connected, batch_id, checks=1)

    outcome = wait_for(batch_id, mode, poke_interval=3600, timeout=timedelta(seconds=1))

    assert outcome.state == "success"


@every_mode
def test_a_timeout_reports_the_progress(connected: RespanSandbox, mode: str) -> None:
    created = pendulum.now("UTC").subtract(hours=3)
    batch_id = connected.add_batch(
        created_at=created.int_timestamp,
        expires_at=created.int_timestamp + 86400,
        status="finalizing",
        request_counts={"total": 10, "completed": 8, "failed": 1},
    )

    outcome = wait_for(batch_id, mode, timeout=0.5)

    assert isinstance(outcome.error, AirflowSensorTimeout)
    assert re.sub(r"3 hours( \d+ seconds?)?", "3 hours", str(outcome.error)) == (
        f"The timeout of 0.5 seconds has passed, and no check has shown the end of batch {batch_id}. Batch {batch_id} "
        "is finalizing, 8 of 10 requests completed, 1 failed (90%), 3 hours old, expires "
        f"{created.add(days=1).to_datetime_string()} UTC. The batch may still be running at the service, and be "
        "billed: clear the task to wait again."
    )


@every_mode
@pytest.mark.parametrize("render", [dict, str, json.dumps], ids=["a dict", "its text", "JSON"])
def test_a_whole_batch_may_be_given_instead_of_its_id(
    connected: RespanSandbox, mode: str, render: Callable[[Any], Any]
) -> None:
    batch_id = connected.add_batch(**ENDED)

    outcome = wait_for(render({"id": batch_id, "status": "completed", "metadata": None}), mode, respan_params="None")

    assert outcome.value["id"] == batch_id
    assert {request.path for request in connected.requests} == {f"/api/v1/batches/{batch_id}/"}


@every_mode
def test_a_certificate_that_was_never_accepted_ends_the_wait(connect: Callable[..., None], mode: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", tls=context) as url:
        connect(host=url, password="a-key")
        outcome = wait_for("batch_1", mode, timeout=30)

    assert isinstance(outcome.error, RespanConfigurationError)
    assert "put the CA's path into the extra field 'verify'" in str(outcome.error)


@every_mode
def test_a_timeout_in_an_outage_names_the_last_error(connected: RespanSandbox, mode: str) -> None:
    connected.inject(Fault.error(503), times=None)

    outcome = wait_for("batch_1", mode, timeout=0.5)

    assert str(outcome.error) == (
        "The timeout of 0.5 seconds has passed, and no check has shown the end of batch batch_1. The last check "
        f"failed: 503 Service Unavailable: The sandbox was told to fail (retrieve batch_1, connection respan_default "
        f"at {connected.url}). This may be temporary. The batch may still be running at the service, and be billed: "
        "clear the task to wait again."
    )


def then_missing(sandbox: RespanSandbox, batch_id: str, *, after: float, times: int | None) -> None:
    """Let a batch be found for so many seconds, then missing for some checks, then completed."""

    def watch() -> None:
        while not sandbox.requests or time.monotonic() - sandbox.requests[0].at < after:
            threading.Event().wait(0.005)
        sandbox.inject(Fault.error(404), times=times, path=f"/{batch_id}/")
        sandbox.change_batch(batch_id, **ENDED)

    threading.Thread(target=watch, daemon=True).start()


@every_mode
def test_a_batch_that_was_found_may_be_missing_for_the_grace_period(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    # After a 404 a triggerer first looks the connection up again, at most once a second.
    grace = 2.0 if mode == "deferrable" else 0.7
    then_missing(connected, batch_id, after=grace + 0.1, times=2)

    outcome = wait_for(batch_id, mode, not_found_grace=grace)

    assert outcome.state == "success"
    assert [request.status for request in connected.requests][-4:] == [200, 404, 404, 200]


@every_mode
def test_a_batch_that_stays_missing_ends_the_wait_after_the_grace_period(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    then_missing(connected, batch_id, after=0.8, times=None)

    outcome = wait_for(batch_id, mode, not_found_grace=0.5)

    assert isinstance(outcome.error, RespanNotFoundError)
    missing_at = [request.at for request in connected.requests if request.status == 404]
    assert 0.45 < time.monotonic() - missing_at[0] < 5


def test_in_reschedule_mode_a_process_that_does_not_find_the_batch_checks_it_again(connected: RespanSandbox) -> None:
    batch_id = connected.add_batch()
    ti = TaskInstance(first_poke=pendulum.now("UTC").subtract(hours=5))
    connected.inject(Fault.error(404), times=2)
    sensor = make_sensor("reschedule", batch_id=batch_id, not_found_grace=5)

    with pytest.raises(AirflowRescheduleException):
        sensor.execute({"ti": ti})

    assert [request.status for request in connected.requests] == [404, 404, 200]


def test_in_reschedule_mode_a_connection_that_was_used_may_be_missing(
    sandbox: RespanSandbox, connect: Callable[..., None], airflow_db: None
) -> None:
    batch_id = sandbox.add_batch(**ENDED)
    ti = TaskInstance(first_poke=pendulum.now("UTC").subtract(hours=5))
    sensor = make_sensor("reschedule", batch_id=batch_id, respan_conn_id="respan_late")

    def connect_later() -> None:
        while sensor._wait is None or sensor._wait.error is None:
            threading.Event().wait(0.005)
        connect(conn_id="respan_late", host=sandbox.url, password=sandbox.api_key)

    threading.Thread(target=connect_later, daemon=True).start()

    assert sensor.execute({"ti": ti})["status"] == "completed"


def test_a_triggerer_that_restarts_allows_a_found_batch_to_be_missing(connected: RespanSandbox) -> None:
    started_at = pendulum.now("UTC").subtract(hours=5)
    trigger = RespanBatchTrigger(
        batch_id=connected.add_batch(**ENDED),
        started_at=started_at.isoformat(),
        checked_at=started_at.isoformat(),
        next_check_at=started_at.add(minutes=1).isoformat(),
        poke_interval=0.1,
        not_found_grace=5,
    )
    connected.inject(Fault.error(404), times=2)

    event = asyncio.run(first_event(through_the_database(trigger)))

    assert event["batch"]["status"] == "completed"
    assert [request.status for request in connected.requests] == [404, 404, 200]


@every_mode
def test_a_batch_with_very_many_errors_is_kept_in_part(connected: RespanSandbox, mode: str) -> None:
    errors = [{"code": "invalid", "message": f"Row {number} is wrong: {'x' * 100}"} for number in range(50_000)]
    batch_id = connected.add_batch()
    ended = {"status": "failed", "request_counts": None, "errors": {"object": "list", "data": errors}}
    end_after_checks(connected, batch_id, checks=2, **ended)

    outcome = wait_for(batch_id, mode, soft_fail=True)

    assert outcome.state == "skipped"
    assert f" is failed: invalid: Row 0 is wrong: {'x' * 100} (and 49999 more). Only " in str(outcome.error)
    assert len(str(outcome.error)) < 1000


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_the_xcom_of_a_batch_with_huge_fields_is_small(connected: RespanSandbox, mode: str) -> None:
    huge = {f"key_{number}": "x" * 1000 for number in range(1000)}
    batch_id = connected.add_batch(**ENDED, metadata=huge, provider_details=[huge])

    outcome = wait_for(batch_id, mode)

    assert len(json.dumps(outcome.value)) < 100_000
    assert outcome.value["metadata"]["key_0"] == "x" * 1000


@every_mode
def test_a_timeout_at_an_unknown_status_says_that_the_batch_may_have_ended(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch(status="SUCCEEDED", created_at=None, expires_at=None, request_counts=None)

    outcome = wait_for(batch_id, mode, timeout=0.5)

    assert str(outcome.error) == (
        f"The timeout of 0.5 seconds has passed, and no check has shown the end of batch {batch_id}. Batch {batch_id} "
        "is SUCCEEDED. This release does not know this status, so the batch may have ended. The batch may still be "
        "running at the service, and be billed: clear the task to wait again."
    )


@every_mode
@pytest.mark.parametrize("spelling", ["COMPLETED", "Completed", " completed ", "completed\n"])
def test_a_terminal_status_in_another_spelling_ends_the_wait(
    connected: RespanSandbox, mode: str, spelling: str
) -> None:
    batch_id = connected.add_batch()
    end_after_checks(connected, batch_id, checks=1, **{**ENDED, "status": spelling})

    outcome = wait_for(batch_id, mode, timeout=5)

    assert (outcome.state, outcome.ti.xcoms["status"]) == ("success", "completed")


@every_mode
def test_a_wait_takes_no_other_batch_for_its_own_and_cancels_nothing(connected: RespanSandbox, mode: str) -> None:
    connected.inject(Fault(status=200, body={"id": "batch_other", **ENDED}), times=None)

    outcome = wait_for("batch_1", mode, not_found_grace=0.3, cancel_on_kill=True, timeout=10)

    assert isinstance(outcome.error, RespanWrongIdError)
    assert str(outcome.error) == (
        "200 OK with an unexpected body: 'id' is 'batch_other', which is not the requested id (retrieve batch_1, "
        f"connection respan_default at {connected.url}). This may be temporary. If it is not, check the id, and the "
        "connection's host and proxies."
    )
    assert outcome.ti.xcoms == {}
    assert {request.method for request in connected.requests} == {"GET"}


@every_mode
def test_a_wait_continues_after_a_few_responses_about_another_batch(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch(**ENDED)
    connected.inject(Fault(status=200, body={"id": "batch_other", "status": "failed"}), times=4)

    assert wait_for(batch_id, mode, timeout=10).state == "success"


@every_mode
def test_a_long_id_with_special_characters_is_waited_for(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch(id=LONG_ID)
    end_after_checks(connected, batch_id, checks=1)

    outcome = wait_for(batch_id, mode, timeout=5)

    assert (outcome.state, outcome.ti.xcoms["batch_id"]) == ("success", LONG_ID)


@every_mode
def test_soft_fail_skips_and_gives_the_reason(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch(status="cancelled", request_counts=None)

    outcome = wait_for(batch_id, mode, soft_fail=True)

    assert outcome.state == "skipped"
    assert str(outcome.error) == (
        f"Batch {batch_id} is cancelled: only 'completed' counts as success. Details: no request counts; no files. The "
        "task is skipped instead of failed (soft_fail=True)."
    )


@every_mode
def test_xcoms_are_pushed_before_the_task_fails(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    end_after_checks(
        connected, batch_id, checks=2, status="expired", output_file_id="file-out", error_file_id="file-err"
    )

    outcome = wait_for(batch_id, mode)

    assert isinstance(outcome.error, RespanBatchFailed)
    assert outcome.ti.xcoms == {
        "batch_id": batch_id,
        "status": "expired",
        "output_file_id": "file-out",
        "error_file_id": "file-err",
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }


@every_mode
def test_nothing_is_pushed_without_do_xcom_push(connected: RespanSandbox, mode: str) -> None:
    assert wait_for(connected.add_batch(**ENDED), mode, do_xcom_push=False).ti.xcoms == {}


@every_mode
@pytest.mark.parametrize("value", ["", "  \n", "None", None, 7])
def test_an_empty_batch_id_fails_at_once(connected: RespanSandbox, mode: str, value: object) -> None:
    outcome = wait_for(value, mode, silent_fail=True)

    assert isinstance(outcome.error, ValueError)
    assert str(outcome.error) == (
        f"batch_id of task 'wait' is {value!r}, which is not the id of a batch. Its template is {str(value)!r}. Check "
        "that the upstream task ran and pushed the id of a batch."
    )
    assert connected.requests == []


def test_a_template_that_gave_no_id_is_named(connected: RespanSandbox) -> None:
    sensor = make_sensor("poke", batch_id="{{ ti.xcom_pull('create') }}")
    sensor.batch_id = "None"  # as Airflow renders it

    with pytest.raises(ValueError, match=re.escape("Its template is \"{{ ti.xcom_pull('create') }}\".")):
        sensor.execute({"ti": TaskInstance()})


@every_mode
def test_parameters_and_provider_are_sent_with_every_check(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    end_after_checks(connected, batch_id, checks=2)

    wait_for(f" {batch_id}\n", mode, respan_params={"customer_identifier": "me"}, provider_id="openai")

    for request in connected.requests:
        assert request.path == f"/api/v1/batches/{batch_id}/"
        assert request.params == {"customer_identifier": "me"}
        assert request.query == {"provider_id": "openai"}


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_an_unknown_status_is_one_warning(
    connected: RespanSandbox, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    batch_id = connected.add_batch(status="rescheduled")
    end_after_checks(connected, batch_id, checks=5)

    wait_for(batch_id, mode)

    waiting = [record for record in caplog.records if record.name == "airflow_respan.waiting.policy"]
    warnings = [record.getMessage() for record in waiting if record.levelno == logging.WARNING]
    expected = f"Batch {batch_id} has the status 'rescheduled', which is not documented; the wait continues."
    # Once by each process that waits: a deferred wait begins on a worker and goes on in a triggerer.
    assert warnings == [expected] * (2 if mode == "deferrable" else 1)


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_only_changes_are_logged(connected: RespanSandbox, caplog: pytest.LogCaptureFixture, mode: str) -> None:
    batch_id = connected.add_batch(request_counts={"total": 2, "completed": 0, "failed": 0})
    end_after_checks(connected, batch_id, checks=6)
    caplog.set_level(logging.INFO, logger="airflow_respan.waiting.policy")

    wait_for(batch_id, mode, poke_interval=0.1)

    [line] = [record.getMessage() for record in caplog.records if record.name == "airflow_respan.waiting.policy"]
    assert re.fullmatch(
        rf"Batch {batch_id} is in_progress, 0 of 2 requests completed, 0 failed \(0%\), [\d.]+ seconds old, "
        r"expires [\d: -]+ UTC\.",
        line,
    )


@every_mode
def test_no_secret_is_logged_or_pushed(
    sandbox: RespanSandbox, connect: Callable[..., None], caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    sandbox.api_key = "key-nobody-may-see"
    connect(host=sandbox.url, password="key-nobody-may-see", extra={"headers": {"X-Secret": "header-nobody-may-see"}})
    caplog.set_level(logging.DEBUG)
    sandbox.inject(Fault(status=500, body="key-nobody-may-see header-nobody-may-see"), times=2)
    batch_id = sandbox.add_batch()
    end_after_checks(sandbox, batch_id, checks=5)

    outcome = wait_for(batch_id, mode)

    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("airflow_respan", "urllib3"))]
    assert outcome.state == "success"
    assert "nobody-may-see" not in "".join([*ours, repr(outcome)])


def test_a_deferral_has_no_secret_and_times_out_after_the_deadline(connected: RespanSandbox) -> None:
    sensor = make_sensor("deferrable", batch_id=connected.add_batch(), timeout=3600, max_wait=5)
    ti = TaskInstance(start_date=pendulum.now("UTC").subtract(minutes=10))

    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({"ti": ti})

    _class_path, kwargs = deferred.value.trigger.serialize()
    next_check_at, checked_at = (pendulum.parse(kwargs.pop(name)) for name in ("next_check_at", "checked_at"))
    assert 0.2 <= (next_check_at - checked_at).total_seconds() <= 0.22
    assert abs((pendulum.now("UTC") - checked_at).total_seconds()) < 1
    assert kwargs == {
        "respan_conn_id": "respan_default",
        "respan_params": None,
        "provider_id": None,
        "cancel_on_kill": False,
        "batch_id": sensor.batch_id,
        "started_at": ti.start_date.isoformat(),
        "timeout": 3600.0,
        "poke_interval": 0.2,
        "exponential_backoff": False,
        "max_wait": 5.0,
        "not_found_grace": 60,
        "silent_fail": False,
        "last_logged": ["in_progress", {"total": 0, "completed": 0, "failed": 0}],
        "missing_since": None,
    }
    assert timedelta(minutes=49) < deferred.value.timeout - DEFERRAL_MARGIN <= timedelta(minutes=50)


@pytest.mark.parametrize(
    "event",
    [
        None,
        "done",
        {},
        {"status": "success"},
        {"batch": None},
        {"batch": {"id": "batch_1"}},
        {"batch": {"id": "batch_1", "status": "in_progress"}},
        {"batch": {"id": "batch_other", "status": "completed", "output_file_id": "file-other"}},
        {"error": "SystemExit", "message": "x"},
        {"error": "RespanAPIError"},
    ],
)
def test_after_an_unusable_event_the_batch_is_checked(connected: RespanSandbox, event: Any) -> None:
    connected.add_batch(id="batch_1", status="failed", errors="boom", request_counts=None)
    sensor = make_sensor("deferrable", batch_id="batch_1")

    with pytest.raises(RespanBatchFailed, match="is failed: boom"):
        sensor.resume_execution("execute_complete", {"event": event}, {"ti": TaskInstance()})

    assert len(connected.requests) == 1


def test_after_an_unusable_event_a_running_batch_is_deferred_again(connected: RespanSandbox) -> None:
    sensor = make_sensor("deferrable", batch_id=connected.add_batch(), timeout=60)
    started_at = pendulum.now("UTC").subtract(seconds=30).isoformat()

    with pytest.raises(TaskDeferred) as deferred:
        sensor.resume_execution("execute_complete", {"event": None, "started_at": started_at}, {"ti": TaskInstance()})

    assert deferred.value.trigger.serialize()[1]["started_at"] == started_at


def test_an_error_of_the_trigger_is_raised_by_the_task(connected: RespanSandbox) -> None:
    outcome = wait_for("batch_1", "deferrable", not_found_grace=0.3)

    assert isinstance(outcome.error, RespanNotFoundError)
    assert outcome.error.status_code == 404
    assert outcome.deferrals == 1


class TestALostTrigger:
    """Airflow resumes with ``__fail__`` after the timeout of the deferral, or if the trigger cannot run."""

    @staticmethod
    def resume(sandbox: RespanSandbox, error: str, **fields: Any) -> Any:
        sandbox.add_batch(id="batch_1", **fields)
        sensor = make_sensor("deferrable", batch_id="batch_1", timeout=0.5)
        return sensor.resume_execution("__fail__", {"error": error, "traceback": None}, {"ti": TaskInstance()})

    def test_is_no_failure_if_the_batch_has_ended(self, connected: RespanSandbox) -> None:
        assert self.resume(connected, "Trigger timeout", **ENDED)["output_file_id"] == "file-out"

    def test_is_a_timeout_if_its_time_is_over(self, connected: RespanSandbox) -> None:
        with pytest.raises(RespanBatchTimeout, match=r"^The timeout of 0.5 seconds has passed, and no check"):
            self.resume(connected, "Trigger timeout")

    def test_fails_the_try_otherwise_and_names_the_log(self, connected: RespanSandbox) -> None:
        with pytest.raises(RespanError) as lost:
            self.resume(connected, "Trigger failure")

        assert str(lost.value) == (
            "The triggerer gave up the wait for batch batch_1 (Trigger failure). The batch may still be running at "
            "the service. The triggerer's log has the cause."
        )
        assert not isinstance(lost.value, AirflowFailException)


def test_a_wait_that_moves_to_another_triggerer_keeps_its_deadline(connected: RespanSandbox) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        make_sensor("deferrable", batch_id=connected.add_batch(), timeout=1.5).execute({"ti": TaskInstance()})
    started = pendulum.now("UTC")

    async def interrupted() -> None:
        running = asyncio.ensure_future(first_event(through_the_database(deferred.value.trigger)))
        check_count = len(connected.requests)
        while len(connected.requests) == check_count:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(interrupted())
    event = asyncio.run(first_event(through_the_database(deferred.value.trigger)))

    assert event["error"] == "RespanBatchTimeout"
    assert (pendulum.now("UTC") - started).total_seconds() < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"success_statuses": ["done"]},
            "success_statuses is ['done']; choose among cancelled, completed, expired, failed",
        ),
        ({"success_statuses": []}, "success_statuses is []; choose among cancelled, completed, expired, failed"),
        ({"max_failed_ratio": 5}, "max_failed_ratio is 5; it must be a ratio from 0 to 1"),
    ],
)
def test_an_invalid_argument_fails_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        make_sensor("poke", batch_id="batch_1", **options)

    assert str(refused.value) == message


def end_after_checks(sandbox: RespanSandbox, batch_id: str, *, checks: int, **fields: Any) -> None:
    """End a batch as soon as it has been checked so often."""

    def watch() -> None:
        while sum(batch_id in request.path for request in sandbox.requests) < checks:
            threading.Event().wait(0.005)
        sandbox.change_batch(batch_id, **(fields or ENDED))

    threading.Thread(target=watch, daemon=True).start()
