"""What a kill does to a batch: it is cancelled if no attempt of the task can use it, and only then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_respan.exceptions import RespanTaskKilledError
from airflow_respan.operators.waiting import BatchWaitingOperator
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.operators.holding import Hold, holding_proxy
from tests.operators.modes import Outcome, attempt, context_of, create
from tests.operators.test_create import batches
from tests.sensors.modes import make_sensor, through_the_database
from tests.task_instance import TaskInstance

# What Airflow says of a killed task -> whether an attempt of it can use the batch, before its last attempt and in it.
STATES: list[tuple[str | None, bool, bool]] = [
    ("failed", False, False),  # a person marked it, or the scheduler gave it up
    ("skipped", False, False),  # the DAG run has reached its timeout
    ("upstream_failed", False, False),
    ("removed", False, False),  # the DAG run was deleted
    ("success", True, True),  # a person marked it: other tasks may need the batch
    ("running", True, False),  # nobody acted: the worker is shut down, or heartbeats or execution_timeout failed
    ("up_for_retry", True, True),
    ("restarting", True, True),  # cleared while it was running
    (None, True, True),  # cleared
    ("a state of a later Airflow", True, True),
]
CASES = [(state, is_last, usable[is_last]) for state, *usable in STATES for is_last in (False, True)]


def status(sandbox: RespanSandbox) -> str:
    [batch] = batches(sandbox)
    return batch["status"]


def killed(sandbox: RespanSandbox, operator: BatchWaitingOperator, ti: TaskInstance) -> BaseException | None:
    """Run a task until it waits for a batch that is in progress, kill it as a signal does, and return its error."""
    errors: list[BaseException | None] = []

    def run() -> None:
        try:
            operator.execute(context_of(ti))
            errors.append(None)
        except BaseException as error:  # noqa: BLE001 (returned)
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not any(request.method == "GET" and "/batch_" in request.path for request in sandbox.requests):
        assert thread.is_alive()
        thread.join(0.005)
    operator.on_kill()
    thread.join(30)
    return errors[0]


def make(sandbox: RespanSandbox, kind: str, **options: Any) -> BatchWaitingOperator:
    if kind == "create":
        return create("waiting", poke_interval=0.05, **options)
    return make_sensor(
        "poke",
        batch_id=sandbox.add_batch(status="validating"),
        poke_interval=0.05,
        **{"cancel_on_kill": True, **options},
    )


@pytest.mark.parametrize(("state", "is_last_attempt", "is_usable"), CASES)
@pytest.mark.parametrize("kind", ["create", "sensor"])
def test_a_kill_on_a_worker_cancels_a_batch_that_no_attempt_can_use(
    connected: RespanSandbox, kind: str, state: str | None, is_last_attempt: bool, is_usable: bool
) -> None:
    ti = TaskInstance(state=state, max_tries=0 if is_last_attempt else 1)

    error = killed(connected, make(connected, kind), ti)

    assert status(connected) == ("validating" if is_usable else "cancelling")
    assert isinstance(error, RespanTaskKilledError)  # not RespanBatchFailed, which Airflow never retries
    assert str(error) == (
        f"Airflow has killed this attempt of task {'create' if kind == 'create' else 'wait'!r} (batch "
        f"{batches(connected)[0]['id']}): a person has ended or cleared it, its worker is shut down, or Airflow's API "
        "server did not accept its heartbeats. The next attempt, a retry or after a clear, continues with the batch if "
        "it was not cancelled."
    )


@pytest.mark.parametrize(("state", "is_usable"), [(state, usable) for state, usable, _last in STATES])
@pytest.mark.parametrize("kind", ["create", "sensor"])
def test_a_kill_of_a_deferred_task_cancels_a_batch_that_no_attempt_can_use(
    connected: RespanSandbox, kind: str, state: str | None, is_usable: bool
) -> None:
    operator = make(connected, kind, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context_of(TaskInstance()))
    trigger = through_the_database(deferred.value.trigger)
    trigger.task_instance = TaskInstance(state=state)  # as Airflow does

    asyncio.run(trigger.on_kill())

    assert status(connected) == ("validating" if is_usable else "cancelling")


@pytest.mark.parametrize("kind", ["create", "sensor"])
def test_a_kill_whose_reason_is_not_known_cancels_nothing(
    connected: RespanSandbox, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreachable(TaskInstance):
        def current_state(self) -> str | None:
            raise ConnectionError("503 of the API server")

    assert isinstance(killed(connected, make(connected, kind), Unreachable()), RespanTaskKilledError)

    assert status(connected) == "validating"
    assert "Airflow's state of this task could not be read: ConnectionError('503 of the API server')" in caplog.text


@pytest.mark.parametrize("kind", ["create", "sensor"])
def test_a_kill_cancels_nothing_without_cancel_on_kill(connected: RespanSandbox, kind: str) -> None:
    operator = make(connected, kind, cancel_on_kill=False)

    assert isinstance(killed(connected, operator, TaskInstance(state="failed")), RespanTaskKilledError)

    assert status(connected) == "validating"


@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
def test_a_killed_sensor_is_not_skipped(connected: RespanSandbox, option: str) -> None:
    sensor = make(connected, "sensor", **{option: True})

    assert isinstance(killed(connected, sensor, TaskInstance(max_tries=1)), RespanTaskKilledError)


def test_a_kill_that_cannot_cancel_only_warns(connected: RespanSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    connected.inject(Fault.error(503), method="POST", times=None)

    killed(connected, make(connected, "sensor"), TaskInstance(state="failed"))

    assert f"Batch {batches(connected)[0]['id']} could not be cancelled" in capsys.readouterr().out


def test_a_kill_before_the_start_sends_nothing(connected: RespanSandbox) -> None:
    create("plain").on_kill()

    assert connected.requests == []


def test_a_kill_during_the_upload_prevents_the_create(connected: RespanSandbox) -> None:
    operator = create("plain")

    outcome = attempt(lambda: operator, TaskInstance(state="failed", pushed=lambda key: operator.on_kill()))

    assert list(outcome.ti.xcoms) == ["input_file_id"]
    assert isinstance(outcome.error, RespanTaskKilledError)
    assert str(outcome.error) == (
        "Airflow has killed this attempt before it created a batch. The next attempt, a retry or after a clear, "
        "creates it."
    )
    assert batches(connected) == []


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_kill_cancels_a_batch_whose_create_has_no_response_yet(
    connected: RespanSandbox, connect: Callable[..., None], is_listed: bool
) -> None:
    if not is_listed:
        empty = Fault(status=200, body={"object": "list", "data": [], "has_more": False})
        connected.inject(empty, method="GET", path="/batches/$", times=None)
    hold = Hold("POST", "/api/v1/batches/", after=True)
    outcomes: list[Outcome] = []
    with holding_proxy(connected.url, hold) as host:
        connect(host=host, password=connected.api_key)
        operator = create("plain")
        ti = TaskInstance(state="failed")
        thread = threading.Thread(target=lambda: outcomes.append(attempt(lambda: operator, ti)))
        thread.start()
        assert hold.holding.wait(30)
        operator.on_kill()
        assert status(connected) == ("cancelling" if is_listed else "validating")
        hold.released.set()
        thread.join(30)

    assert status(connected) == "cancelling"
    assert isinstance(outcomes[0].error, RespanTaskKilledError)


def test_a_create_whose_worker_is_shut_down_returns_its_batch(connected: RespanSandbox) -> None:
    operator = create("plain")
    ti = TaskInstance(max_tries=1, pushed=lambda key: operator.on_kill() if key == "batch_id" else None)

    outcome = attempt(lambda: operator, ti)

    assert outcome.error is None
    assert [batch["id"] for batch in batches(connected)] == [outcome.value]
    assert status(connected) == "validating"
