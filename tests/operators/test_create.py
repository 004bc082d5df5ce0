"""The operator that creates a batch; where it can wait, each test runs in every mode."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_respan.api.tracking import TRACKING_PARAMETERS
from airflow_respan.exceptions import (
    RespanBatchFailed,
    RespanBatchTimeout,
    RespanError,
    RespanInputChangedError,
    RespanInputError,
    RespanStorageError,
    RespanTransientError,
)
from airflow_respan.operators.batch import RespanCreateBatchOperator
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.conftest import PAGE
from tests.operators.holding import Hold, holding_proxy
from tests.operators.modes import ENDED, MODES, Outcome, Store, attempt, context_of, create, request
from tests.sensors.modes import through_the_database
from tests.task_instance import TaskInstance

every_mode = pytest.mark.parametrize("mode", MODES)
BATCHES = "/api/v1/batches/"


def batches(sandbox: RespanSandbox) -> list[dict[str, Any]]:
    """Return all batches, newest first."""
    return sandbox.service.batches.page(limit=100, after=None)["data"]


def first_attempt(sandbox: RespanSandbox, status: str = "in_progress", **options: Any) -> str:
    """Run a first attempt, give its batch this status, and return the id of the batch."""
    outcome = attempt(lambda: create("plain", **options))
    assert outcome.error is None
    sandbox.change_batch(outcome.value, status=status)
    return outcome.value


def second_attempt(mode: str = "plain", *, cleared: bool = False, **options: Any) -> Outcome:
    """Run a second attempt: a retry, or after a clear."""
    retries = 0 if cleared else 1
    ti = TaskInstance(try_number=2, max_tries=1)
    return attempt(lambda: create(mode, retries=retries, **options), ti)


def end_next_batch(sandbox: RespanSandbox, **fields: Any) -> None:
    """End the next batch as soon as it is created."""
    count = len(batches(sandbox))

    def watch() -> None:
        while len(batches(sandbox)) == count:
            threading.Event().wait(0.005)
        sandbox.change_batch(batches(sandbox)[0]["id"], **{**ENDED, **fields})

    threading.Thread(target=watch, daemon=True).start()


@every_mode
def test_requests_become_a_batch_whose_id_is_returned(connected: RespanSandbox, mode: str) -> None:
    end_next_batch(connected)

    tracking = {name: f"my {name}" for name in TRACKING_PARAMETERS}
    assert set(tracking) <= set(RespanCreateBatchOperator.template_fields)

    outcome = attempt(lambda: create(mode, metadata={"team": "data"}, provider_id="openai", **tracking))

    [batch] = batches(connected)
    assert outcome.error is None
    assert outcome.value == outcome.ti.xcoms["batch_id"] == batch["id"]
    assert outcome.ti.xcoms["input_file_id"] == batch["input_file_id"]
    assert outcome.ti.xcoms.get("output_file_id") == (None if mode == "plain" else "file-out")
    [sent] = [json.loads(call.body) for call in connected.requests if (call.method, call.path) == ("POST", BATCHES)]
    assert re.fullmatch("[0-9a-f]{64}", sent["metadata"].pop("airflow_input"))
    assert sent == {
        "input_file_id": batch["input_file_id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "provider_id": "openai",
        **tracking,
        "metadata": {"team": "data", "airflow_task": '["dag","create","manual__2026-01-01",-1]'},
    }
    assert [call.path for call in connected.requests if call.method == "GET" and call.path == BATCHES] == []


@every_mode
@pytest.mark.parametrize("uri", [str, lambda path: f"file://{path}"], ids=["path", "uri"])
def test_a_file_is_uploaded_as_it_is(
    connected: RespanSandbox, tmp_path: Path, mode: str, uri: Callable[[Path], str]
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f"{json.dumps(request(1))}\r\n\n  {json.dumps(request(2))}")
    end_next_batch(connected)

    outcome = attempt(lambda: create(mode, input_path=uri(path)))

    uploaded = connected.service.files.get(outcome.ti.xcoms["input_file_id"])
    assert uploaded is not None
    assert uploaded.path.read_bytes() == f"{json.dumps(request(1))}\r\n  {json.dumps(request(2))}\n".encode()


def test_a_missing_file_is_named_and_nothing_is_sent(connected: RespanSandbox, tmp_path: Path) -> None:
    outcome = attempt(lambda: create("plain", input_path=f"{tmp_path}/none.jsonl"))

    assert isinstance(outcome.error, RespanStorageError)
    assert re.fullmatch(
        rf"FileNotFoundError: .* \(could not read {tmp_path}/none\.jsonl\)\. Check the path, and the Airflow "
        r"connection in it\.",
        str(outcome.error),
    )
    assert not connected.requests


def test_a_full_worker_disk_is_named_and_nothing_is_sent(
    connected: RespanSandbox, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(4)
    monkeypatch.setattr("tempfile.tempdir", str(disk))

    outcome = attempt(lambda: create("plain", requests=[request(1, body={"model": "m", "input": "x" * 5 * PAGE})]))

    assert str(outcome.error) == (
        f"[Errno 28] No space left on device: the input could not be kept in {disk} until it is uploaded. Make room "
        "there, or set the worker's variable TMPDIR to a larger folder, and clear the task."
    )
    assert not connected.requests
    assert not list(disk.iterdir())


@every_mode
def test_a_file_that_was_uploaded_before_is_used(connected: RespanSandbox, tmp_path: Path, mode: str) -> None:
    uploaded = attempt(lambda: create("plain")).ti.xcoms["input_file_id"]
    end_next_batch(connected)

    outcome = attempt(lambda: create(mode, input_file_id=uploaded))

    assert outcome.ti.xcoms["input_file_id"] == uploaded
    assert len(connected.service.files.all()) == 1


@every_mode
def test_nothing_is_pushed_without_do_xcom_push(connected: RespanSandbox, mode: str) -> None:
    end_next_batch(connected)

    outcome = attempt(lambda: create(mode, do_xcom_push=False))

    assert (outcome.value, outcome.ti.xcoms) == (batches(connected)[0]["id"], {})


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_batch_that_is_not_shown_yet_does_not_end_the_wait_of_an_attempt_that_began_long_ago(
    connected: RespanSandbox, mode: str
) -> None:
    connected.inject(Fault.error(404), times=2, path="/batch_")
    end_next_batch(connected)

    # So it is after an upload that took longer than the grace period.
    ti = TaskInstance(start_date=pendulum.now("UTC").subtract(hours=1))
    outcome = attempt(lambda: create(mode, not_found_grace=5), ti)

    assert outcome.error is None
    assert [request.status for request in connected.requests if request.path.startswith(f"{BATCHES}batch_")] == [
        404,
        404,
        200,
    ]


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_bad_outcome_is_pushed_and_fails_without_a_retry(connected: RespanSandbox, mode: str) -> None:
    end_next_batch(connected, status="expired", output_file_id="file-part")

    outcome = attempt(lambda: create(mode))

    assert isinstance(outcome.error, RespanBatchFailed)
    assert isinstance(outcome.error, AirflowFailException)
    assert (outcome.ti.xcoms["status"], outcome.ti.xcoms["output_file_id"]) == ("expired", "file-part")


def test_a_temporary_folder_that_does_not_exist_is_named(
    connected: RespanSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", f"{tmp_path}/none")

    outcome = attempt(lambda: create("plain"))

    assert isinstance(outcome.error, RespanStorageError)
    assert str(outcome.error).endswith(
        f": the input could not be kept in {tmp_path}/none until it is uploaded. Check this folder on the worker, or "
        "set the worker's variable TMPDIR to another one, and clear the task."
    )


def test_a_list_that_cannot_be_read_over_the_network_is_not_taken_for_a_full_disk(connected: RespanSandbox) -> None:
    def pull() -> Iterator[dict[str, Any]]:
        yield request(1)
        raise ConnectionResetError(104, "Connection reset by peer")

    outcome = attempt(lambda: create("plain", requests=pull()))

    assert isinstance(outcome.error, ConnectionResetError)
    assert connected.requests == []


def test_an_invalid_input_fails_before_anything_is_sent(connected: RespanSandbox) -> None:
    outcome = attempt(lambda: create("plain", requests=[request(1), request(1, method="GET")]))

    assert isinstance(outcome.error, RespanInputError)
    assert str(outcome.error) == (
        "Invalid input: request 2: 'method' is 'GET': it must be 'POST'; request 2: custom_id 'r-1' is also that of "
        "request 1. Nothing was uploaded or created. Each request must be a dict like "
        '{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", '
        '"body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "..."}]}}'
    )
    assert connected.requests == []


def test_bytes_in_a_list_are_not_taken_for_the_line_of_a_file(connected: RespanSandbox) -> None:
    outcome = attempt(lambda: create("plain", requests=[json.dumps(request(1), indent=1).encode()]))

    assert str(outcome.error).startswith(
        "Invalid input: request 1: a text of JSON (decode it with json.loads), not a dict. Nothing was uploaded"
    )


def test_an_input_with_several_models_is_sent_with_a_warning(connected: RespanSandbox, said: Callable[[], str]) -> None:
    bodies = [{"model": model} for model in ["a", "b", "b", "c"]]

    outcome = attempt(lambda: create("plain", requests=[request(n, body=body) for n, body in enumerate(bodies)]))

    assert outcome.error is None
    assert (
        "The input names several models ('b': 2, 'a': 1, 'c': 1). OpenAI refuses such a batch, perhaps after hours. If "
        "your provider does, create a batch for each model."
    ) in said()


@every_mode
@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "rescheduled", "completed"])
def test_an_attempt_continues_with_a_batch_that_is_running_or_complete(
    connected: RespanSandbox, mode: str, status: str
) -> None:
    batch_id = first_attempt(connected, status)
    uploads = len(connected.service.files.all())

    def end_it() -> None:
        while not any(call.path == f"{BATCHES}{batch_id}/" for call in connected.requests):
            threading.Event().wait(0.005)
        connected.change_batch(batch_id, **ENDED)

    threading.Thread(target=end_it, daemon=True).start()

    outcome = second_attempt(mode, cleared=True)

    assert outcome.error is None
    assert outcome.value == outcome.ti.xcoms["batch_id"] == batch_id
    assert outcome.ti.xcoms["input_file_id"] == batches(connected)[0]["input_file_id"]
    assert (len(batches(connected)), len(connected.service.files.all())) == (1, uploads)


@every_mode
@pytest.mark.parametrize("status", ["failed", "cancelled", "expired", "cancelling"])
def test_an_unusable_batch_is_replaced_and_the_input_is_not_uploaded_again(
    connected: RespanSandbox, mode: str, status: str
) -> None:
    batch_id = first_attempt(connected, status)
    end_next_batch(connected)

    outcome = second_attempt(mode)

    assert outcome.error is None
    assert outcome.value not in (None, batch_id)
    assert len(batches(connected)) == 2
    assert len(connected.service.files.all()) == 1


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_found_batch_that_a_late_kill_cancels_is_replaced_by_the_next_attempt(
    connected: RespanSandbox, mode: str
) -> None:
    batch_id = first_attempt(connected)

    def cancel_it() -> None:
        while not any(call.path == f"{BATCHES}{batch_id}/" and call.status == 200 for call in connected.requests):
            threading.Event().wait(0.005)
        counts = {"total": 2, "completed": 0, "failed": 0}
        connected.change_batch(batch_id, status="cancelled", request_counts=counts)

    threading.Thread(target=cancel_it, daemon=True).start()

    outcome = second_attempt(mode)

    assert type(outcome.error) is RespanError  # which Airflow retries
    assert str(outcome.error) == (
        f"Batch {batch_id} is cancelled: only 'completed' counts as success. Details: 0 of 2 requests completed, 0 "
        "failed; no files. An earlier attempt created this batch, and it was cancelled since. The next attempt of this "
        "task, a retry or after a clear, creates another."
    )
    end_next_batch(connected)
    assert second_attempt(mode).value not in (None, batch_id)


def test_two_clears_in_a_row_pay_once(connected: RespanSandbox) -> None:
    batch_id = first_attempt(connected)

    for try_number in (2, 3):
        outcome = attempt(lambda: create("plain"), TaskInstance(try_number=try_number, max_tries=try_number - 1))
        assert outcome.value == batch_id

    assert len(batches(connected)) == 1


def test_after_a_second_submission_the_newest_counts(connected: RespanSandbox) -> None:
    first_attempt(connected, "failed")
    second = second_attempt().value

    assert second_attempt().value == second
    assert len(batches(connected)) == 2


def test_an_expired_batch_is_used_if_expired_counts_as_success(connected: RespanSandbox) -> None:
    batch_id = first_attempt(connected, "expired")

    assert second_attempt(success_statuses=["completed", "expired"]).value == batch_id


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_complete_batch_that_is_not_accepted_is_replaced_only_after_a_clear(
    connected: RespanSandbox, mode: str
) -> None:
    batch_id = first_attempt(connected)
    connected.change_batch(batch_id, **{**ENDED, "request_counts": {"total": 2, "completed": 1, "failed": 1}})
    end_next_batch(connected)

    retried = second_attempt(mode, max_failed_ratio=0.1)
    assert isinstance(retried.error, RespanBatchFailed)
    assert retried.ti.xcoms["batch_id"] == batch_id
    assert len(batches(connected)) == 1

    cleared = second_attempt(mode, max_failed_ratio=0.1, cleared=True)
    assert cleared.error is None
    assert cleared.value != batch_id


@pytest.mark.parametrize("mode", ["waiting", "deferrable"])
def test_a_batch_whose_failed_requests_are_not_known_is_not_paid_again_even_after_a_clear(
    connected: RespanSandbox, mode: str
) -> None:
    batch_id = first_attempt(connected)
    connected.change_batch(batch_id, **ENDED, error_file_id="file-err")

    for cleared in (False, True):
        outcome = second_attempt(mode, max_failed_ratio=0.1, cleared=cleared, timeout=2)
        assert isinstance(outcome.error, RespanBatchFailed)
        assert "it is not known how many requests failed, and at most 10.0% may" in str(outcome.error)

    assert second_attempt(mode, cleared=True).value == batch_id
    assert len(batches(connected)) == 1


def test_each_task_instance_has_its_own_batch(connected: RespanSandbox) -> None:
    others = [{"map_index": 0}, {"map_index": 1}, {"run_id": "other"}, {"task_id": "other"}, {"dag_id": "other"}]
    first = [attempt(lambda: create("plain"), TaskInstance(**other)).value for other in others]

    second = [attempt(lambda: create("plain"), TaskInstance(try_number=2, **other)).value for other in others]

    assert first == second
    assert len(set(first)) == len(batches(connected)) == 5


def test_spaces_and_the_order_of_keys_do_not_change_the_input(connected: RespanSandbox, tmp_path: Path) -> None:
    batch_id = first_attempt(connected, requests=[request(1)])
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(dict(reversed(request(1).items())), separators=(" , ", " : ")))

    assert second_attempt(requests=None, input_path=str(path)).value == batch_id
    assert second_attempt(requests=[request(1)], metadata={"team": "data"}, completion_window="48h").value == batch_id


@pytest.mark.parametrize(
    "changed",
    [
        {"requests": [request(2), request(1)]},
        {"requests": [request(1)]},
        {"provider_id": "openai"},
        {"endpoint": "/v1/responses", "requests": [request(1, url="/v1/responses")]},
    ],
    ids=["order", "less", "provider", "endpoint"],
)
@pytest.mark.parametrize("status", ["in_progress", "completed"])
def test_a_changed_input_fails_without_a_retry(connected: RespanSandbox, changed: dict[str, Any], status: str) -> None:
    batch_id = first_attempt(connected, status)

    outcome = second_attempt(**changed)

    assert isinstance(outcome.error, RespanInputChangedError)
    assert str(outcome.error) == (
        f"The input has changed: an earlier attempt of this task made batch {batch_id}, which is {status}, of another "
        "input. Restore the input to continue with that batch, or set on_changed_input='resubmit' to pay for another, "
        "or trigger a new run."
    )
    assert len(batches(connected)) == 1


@pytest.mark.parametrize(("status", "expected"), [("in_progress", "cancelling"), ("completed", "completed")])
def test_a_changed_input_is_resubmitted_if_set_and_the_old_batch_is_cancelled(
    connected: RespanSandbox, status: str, expected: str
) -> None:
    batch_id = first_attempt(connected, status)

    outcome = second_attempt(requests=[request(3)], on_changed_input="resubmit")

    assert outcome.value != batch_id
    assert {batch["id"]: batch["status"] for batch in batches(connected)} == {
        batch_id: expected,
        outcome.value: "validating",
    }


def test_the_next_attempt_finds_a_batch_whose_create_got_no_response(connected: RespanSandbox) -> None:
    with lost_responses(connected) as conn_id:
        lost = attempt(lambda: create("plain", respan_conn_id=conn_id))

    assert isinstance(lost.error, RespanTransientError)
    assert str(lost.error).endswith(
        "Respan may have carried out the request: check before you send it again. The next attempt of this "
        "task, a retry or after a clear, searches for the batch."
    )
    assert second_attempt().value == batches(connected)[0]["id"]
    assert len(batches(connected)) == 1


def test_the_search_waits_for_a_batch_that_is_not_in_the_list_yet(connected: RespanSandbox) -> None:
    batch_id = first_attempt(connected)
    connected.inject(Fault(status=200, body={"object": "list", "data": [], "has_more": False}), path=f"{BATCHES}$")

    assert second_attempt(not_found_grace=0.3).value == batch_id


@pytest.mark.parametrize(
    "fault", [Fault.error(503), Fault.rate_limit(retry_after=0), Fault.html(), Fault.error(403), Fault.error(404)]
)
@pytest.mark.parametrize("path", [f"{BATCHES}$", "/batch_"])
def test_nothing_is_created_if_the_search_fails(connected: RespanSandbox, fault: Fault, path: str) -> None:
    batch_id = first_attempt(connected)
    connected.inject(fault, path=path, method="GET", times=None)

    outcome = second_attempt()
    connected.heal()

    assert isinstance(outcome.error, RespanError)
    assert str(outcome.error).startswith(("403 ", "404 ", "429 ", "502 ", "503 "))
    assert " No batch was created, because an earlier attempt of this task may have created one." in str(outcome.error)
    assert len(batches(connected)) == 1
    assert batches(connected)[0]["status"] == "in_progress"
    assert second_attempt().value == batch_id


@pytest.mark.parametrize("missing", [("metadata",), ("metadata", "created_at", "input_file_id"), ("status",)])
def test_a_batch_with_fields_missing_in_the_list_is_retrieved(
    connected: RespanSandbox, missing: tuple[str, ...]
) -> None:
    connected.add_batch()
    batch_id = first_attempt(connected)
    connected.add_batch(metadata={"airflow_task": "another"})
    items = [{name: value for name, value in item.items() if name not in missing} for item in batches(connected)]
    connected.inject(Fault(status=200, body={"object": "list", "data": items, "has_more": False}), path=f"{BATCHES}$")

    assert second_attempt().value == batch_id


def test_the_search_ends_at_batches_older_than_the_run(connected: RespanSandbox) -> None:
    long_ago = pendulum.now("UTC").subtract(days=3).int_timestamp
    for _ in range(150):
        connected.add_batch(created_at=long_ago)  # without metadata: each would have to be retrieved
    batch_id = first_attempt(connected, requests=[request(1)])

    assert second_attempt(requests=[request(1)]).value == batch_id
    other = attempt(lambda: create("plain"), TaskInstance(try_number=2, task_id="other"))

    assert other.value not in (None, batch_id)
    # One page for the first, and two for the other: a page on which all is older than the run is the last.
    assert sum(call.method == "GET" and call.path == BATCHES for call in connected.requests) == 3


def test_a_search_that_reaches_search_pages_fails(connected: RespanSandbox) -> None:
    first_attempt(connected)
    for _ in range(100):
        connected.add_batch(metadata={"airflow_task": "x"})

    outcome = second_attempt(search_pages=1)

    assert re.fullmatch(
        r"The newest 100 batches were searched, and there are more since [\d: -]+ UTC\. Raise search_pages, so that "
        r"the search reads further\. No batch was created, because an earlier attempt of this task may have created "
        r"one\.",
        str(outcome.error),
    )
    assert second_attempt(search_pages=2).error is None


def test_after_a_clear_the_search_goes_back_to_the_first_start_of_the_run(connected: RespanSandbox) -> None:
    batch_id = first_attempt(connected)
    long_ago = pendulum.now("UTC").subtract(days=2)
    connected.change_batch(batch_id, created_at=long_ago.int_timestamp)

    def cleared(**run: Any) -> Outcome:
        return attempt(lambda: create("plain"), TaskInstance(try_number=2, max_tries=1), **run)

    assert cleared(start_date=pendulum.now("UTC"), run_after=long_ago).value == batch_id


def test_with_a_note_only_the_batch_is_retrieved(connected: RespanSandbox, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.json")
    batch_id = attempt(lambda: create("plain"), store=store).value
    request_count = len(connected.requests)

    outcome = attempt(lambda: create("plain"), TaskInstance(try_number=2), store=store)

    assert outcome.value == batch_id
    assert [call.path for call in connected.requests[request_count:]] == [f"{BATCHES}{batch_id}/"]


def test_a_note_that_cannot_be_read_does_not_fail_the_task(connected: RespanSandbox, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.json")
    batch_id = attempt(lambda: create("plain"), store=store).value
    store.path.write_text("no JSON")

    assert attempt(lambda: create("plain"), TaskInstance(try_number=2), store=store).value == batch_id


def test_a_note_that_cannot_be_written_fails_the_attempt_before_the_create(
    connected: RespanSandbox, tmp_path: Path
) -> None:
    outcome = attempt(lambda: create("plain"), store=Store(tmp_path / "nowhere" / "store.json"))

    assert isinstance(outcome.error, FileNotFoundError)
    assert batches(connected) == []


def test_a_deferral_keeps_the_batch_id_and_cancel_on_kill(connected: RespanSandbox) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        create("deferrable").execute(context_of(TaskInstance()))

    assert deferred.value.kwargs is not None
    assert deferred.value.kwargs["batch_id"] == batches(connected)[0]["id"]
    assert through_the_database(deferred.value.trigger).cancel_on_kill


def test_an_outage_during_the_wait_cancels_nothing(connected: RespanSandbox) -> None:
    ti = TaskInstance(pushed=lambda key: connected.inject(Fault.error(503), method="GET", times=None))

    outcome = attempt(lambda: create("waiting", timeout=0.5), ti)

    assert "The last check failed" in str(outcome.error)
    assert [batch["status"] for batch in batches(connected)] == ["validating"]


@pytest.mark.parametrize("push", [True, False])
def test_the_batch_is_found_after_its_trigger_was_lost(connected: RespanSandbox, push: bool) -> None:
    ti = TaskInstance()
    with pytest.raises(TaskDeferred):
        create("deferrable", do_xcom_push=push).execute(context_of(ti))
    [batch] = batches(connected)
    connected.change_batch(batch["id"], **ENDED)

    value = create("deferrable", do_xcom_push=push).resume_execution(
        "__fail__", {"error": "Trigger timeout"}, context_of(ti)
    )

    assert value == batch["id"]


EVENTS: dict[str, tuple[Callable[[str], Any], str | None]] = {
    "ended": (lambda batch_id: {"batch": {"id": batch_id, **ENDED}}, None),
    "timeout": (lambda batch_id: {"error": "RespanBatchTimeout", "message": "late"}, "late"),
    "error": (lambda batch_id: {"error": "RespanError", "message": "refused"}, "refused"),
    "not usable": (lambda batch_id: {"odd": True}, None),
}


@pytest.mark.parametrize("event", EVENTS)
def test_a_task_that_is_resumed_without_its_arguments_finds_its_batch(connected: RespanSandbox, event: str) -> None:
    # dag.test() of Airflow 2.11, 3.1 and 3.3 drops the arguments if there is an event.
    make_event, message = EVENTS[event]
    with pytest.raises(TaskDeferred):
        create("deferrable").execute(context_of(TaskInstance()))
    [batch] = batches(connected)
    connected.change_batch(batch["id"], **ENDED)
    resumed = {"event": make_event(batch["id"])}

    if message is None:
        value = create("deferrable").resume_execution("execute_complete", resumed, context_of(TaskInstance()))
        assert value == batch["id"]
    else:
        with pytest.raises((RespanBatchTimeout, RespanError), match=f"^{message}$"):
            create("deferrable").resume_execution("execute_complete", resumed, context_of(TaskInstance()))
    assert len(batches(connected)) == 1


def test_a_task_that_is_resumed_without_its_arguments_and_without_a_batch_fails(connected: RespanSandbox) -> None:
    with pytest.raises(RespanError) as lost:
        create("deferrable").resume_execution("execute_complete", {"event": None}, context_of(TaskInstance()))

    assert str(lost.value) == (
        "Airflow has resumed the task without its arguments, and its batch cannot be found. Clear the task: it "
        "searches again before it creates another batch."
    )


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"airflow_task": "x"}, "metadata has 'airflow_task', by which retries find the batch: choose another name"),
        ({"airflow_input": "x"}, "metadata has 'airflow_input', by which retries find the batch: choose another name"),
        ({"n" * 65: "x"}, f"metadata has the name {'n' * 65!r}: names are texts of 1 to 64 characters"),
        ({"n": "x" * 513}, "metadata['n'] has to be a text of at most 512 characters"),
        ({"n": [3]}, "metadata['n'] has to be a text of at most 512 characters"),
        (
            {f"n{i}": "x" for i in range(15)},
            "metadata has 15 pairs: the service keeps 16, of which 2 are for finding the batch again",
        ),
    ],
)
def test_metadata_beyond_the_limits_of_the_service_is_refused(
    connected: RespanSandbox, metadata: Any, message: str
) -> None:
    assert str(attempt(lambda: create("plain", metadata=metadata)).error) == message
    assert connected.requests == []


def test_the_largest_metadata_fits_beside_a_long_identity(connected: RespanSandbox) -> None:
    metadata = {f"{number:064}": "x" * 512 for number in range(14)}
    ti = TaskInstance(run_id="r" * 600)

    batch_id = attempt(lambda: create("plain", metadata=metadata), ti).value

    saved = batches(connected)[0]["metadata"]
    assert len(saved) == 16
    assert re.fullmatch("sha256:[0-9a-f]{64}", saved["airflow_task"])
    assert attempt(lambda: create("plain"), TaskInstance(run_id="r" * 600, try_number=2)).value == batch_id


def test_a_response_without_the_metadata_is_a_warning(
    connected: RespanSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"id": "batch_1", "object": "batch", "status": "validating"}
    connected.inject(Fault(status=200, body=body), path=f"{BATCHES}$", method="POST")

    assert attempt(lambda: create("plain")).value == "batch_1"
    assert "does not show the metadata of batch batch_1" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "task 'create' must be given exactly one of input_file_id, input_path and requests, not none"),
        (
            {"input_file_id": "file-1", "input_path": "in.jsonl"},
            "task 'create' must be given exactly one of input_file_id, input_path and requests, not input_file_id "
            "and input_path",
        ),
        ({"requests": [], "on_changed_input": "ask"}, "on_changed_input is 'ask'; choose among fail, resubmit"),
        ({"requests": [], "search_pages": 0}, "search_pages is 0; it is a number of pages, 1 or more"),
        ({"requests": [], "max_failed_ratio": 2}, "max_failed_ratio is 2; it must be a ratio from 0 to 1"),
        *(
            ({"requests": [], name: value}, f"{name} is {value!r}; it must be a number of seconds from 0 to 3153600000")
            for name in ("poke_interval", "timeout", "not_found_grace")
            for value in ("60", -1, None, True, float("nan"), timedelta(days=-1), 1e300)
        ),
    ],
)
def test_an_invalid_argument_fails_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        RespanCreateBatchOperator(task_id="create", **options)

    assert str(refused.value) == message


@pytest.mark.parametrize("name", ["poke_interval", "timeout", "not_found_grace"])
def test_a_waiting_argument_that_a_template_has_changed_fails_before_the_upload(
    connected: RespanSandbox, name: str
) -> None:
    operator = create("waiting")
    setattr(operator, name, "60")

    outcome = attempt(lambda: operator)

    assert isinstance(outcome.error, ValueError)
    assert str(outcome.error) == f"{name} is '60'; it must be a number of seconds from 0 to 3153600000"
    assert connected.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"input_path": "None"},
            "input_path of task 'create' is 'None': its template rendered to an empty value. "
            "Check that the upstream task ran and pushed this value.",
        ),
        (
            {"requests": "[{'custom_id': "},
            "requests of task 'create' is a text, not a list. Pass the output of the task that makes the "
            "list, or set render_template_as_native_obj=True on the DAG.",
        ),
    ],
)
def test_an_argument_that_rendered_to_nothing_useful_is_named(
    connected: RespanSandbox, options: dict[str, Any], message: str
) -> None:
    assert str(attempt(lambda: create("plain", **options)).error) == message
    assert connected.requests == []


def test_arguments_that_templates_render_to_another_type_are_read(connected: RespanSandbox) -> None:
    """A dict as its text, a number instead of a text, and ``None`` as text, as templates give them."""
    rendered = {
        "requests": str([request(1)]),
        "metadata": "{'run': 7, 'is_test': True}",
        "respan_params": '{"thread": 3}',
        "customer_identifier": 42,
        "environment": "None",
        "provider_id": "None",
    }

    outcome = attempt(lambda: create("plain", **rendered))

    [batch] = batches(connected)
    assert outcome.value == batch["id"]
    assert {name: batch["metadata"][name] for name in ("run", "is_test")} == {"run": "7", "is_test": "true"}
    [sent] = [r for r in connected.requests if r.method == "POST" and r.path == BATCHES]
    body = json.loads(sent.body)
    assert body["customer_identifier"] == "42"
    assert "environment" not in body


def test_no_body_of_a_request_is_logged(connected: RespanSandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = {"messages": [{"role": "user", "content": "of-a-customer"}]}

    good = attempt(lambda: create("plain", requests=[request(1, body=secret)]))
    bad = attempt(lambda: create("plain", requests=[request(1, body=secret, method="PUT"), [secret]]))

    assert "of-a-customer" not in f"{caplog.text} {good} {bad}"


@contextmanager
def lost_responses(sandbox: RespanSandbox) -> Iterator[str]:
    """Yield a connection through which a create makes a batch but gets no response."""
    with (
        holding_proxy(sandbox.url, Hold("POST", BATCHES, after=True)) as host,
        pytest.MonkeyPatch.context() as patch,
    ):
        connection = {"conn_type": "respan", "host": host, "password": sandbox.api_key, "extra": {"timeout": 0.1}}
        patch.setenv("AIRFLOW_CONN_LOSING", json.dumps(connection))
        yield "losing"
