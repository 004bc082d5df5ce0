"""The operator that cancels a batch, in every mode."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_respan.exceptions import RespanBatchTimeout, RespanNotFoundError, RespanTransientError
from airflow_respan.operators.batch import RespanCancelBatchOperator
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.operators.modes import MODES, Outcome, attempt

every_mode = pytest.mark.parametrize("mode", MODES)


def cancel(batch_id: Any, mode: str, **options: Any) -> Outcome:
    defaults: dict[str, Any] = {"deferrable": False, "poke_interval": 0.1, "not_found_grace": 0, **MODES[mode]}
    return attempt(lambda: RespanCancelBatchOperator(task_id="cancel", batch_id=batch_id, **{**defaults, **options}))


def end_after_cancel(sandbox: RespanSandbox, batch_id: str, **fields: Any) -> None:
    """End a batch as soon as its cancellation is requested."""

    def watch() -> None:
        while not any(request.path.endswith("/cancel/") and request.status for request in sandbox.requests):
            threading.Event().wait(0.005)
        sandbox.change_batch(batch_id, **fields)

    threading.Thread(target=watch, daemon=True).start()


def test_a_batch_is_cancelled(connected: RespanSandbox) -> None:
    batch_id = connected.add_batch()

    outcome = cancel(f" {batch_id}\n", "plain", provider_id="openai")

    assert (outcome.value, outcome.error) == ("cancelling", None)
    assert outcome.ti.xcoms["status"] == "cancelling"
    assert [(request.method, request.path, request.query) for request in connected.requests] == [
        ("POST", f"/api/v1/batches/{batch_id}/cancel/", {"provider_id": "openai"})
    ]


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
@pytest.mark.parametrize("status", ["cancelled", "completed"])
def test_the_task_waits_for_the_end_and_accepts_every_outcome(connected: RespanSandbox, mode: str, status: str) -> None:
    batch_id = connected.add_batch()
    end_after_cancel(connected, batch_id, status=status, output_file_id="file-part")

    outcome = cancel(batch_id, mode)

    assert (outcome.value, outcome.error) == (status, None)
    assert (outcome.ti.xcoms["status"], outcome.ti.xcoms["output_file_id"]) == (status, "file-part")
    assert outcome.deferrals == (mode == "deferrable")


@every_mode
@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
@pytest.mark.parametrize("refusal", [None, 400, 409])
def test_a_batch_that_has_already_ended_is_no_error(
    connected: RespanSandbox, mode: str, status: str, refusal: int | None
) -> None:
    batch_id = connected.add_batch(status=status)
    if refusal:
        connected.inject(
            Fault.error(refusal, f"Cannot cancel a batch with status '{status}'."), path="/cancel", times=None
        )

    outcome = cancel(batch_id, mode)

    assert (outcome.value, outcome.error, outcome.deferrals) == (status, None, 0)
    assert outcome.ti.xcoms["batch_id"] == batch_id


@every_mode
def test_a_batch_that_is_already_being_cancelled_is_no_error(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch(status="cancelling")
    connected.inject(Fault.error(409), path="/cancel", times=None)
    end_after_cancel(connected, batch_id, status="cancelled")

    assert cancel(batch_id, mode).error is None


@every_mode
def test_a_running_batch_that_cannot_be_cancelled_fails_the_task(connected: RespanSandbox, mode: str) -> None:
    batch_id = connected.add_batch()
    connected.inject(Fault.error(503), path="/cancel", times=None)

    outcome = cancel(batch_id, mode)

    assert isinstance(outcome.error, RespanTransientError)
    assert str(outcome.error) == (
        f"503 Service Unavailable: The sandbox was told to fail (cancel {batch_id}, connection respan_default at "
        f"{connected.url}). This may be temporary."
    )


@every_mode
def test_a_missing_batch_fails_the_task(connected: RespanSandbox, mode: str) -> None:
    assert isinstance(cancel("batch_1", mode).error, RespanNotFoundError)


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_wait_ends_with_its_timeout(connected: RespanSandbox, mode: str) -> None:
    assert isinstance(cancel(connected.add_batch(), mode, timeout=0.5).error, RespanBatchTimeout)


@every_mode
def test_an_empty_batch_id_fails_at_once(connected: RespanSandbox, mode: str) -> None:
    assert str(cancel("None", mode).error) == (
        "batch_id of task 'cancel' is 'None', which is not the id of a batch. Its template is 'None'. Check that the "
        "upstream task ran and pushed the id of a batch."
    )
    assert connected.requests == []


@every_mode
@pytest.mark.parametrize("nothing", [None, "", " None ", "null"])
def test_the_task_is_skipped_without_a_batch_if_it_may_be(
    connected: RespanSandbox, mode: str, nothing: str | None
) -> None:
    outcome = cancel(nothing, mode, skip_if_no_batch=True)

    assert isinstance(outcome.error, AirflowSkipException)
    assert str(outcome.error) == "There is no batch to cancel (skip_if_no_batch=True)."
    assert connected.requests == []


def test_what_is_no_batch_id_is_an_error_also_if_the_task_may_be_skipped(connected: RespanSandbox) -> None:
    assert isinstance(cancel({"id": None}, "plain", skip_if_no_batch=True).error, ValueError)
    assert isinstance(cancel("batch_1", "plain", skip_if_no_batch=True).error, RespanNotFoundError)


def test_a_kill_sends_nothing(connected: RespanSandbox) -> None:
    RespanCancelBatchOperator(task_id="cancel", batch_id="batch_1").on_kill()

    assert connected.requests == []
