"""A retry or an attempt after a clear continues with earlier batches, whatever is left of the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.operators.batch import RespanBatchOperator
from airflow_respan.sandbox import Fault, RespanSandbox
from tests.operators.modes import Outcome, context_of, request
from tests.rounds.asking import MODES, ask, numbered, rows
from tests.task_instance import TaskInstance

EACH_ITS_MODEL = [{**each, "body": {"model": f"m-{number}"}} for number, each in enumerate(numbered(3), start=1)]
IN_THREE: dict[str, Any] = {"requests": EACH_ITS_MODEL, "split_by_model": True}
ONCE = {"r-1": 1, "r-2": 1, "r-3": 1}


@pytest.fixture
def waiting(connected: RespanSandbox) -> RespanSandbox:
    """A local Respan whose batches do not move yet, with ``respan_default`` pointing at it."""
    return connected


def begin(mode: str, path: Path, **options: Any) -> TaskInstance:
    """Run an attempt that creates its batches and ends by its timeout; return the task instance for a retry."""
    outcome = ask(mode, path, timeout=0.001, **{**IN_THREE, **options})
    assert type(outcome.error).__name__ == "RespanBatchTimeout", outcome.error
    return next_attempt(outcome.ti)


def next_attempt(ti: TaskInstance, *, is_after_clear: bool = False) -> TaskInstance:
    ti.try_number, ti.max_tries = ti.try_number + 1, ti.max_tries + is_after_clear
    ti.start_date = ti.start_date.now("UTC")
    return ti


def go_on(sandbox: RespanSandbox, mode: str, path: Path, ti: TaskInstance, **options: Any) -> Outcome:
    """Let the batches move, and run another attempt."""
    sandbox.service.batches.pace = 0.0
    return ask(mode, path, ti=ti, **{**IN_THREE, **options})


@pytest.mark.parametrize("mode", MODES)
def test_the_error_of_a_timeout_names_the_batches_in_progress(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    outcome = ask(mode, tmp_path, timeout=0.001)

    assert str(outcome.error) == (
        "The timeout of 0.001 seconds has passed, and not all requests have a result. Batches in progress, which are "
        "billed: batch_00000001. Clear the task to continue; it pays nothing twice."
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_after_clear", [False, True])
def test_batches_are_found_without_the_folder(
    mode: str, is_after_clear: bool, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path / "first")
    ti.max_tries += is_after_clear

    outcome = go_on(waiting, mode, tmp_path / "second", ti)

    assert outcome.error is None
    assert (dict(waiting.runs), len(waiting.batches)) == (ONCE, 3)
    assert rows(tmp_path / "second/output.jsonl").keys() == ONCE.keys()


@pytest.mark.parametrize("mode", MODES)
def test_rounds_are_found_without_the_folder(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    moving.set_outcomes("503, 429, ok")
    first = ask(mode, tmp_path / "first", **IN_THREE, max_rounds=2)
    assert type(first.error).__name__ == "RespanBatchFailed"

    outcome = ask(mode, tmp_path / "second", ti=next_attempt(first.ti, is_after_clear=True), **IN_THREE, max_rounds=3)

    assert outcome.error is None
    assert dict(moving.runs) == dict.fromkeys(ONCE, 3)


@pytest.mark.parametrize("mode", MODES)
def test_an_attempt_that_could_not_search_does_not_let_the_next_one_pay(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path)
    shutil.rmtree(tmp_path)
    waiting.inject(Fault.error(500), method="GET", path="/v1/batches/$", times=None)
    failed = go_on(waiting, mode, tmp_path, ti)
    waiting.heal()

    outcome = go_on(waiting, mode, tmp_path, next_attempt(ti))

    assert "an earlier attempt of this task may have created one" in str(failed.error)
    assert outcome.error is None
    assert (dict(waiting.runs), len(waiting.batches)) == (ONCE, 3)


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_that_is_used_again_after_another_one_does_not_lead_to_payment(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    waiting.inject(Fault.error(400), method="POST", path="/batches/", times=3)  # so the first attempt leaves no notes
    first = ask(mode, tmp_path / "first", **IN_THREE)
    assert type(first.error).__name__ == "RespanAPIError"
    for notes in (tmp_path / "first").rglob("batch-*.json"):
        notes.unlink()
    second = ask(mode, tmp_path / "second", ti=next_attempt(first.ti), timeout=0.001, **IN_THREE)

    outcome = go_on(waiting, mode, tmp_path / "first", next_attempt(second.ti))

    assert outcome.error is None
    assert (dict(waiting.runs), len(waiting.batches)) == (ONCE, 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lacks", [[], ["metadata"], ["metadata", "input_file_id"]], ids=str)
def test_batches_that_are_listed_late_or_in_part_are_found_without_the_folder(
    mode: str, lacks: list[str], connect: Callable[..., None], tmp_path: Path
) -> None:
    with RespanSandbox(pace=None, not_listed_for=0.6, list_lacks=lacks) as box:
        connect(host=box.url, password=box.api_key)
        ti = begin(mode, tmp_path / "first", not_found_grace=0.8)

        outcome = go_on(box, mode, tmp_path / "second", ti, not_found_grace=0.8)

        assert outcome.error is None
        assert (dict(box.runs), len(box.batches)) == (ONCE, 3)


NOTES = {
    "empty": lambda _content: b"",
    "half written": lambda content: content[: len(content) // 2],
    "of a newer release": lambda content: json.dumps({**json.loads(content), "more": {"x": 1}}).encode(),
    "of a newer release with other fields": lambda content: json.dumps({**json.loads(content), "note": {}}).encode(),
}
"""What a file of the folder may be after a power failure or a downgrade."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("damage", NOTES)
@pytest.mark.parametrize("name", ["batch-1.json", "batch-2.json", "plan.json", "task.json"])
def test_a_damaged_file_does_not_lead_to_payment(
    mode: str, damage: str, name: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path)
    for path in tmp_path.rglob(name):
        path.write_bytes(NOTES[damage](path.read_bytes()))

    outcome = go_on(waiting, mode, tmp_path, ti)

    assert outcome.error is None
    assert (dict(waiting.runs), len(waiting.batches)) == (ONCE, 3)
    assert rows(tmp_path / "output.jsonl").keys() == ONCE.keys()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["output.jsonl", "errors.jsonl"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{")], ids=["gone", "other"])
def test_rows_of_a_round_that_are_damaged_are_landed_again(
    mode: str, name: str, damage: Callable[[Path], Any], moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.set_outcomes({"r-1": "503, ok", "r-2": "503, ok"})
    first = ask(mode, tmp_path, max_rounds=1, max_failed_ratio=0)
    damage(tmp_path / "round-1" / name)

    outcome = ask(mode, tmp_path, ti=next_attempt(first.ti, is_after_clear=True))

    assert outcome.error is None
    assert dict(moving.runs) == {"r-1": 2, "r-2": 2, "r-3": 1}


WRITTEN = [
    "task.json",
    "round-1",
    "round-1/input.jsonl",
    "round-1/plan.json",
    "round-1/batch-1.json",
    "round-1/output.jsonl",
    "round-1/errors.jsonl",
    "round-1/manifest.json",
    "round-2",
    "round-2/input.jsonl",
    "round-2/plan.json",
    "round-2/batch-1.json",
    "round-2/manifest.json",
    "output.jsonl",
    "manifest.json",
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRITTEN)
def test_a_write_that_fails_loses_nothing_and_is_named(
    mode: str, name: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.set_outcomes({"r-2": "503, ok"})
    in_the_way = tmp_path / name
    if in_the_way.suffix:
        in_the_way.mkdir(parents=True)  # a file cannot be written there, and neither can a folder where a file is
    else:
        in_the_way.touch()

    first = ask(mode, tmp_path)

    assert str(in_the_way) in str(first.error)
    in_the_way.rmdir() if in_the_way.suffix else in_the_way.unlink()
    outcome = ask(mode, tmp_path, ti=next_attempt(first.ti))
    assert outcome.error is None
    assert dict(moving.runs) == {"r-1": 1, "r-2": 2, "r-3": 1}
    assert rows(tmp_path / "output.jsonl").keys() == ONCE.keys()


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_that_was_not_accepted_is_not_refused_again_in_another_folder(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"requests": numbered(4), "success_statuses": ["completed"]}
    first = ask(mode, tmp_path / "first", metadata={"sandbox_outcome": "expired"}, **options)
    assert type(first.error).__name__ == "RespanBatchFailed"

    outcome = ask(mode, tmp_path / "second", ti=next_attempt(first.ti, is_after_clear=True), **options)

    assert outcome.error is None
    assert outcome.value["counts"]["succeeded"] == 4
    assert max(moving.runs.values()) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_wait_that_the_triggerer_gives_up_fails_the_attempt_and_the_next_one_continues(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path)
    operator = RespanBatchOperator(task_id="ask", path=str(tmp_path), **IN_THREE, **MODES[mode])

    with pytest.raises(Exception, match="The triggerer gave up the wait for batch_00000001, batch_0") as failed:
        operator.resume_execution("__fail__", {"error": "Trigger failure"}, context_of(ti))

    assert type(failed.value).__name__ == "RespanError"
    assert go_on(waiting, mode, tmp_path, next_attempt(ti)).error is None
    assert dict(waiting.runs) == ONCE


@pytest.mark.parametrize("mode", MODES)
def test_batches_that_have_ended_are_landed_although_the_triggerer_gave_up(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path)
    for batch in waiting.batches:
        while waiting.advance(batch["id"]) != "completed":
            pass
    operator = RespanBatchOperator(task_id="ask", path=str(tmp_path), **IN_THREE, **MODES[mode])

    manifest = operator.resume_execution("__fail__", {"error": "Trigger failure"}, context_of(ti))

    assert manifest["counts"]["succeeded"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_a_task_that_is_killed_while_it_reads_its_input_again_cancels_the_batches_of_its_notes(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path)
    ti.state = "failed"
    operator = RespanBatchOperator(task_id="ask", path=str(tmp_path), **IN_THREE, **MODES[mode])

    def killing() -> Iterator[dict[str, Any]]:
        yield EACH_ITS_MODEL[0]
        operator.on_kill()
        yield from EACH_ITS_MODEL[1:]

    operator.requests = killing()

    with pytest.raises(Exception, match="Airflow has killed this attempt"):
        operator.execute(context_of(ti))

    assert {batch["status"] for batch in waiting.batches} == {"cancelling"}


@pytest.mark.parametrize("mode", MODES)
def test_a_file_at_the_service_that_is_gone_after_it_was_asked_is_no_reason_to_fail(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    from airflow_respan.hooks.respan import RespanHook

    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(each) for each in numbered(3)))
    file_id = RespanHook().upload_file(tmp_path / "in.jsonl").id
    options: dict[str, Any] = {"requests": None, "input_file_id": file_id, "split_by_model": False}
    ti = begin(mode, tmp_path / "out", **options)
    RespanHook().delete_file(file_id)

    assert go_on(waiting, mode, tmp_path / "out", ti, **options).error is None
    assert dict(waiting.runs) == ONCE


@pytest.mark.parametrize("mode", MODES)
def test_another_input_replaces_all_batches_also_those_without_a_note_of_their_id(
    mode: str, waiting: RespanSandbox, tmp_path: Path
) -> None:
    ti = begin(mode, tmp_path)
    for path in tmp_path.rglob("batch-2.json"):
        path.unlink()
    for batch in waiting.batches:
        waiting.change_batch(batch["id"], status="in_progress")
    changed = [request(9, body={"model": "m-1"})]

    outcome = go_on(waiting, mode, tmp_path, ti, requests=changed, on_changed_input="resubmit")

    assert outcome.error is None
    assert [batch["status"] for batch in waiting.batches] == ["cancelled"] * 3 + ["completed"]
    assert rows(tmp_path / "output.jsonl").keys() == {"r-9"}


@pytest.mark.parametrize("mode", MODES)
def test_a_store_that_is_full_loses_nothing(
    mode: str, moving: RespanSandbox, small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    import subprocess

    moving.set_outcomes({"r-2": "503, ok"})
    for pages in range(1, 24, 2):
        path = small_disk(pages)
        before = dict(moving.runs)
        ti = TaskInstance(run_id=f"run-{pages}", max_tries=3)

        first = ask(mode, path, ti=ti, max_rounds=3)
        subprocess.run(["mount", "-o", "remount,size=10M", str(path)], check=True)
        outcome = ask(mode, path, ti=next_attempt(ti))

        assert outcome.error is None
        assert first.error is None or "No space left on device" in str(first.error)
        paid = {key: count - before.get(key, 0) for key, count in moving.runs.items()}
        assert paid == {"r-1": 1, "r-2": 1 if before else 2, "r-3": 1}
