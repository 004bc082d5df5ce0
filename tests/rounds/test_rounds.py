"""The whole job on the sandbox: what is asked again, what is landed, and what the task says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.sandbox import RespanSandbox
from tests.operators.modes import request
from tests.rounds.asking import MODES, ask, numbered, rows
from tests.task_instance import TaskInstance

pytestmark = pytest.mark.parametrize("mode", MODES)


def test_each_request_is_asked_until_it_has_an_answer(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    moving.set_outcomes({"r-2": "429, ok", "r-3": "missing, 503, ok"})

    outcome = ask(mode, tmp_path)

    assert outcome.error is None
    manifest = outcome.value
    assert list(rows(tmp_path / "output.jsonl")) == ["r-1", "r-2", "r-3"]  # in the order of the rounds
    assert (tmp_path / "errors.jsonl").read_bytes() == b""
    assert manifest["counts"] == {
        "requests": 3,
        "rows": 3,
        "succeeded": 3,
        "failed": 0,
        "missing": 0,
        "unsettled": 0,
    }
    assert [(each["round"], each["requests"], each["succeeded"]) for each in manifest["rounds"]] == [
        (1, 3, 1),
        (2, 2, 1),
        (3, 1, 1),
    ]
    assert moving.runs == {"r-1": 1, "r-2": 2, "r-3": 3}
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest


def test_what_would_fail_again_is_not_asked_again(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    moving.set_outcomes({"r-1": "400", "r-2": "content_filter"})

    outcome = ask(mode, tmp_path)

    assert outcome.error is None
    assert moving.runs == {"r-1": 1, "r-2": 1, "r-3": 1}
    assert {(error["code"], error["count"]) for error in outcome.value["errors"]} == {
        ("invalid_request_error", 1),
        ("content_filter", 1),
    }
    assert rows(tmp_path / "errors.jsonl").keys() == {"r-1", "r-2"}
    assert outcome.value["counts"] == {
        "requests": 3,
        "rows": 3,
        "succeeded": 1,
        "failed": 2,
        "missing": 0,
        "unsettled": 0,
    }


def test_after_the_last_round_the_last_error_of_each_request_is_kept(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.set_outcomes({"r-1": "429, 503", "r-2": "503, missing", "r-3": "missing"})

    outcome = ask(mode, tmp_path, max_rounds=2)

    errors = rows(tmp_path / "errors.jsonl")
    assert errors["r-1"]["response"]["status_code"] == 503
    assert errors["r-2"]["response"]["status_code"] == 503  # of the first round, as the second gave no row
    assert errors["r-3"] == {
        "custom_id": "r-3",
        "response": None,
        "error": {"code": "no_row", "message": "The service has returned no row for this request."},
    }
    assert str(outcome.error) == (
        "100.0% of the requests have no answer. 0 of 3 requests have an answer after 2 rounds; 3 of the others may get "
        f"one if they are asked again. The results are in {tmp_path}. To ask these again, raise max_rounds and clear "
        "the task."
    )
    assert outcome.ti.xcoms["counts"] == {
        "requests": 3,
        "rows": 2,
        "succeeded": 0,
        "failed": 2,
        "missing": 1,
        "unsettled": 3,
    }


def test_a_task_that_was_cleared_with_more_rounds_asks_only_what_has_no_answer(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.set_outcomes({"r-2": "503, ok"})
    first = ask(mode, tmp_path, max_rounds=1)
    first.ti.try_number = 2

    second = ask(mode, tmp_path, max_rounds=2, ti=first.ti)

    assert first.value["counts"]["unsettled"] == 1
    assert second.value["counts"]["succeeded"] == 3
    assert moving.runs == {"r-1": 1, "r-2": 2, "r-3": 1}


def test_the_error_about_requests_that_would_fail_again_does_not_advise_to_ask_them_again(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    moving.set_outcomes({"r-1": "400"})

    outcome = ask(mode, tmp_path, max_failed_ratio=0.1)

    assert str(outcome.error) == (
        "33.3% of the requests have no answer, and at most 10.0% may have none. 2 of 3 requests have an answer after 1 "
        f"round; 0 of the others may get one if they are asked again. The results are in {tmp_path}. Its errors.jsonl "
        "has the reasons."
    )


def test_a_finished_task_that_is_cleared_sends_no_request(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    first = ask(mode, tmp_path)
    sent = len(moving.requests)
    first.ti.try_number = 2

    second = ask(mode, tmp_path, ti=first.ti)

    assert second.value == first.value
    assert len(moving.requests) == sent


def test_a_batch_that_expires_is_asked_for_the_rest(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    outcome = ask(mode, tmp_path, metadata={"sandbox_outcome": "expired"}, requests=numbered(8), max_rounds=4)

    assert [each["requests"] for each in outcome.value["rounds"]] == [8, 4, 2, 1]
    assert outcome.value["counts"]["missing"] == 1
    assert max(moving.runs.values()) == 1


def test_an_input_that_is_larger_than_a_batch_is_split(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    models = ["m-1", "m-2", "m-1", "m-3"]
    requests = [{**each, "body": {"model": model}} for each, model in zip(numbered(4), models, strict=True)]

    outcome = ask(mode, tmp_path, requests=requests, split_by_model=True, max_active_batches=2)

    assert outcome.error is None
    (only,) = outcome.value["rounds"]
    assert [batch["requests"] for batch in only["batches"]] == [2, 1, 1]
    assert moving.runs == {f"r-{number}": 1 for number in range(1, 5)}
    assert len(moving.batches) == 3


def test_no_more_batches_are_in_progress_than_allowed(mode: str, connect: Any, tmp_path: Path) -> None:
    requests = [{**each, "body": {"model": f"m-{number}"}} for number, each in enumerate(numbered(6))]
    with RespanSandbox(pace=0.05, max_active_batches=2) as box:
        connect(host=box.url, password=box.api_key)

        outcome = ask(mode, tmp_path, requests=requests, split_by_model=True, max_active_batches=2)

        assert outcome.error is None
        assert {batch["status"] for batch in box.batches} == {"completed"}


@pytest.mark.parametrize(("on_empty", "result"), [("fail", "RespanInput"), ("skip", "AirflowSkip"), ("land", None)])
def test_an_input_without_requests_fails_skips_or_lands(
    mode: str, on_empty: str, result: str | None, moving: RespanSandbox, tmp_path: Path
) -> None:
    outcome = ask(mode, tmp_path, requests=[], on_empty=on_empty)

    assert moving.batches == []
    if result is None:
        assert outcome.value["counts"]["requests"] == 0
        assert (tmp_path / "output.jsonl").read_bytes() == b""
    else:
        assert result in repr(outcome.error) or result in type(outcome.error).__mro__[1].__name__


def test_a_folder_of_another_task_is_refused_before_anything_is_paid(
    mode: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    ask(mode, tmp_path)
    other = TaskInstance(run_id="manual__2026-02-02")

    outcome = ask(mode, tmp_path, ti=other)

    assert len(moving.batches) == 1
    assert str(outcome.error) == (
        f'{tmp_path} belongs to another task (["dag","create","manual__2026-01-01",-1]), so nothing was uploaded or '
        "created. Give each batch its own folder, for example with {{ run_id }} and {{ ti.map_index }} in the path, or "
        "set overwrite=True."
    )
    assert ask(mode, tmp_path, ti=other, overwrite=True).error is None
    assert len(moving.batches) == 2


def test_an_input_that_was_changed_is_refused_or_asked_anew(mode: str, moving: RespanSandbox, tmp_path: Path) -> None:
    first = ask(mode, tmp_path)
    first.ti.try_number = 2
    changed = [*numbered(2), request(9)]

    refused = ask(mode, tmp_path, ti=first.ti, requests=changed)
    asked = ask(mode, tmp_path, ti=first.ti, requests=changed, on_changed_input="resubmit")

    assert str(refused.error) == (
        f"The input has changed: an earlier attempt of this task has asked the requests in {tmp_path}/round-1. Restore "
        "the input to continue, or set on_changed_input='resubmit' to pay for all requests of the new input, or "
        "trigger a new run."
    )
    assert asked.error is None
    assert rows(tmp_path / "output.jsonl").keys() == {"r-1", "r-2", "r-9"}


@pytest.mark.parametrize("split_by_model", [False, True])
def test_several_models_in_one_batch_are_a_warning(
    mode: str, split_by_model: bool, moving: RespanSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    requests = [request(number, body={"model": f"m-{number}"}) for number in (1, 2)]

    ask(mode, tmp_path, requests=requests, split_by_model=split_by_model)

    warning = (
        "The input names several models ('m-1': 1, 'm-2': 1). OpenAI refuses such a batch, perhaps after hours. If "
        "your provider does, set split_by_model=True."
    )
    assert (warning in caplog.text) == (not split_by_model)
