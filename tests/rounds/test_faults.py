"""What goes wrong with one batch of several: the others go on, and nothing is paid twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.operators.batch import RespanBatchOperator
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.operators.modes import Outcome, context_of
from tests.rounds.asking import MODES, ask, numbered, rows
from tests.task_instance import TaskInstance

EACH_ITS_MODEL = [{**each, "body": {"model": f"m-{number}"}} for number, each in enumerate(numbered(3), start=1)]


def ask_in_three(mode: str, path: Path, **options: Any) -> Outcome:
    """Ask three requests in three batches."""
    return ask(mode, path, **{"requests": EACH_ITS_MODEL, "split_by_model": True, **options})


def clear(outcome: Outcome) -> TaskInstance:
    """Return the task instance for another attempt, after a clear."""
    outcome.ti.try_number, outcome.ti.max_tries = outcome.ti.try_number + 1, outcome.ti.max_tries + 1
    outcome.ti.start_date = outcome.ti.start_date.now("UTC")
    return outcome.ti


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_that_cannot_be_created_now_is_created_later(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    moving.inject(Fault.error(503), method="POST", path="/batches/", times=2)  # also the second try of the hook

    outcome = ask_in_three(mode, tmp_path)

    assert outcome.error is None
    assert moving.runs == {"r-1": 1, "r-2": 1, "r-3": 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_create_whose_answer_is_lost_is_found_while_the_others_are_awaited(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.inject(Fault.lost_answer(), method="POST", path="/v1/batches/$")

    outcome = ask_in_three(mode, tmp_path)

    assert outcome.error is None
    assert len(moving.batches) == 3
    assert moving.runs == {"r-1": 1, "r-2": 1, "r-3": 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_create_that_met_a_rate_limit_is_sent_again_when_the_service_allows_it(
    mode: str, connect: Callable[..., None], tmp_path: Path
) -> None:
    with RespanSandbox(pace=0.3) as box:
        connect(host=box.url, password=box.api_key)
        box.inject(Fault.rate_limit(retry_after=0.6), method="POST", path="/v1/batches/$")

        outcome = ask_in_three(mode, tmp_path)

        assert outcome.error is None
        creates = [each.at for each in box.requests if each.method == "POST" and each.path.endswith("/v1/batches/")]
        assert len(creates) == 4
        assert creates[3] - creates[0] >= 0.6


@pytest.mark.parametrize("mode", MODES)
def test_a_full_worker_disk_is_named(
    mode: str,
    moving: RespanSandbox,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    disk = small_disk(1)
    monkeypatch.setattr("tempfile.tempdir", str(disk))

    outcome = ask(mode, tmp_path / "out", requests=[f"{'x' * 2000}?"] * 3, body={"model": "m"})

    assert type(outcome.error).__name__ == "RespanStorageError"
    assert str(outcome.error) == (
        f"[Errno 28] No space left on device: the requests could not be kept in {disk} until they are written. Make "
        "room there, or set the worker's variable TMPDIR to a larger folder, and clear the task."
    )
    assert moving.batches == []


@pytest.mark.parametrize("mode", MODES)
def test_a_full_queue_means_to_wait_and_to_create_the_batch_again(
    mode: str, connect: Callable[..., None], tmp_path: Path
) -> None:
    with RespanSandbox(pace=0.0, max_active_batches=0) as box, ThreadPoolExecutor() as pool:
        connect(host=box.url, password=box.api_key)

        def open_the_queue_after_a_refusal() -> None:
            while not any(batch["status"] == "failed" for batch in box.batches):
                time.sleep(0.01)
            box.service.batches.max_active_batches = None

        opening = pool.submit(open_the_queue_after_a_refusal)
        outcome = ask_in_three(mode, tmp_path)

        opening.result()
        assert outcome.error is None
        assert rows(tmp_path / "output.jsonl").keys() == {"r-1", "r-2", "r-3"}
        assert box.runs == {"r-1": 1, "r-2": 1, "r-3": 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_refused_batch_fails_the_task_after_the_others_are_landed(
    mode: str, connect: Callable[..., None], tmp_path: Path
) -> None:
    two_models = {**EACH_ITS_MODEL[0], "custom_id": "r-4"}
    with RespanSandbox(pace=0.0, one_model_per_batch=True) as box:
        connect(host=box.url, password=box.api_key)

        outcome = ask(mode, tmp_path, requests=[*EACH_ITS_MODEL, two_models])

        assert type(outcome.error).__name__ == "RespanBatchFailed"
        assert str(outcome.error).endswith(
            "No request of round 1 was processed. Remove the cause, and clear the task to create the batch again."
        )
        assert "model_mismatch" in str(outcome.error)
        again = ask(mode, tmp_path, ti=clear(outcome), requests=[*EACH_ITS_MODEL, two_models])
        assert len(box.batches) == 2  # after the clear another one was created, which was refused as well
        assert type(again.error).__name__ == "RespanBatchFailed"


@pytest.mark.parametrize("mode", MODES)
def test_a_status_that_is_not_accepted_fails_the_task_and_a_clear_asks_the_rest(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"requests": numbered(4), "success_statuses": ["completed"]}
    outcome = ask(mode, tmp_path, metadata={"sandbox_outcome": "expired"}, **options)

    assert str(outcome.error) == (
        "Batch batch_00000001 of round 1 is expired, and only 'completed' counts as success. Its results are in "
        f"{tmp_path}/round-1. To ask the requests without an answer again, clear the task."
    )
    assert ask(mode, tmp_path, ti=clear(outcome), **options).value["counts"]["succeeded"] == 4
    assert max(moving.runs.values()) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_that_is_gone_does_not_end_the_others(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    moving.inject(Fault.error(404), method="GET", path="/batches/batch_00000002/", times=None)

    outcome = ask_in_three(mode, tmp_path)

    assert type(outcome.error).__name__ == "RespanNotFoundError"
    assert (tmp_path / "round-1/part-1/manifest.json").exists()
    assert (tmp_path / "round-1/part-3/manifest.json").exists()
    moving.heal()
    assert ask_in_three(mode, tmp_path, ti=clear(outcome)).error is None
    assert moving.runs == {"r-1": 1, "r-2": 1, "r-3": 1}


@pytest.mark.parametrize("event", [None, {}, {"batches": None}, {"batches": {"batch_1": {"x": 1}}}, "text"])
def test_a_task_that_is_resumed_without_a_usable_event_checks_its_batches(
    event: Any, moving: RespanSandbox, tmp_path: Path
) -> None:
    first = ask("poking", tmp_path / "other")
    operator = RespanBatchOperator(
        task_id="ask", path=str(tmp_path), requests=numbered(3), poke_interval=0.05, deferrable=False
    )

    manifest = operator.resume_execution("execute_complete", {"event": event}, context_of(TaskInstance()))

    assert first.error is None
    assert manifest["counts"]["succeeded"] == 3


def test_a_task_that_is_killed_cancels_all_its_batches(
    sandbox: RespanSandbox, connected: RespanSandbox, tmp_path: Path
) -> None:
    ti = TaskInstance(state="failed")
    operator = RespanBatchOperator(
        task_id="ask", path=str(tmp_path), requests=EACH_ITS_MODEL, split_by_model=True, deferrable=False
    )
    ti.pushed = lambda key: operator.on_kill() if key == "batch_ids" else None

    with pytest.raises(Exception, match="Airflow has killed this attempt of task 'ask'") as killed:
        operator.execute(context_of(ti))

    assert type(killed.value).__name__ == "RespanTaskKilledError"
    assert {batch["status"] for batch in sandbox.batches} == {"cancelling"}


@pytest.mark.parametrize("mode", MODES)
def test_a_row_that_cannot_be_read_is_kept_and_its_request_is_asked_again(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.inject(Fault.broken_row(2), path="/content/")

    outcome = ask(mode, tmp_path)

    assert outcome.error is None
    assert rows(tmp_path / "output.jsonl").keys() == {"r-1", "r-2", "r-3"}
    assert moving.runs == {"r-1": 1, "r-2": 2, "r-3": 1}
    assert (tmp_path / "round-1" / "rejected.jsonl").read_bytes().startswith(b'{"id"')


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_only_a_lenient_reader_can_read_is_not_paid_again(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    row = '{"custom_id": "r-%d", "response": {"status_code": 200, "body": {"id": "x", "score": -Infinity}}}\n'
    content = "".join(row % number for number in (1, 2, 3, 3))
    moving.inject(Fault(status=200, body=content), path="/content/")

    outcome = ask(mode, tmp_path, parquet=True)

    assert outcome.error is None
    assert rows(tmp_path / "output.jsonl").keys() == {"r-1", "r-2", "r-3"}
    assert moving.runs == {"r-1": 1, "r-2": 1, "r-3": 1}
