"""How single requests of the sandbox end, by request and attempt, and how often each was run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import requests

from airflow_respan.sandbox import Outcome, RespanSandbox
from tests.sandbox.calls import call, lines, rows, run


def ends(sandbox: RespanSandbox, batch: dict[str, Any]) -> dict[str, str | int]:
    """Return the HTTP status of each request with a response, and the code of each without one."""
    found = rows(sandbox, batch, "output") + rows(sandbox, batch, "error")
    return {row["custom_id"]: (row["response"] or {}).get("status_code") or row["error"]["code"] for row in found}


@pytest.mark.parametrize(
    ("outcome", "status", "kind", "code", "message"),
    [
        ("429", 429, "invalid_request_error", "rate_limit_exceeded", "The sandbox was told to fail with 429."),
        ("503", 503, "server_error", None, "The sandbox was told to fail with 503."),
        (
            "content_filter",
            400,
            "invalid_request_error",
            "content_filter",
            "The content filter refused the prompt.",
        ),
    ],
)
def test_a_request_fails_with_a_response(
    sandbox: RespanSandbox, outcome: str, status: int, kind: str, code: str | None, message: str
) -> None:
    sandbox.set_outcomes({"r-2": outcome})

    batch = run(sandbox, *lines("r-1", "r-2"))

    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    error = {"message": message, "type": kind, "param": None, "code": code}
    response = {"status_code": status, "request_id": "req_000001", "body": {"error": error}}
    expected = {"id": "batch_req_000001", "custom_id": "r-2", "response": response, "error": None}
    assert rows(sandbox, batch, "error") == [expected]
    assert [row["custom_id"] for row in rows(sandbox, batch, "output")] == ["r-1"]


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        ("expired", "batch_expired", "The request was not run before the batch expired."),
        ("cancelled", "batch_cancelled", "The request was not run before the cancellation."),
        ("timeout", "request_timeout", "The model did not answer in time."),
    ],
)
def test_a_request_fails_without_a_response(sandbox: RespanSandbox, outcome: str, code: str, message: str) -> None:
    sandbox.set_outcomes({"r-2": outcome})

    batch = run(sandbox, *lines("r-1", "r-2"))

    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    error = {"code": code, "message": message}
    expected = {"id": "batch_req_000001", "custom_id": "r-2", "response": None, "error": error}
    assert rows(sandbox, batch, "error") == [expected]


def test_a_request_without_a_row_is_counted_as_completed(sandbox: RespanSandbox) -> None:
    sandbox.set_outcomes({"r-1": "missing"})

    batch = run(sandbox, *lines("r-1", "r-2"))

    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert ends(sandbox, batch) == {"r-2": 200}


def test_outcomes_differ_by_attempt_and_the_last_one_holds(sandbox: RespanSandbox) -> None:
    sandbox.set_outcomes({"r-7": "429, expired, ok", "r-9": "400"})

    found = [ends(sandbox, run(sandbox, *lines("r-7", "r-8", "r-9"))) for _ in range(4)]

    assert [each["r-7"] for each in found] == [429, "batch_expired", 200, 200]
    assert [each["r-9"] for each in found] == [400] * 4
    assert [each["r-8"] for each in found] == [200] * 4


def test_a_share_of_the_requests_fails_and_it_is_the_same_share_in_each_run(sandbox: RespanSandbox) -> None:
    requests = lines(*(f"r-{number}" for number in range(500)))
    sandbox.set_outcomes("30% 429, ok; 10% missing")

    first, second = (ends(sandbox, run(sandbox, *requests)) for _ in range(2))
    sandbox.set_outcomes("30% 500")
    third = ends(sandbox, run(sandbox, *requests))

    assert Counter(first.values()) == {429: 153, 200: 295}  # 52 have no row
    assert Counter(second.values()) == {200: 448}
    assert {custom_id for custom_id, end in third.items() if end == 500} == {
        custom_id for custom_id, end in first.items() if end == 429
    }


def test_a_function_chooses_the_outcome_by_request_and_attempt(sandbox: RespanSandbox) -> None:
    seen = []

    def choose(custom_id: str, attempt: int) -> Outcome | None:
        seen.append((custom_id, attempt))
        return Outcome.error(418, code="teapot", message="Short and stout.") if attempt == 1 else None

    sandbox.set_outcomes(choose)
    first, second = (run(sandbox, *lines("r-1")) for _ in range(2))

    assert seen == [("r-1", 1), ("r-1", 2)]
    [row] = rows(sandbox, first, "error")
    assert row["response"]["body"]["error"] == {
        "message": "Short and stout.",
        "type": "invalid_request_error",
        "param": None,
        "code": "teapot",
    }
    assert ends(sandbox, second) == {"r-1": 200}


def test_a_function_that_raises_fails_the_batch_and_no_other(sandbox: RespanSandbox) -> None:
    sandbox.set_outcomes(lambda custom_id, _attempt: {"r-2": None}[custom_id])

    failed, other = run(sandbox, *lines("r-1")), run(sandbox, *lines("r-2"))

    [error] = failed["errors"]["data"]
    assert error["message"] == "The outcome of 'r-1' could not be chosen: KeyError('r-1')."
    assert (other["status"], sandbox.runs) == ("completed", {"r-2": 1})


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello. [sandbox: 429, ok]"}]}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello. [sandbox: 429, ok]"}]}]},
        ),
        ("/v1/completions", {"prompt": "Hello. [sandbox: 429, ok]"}),
        ("/v1/embeddings", {"input": ["Hello. [sandbox: 429, ok]"]}),
        ("/v1/responses", {"input": [{"role": "user", "content": "Hello. [sandbox: 429, ok]"}]}),
    ],
)
def test_a_prompt_chooses_the_outcome(sandbox: RespanSandbox, endpoint: str, body: dict[str, Any]) -> None:
    sandbox.set_outcomes("500")
    line = {"custom_id": "r-1", "method": "POST", "url": endpoint, "body": {"model": "m", **body}}

    found = [ends(sandbox, run(sandbox, line, endpoint=endpoint)) for _ in range(2)]

    assert found == [{"r-1": 429}, {"r-1": 200}]


@pytest.mark.parametrize("word", ["302", "4xx", "", "OK"])
def test_a_word_that_is_no_outcome_is_refused_by_name(sandbox: RespanSandbox, word: str) -> None:
    message = (
        f"{word!r} is not an outcome. Use an HTTP status from 400 to 599, or one of: "
        "ok, content_filter, expired, cancelled, timeout, missing."
    )

    with pytest.raises(ValueError, match="not an outcome") as from_argument:
        RespanSandbox(outcomes=f"429, {word}")
    with pytest.raises(ValueError, match="not an outcome") as from_mapping:
        sandbox.set_outcomes({"r-1": word})
    control = requests.post(f"{sandbox.url}/_sandbox/outcomes", json={"outcomes": word}, timeout=10)
    batch = run(sandbox, *lines("r-1", prompt=f"[sandbox: {word}]"))

    assert str(from_argument.value) == str(from_mapping.value) == message
    assert (control.status_code, control.json()["errors"]) == (422, {"outcomes": [message]})
    assert batch["errors"]["data"] == [
        {
            "code": "sandbox",
            "line": 1,
            "message": f"The prompt chooses an outcome for the sandbox: {message}",
            "param": "body",
        }
    ]


def test_a_status_that_is_no_error_is_refused() -> None:
    with pytest.raises(ValueError, match="The status of an error is between 400 and 599, not 200"):
        Outcome.error(200)


def test_each_run_of_a_request_is_counted_once_by_request_and_by_batch(sandbox: RespanSandbox) -> None:
    sandbox.set_outcomes({"r-2": "429, ok", "r-3": "missing"})

    first, second = run(sandbox, *lines("r-1", "r-2", "r-3"))["id"], run(sandbox, *lines("r-2", "r-3"))["id"]
    call(sandbox, "GET", f"/api/v1/batches/{second}/")

    assert sandbox.runs == {"r-1": 1, "r-2": 2, "r-3": 2}
    assert sandbox.runs_by_batch == {first: ["r-1", "r-2", "r-3"], second: ["r-2", "r-3"]}


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
def test_requests_that_a_batch_did_not_reach_were_not_run(sandbox: RespanSandbox, outcome: str) -> None:
    requests = lines("r-1", "r-2", "r-3", "r-4")
    sandbox.set_outcomes("429, ok")

    partial = run(sandbox, *requests, outcome=outcome)
    after = run(sandbox, *requests)

    assert sandbox.runs_by_batch == {
        partial["id"]: ["r-1", "r-2"],
        after["id"]: ["r-1", "r-2", "r-3", "r-4"],
    }
    assert ends(sandbox, after) == {"r-1": 200, "r-2": 200, "r-3": 429, "r-4": 429}


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        ("expired", "batch_expired", "The request was not run before the batch expired."),
        ("cancelled", "batch_cancelled", "The request was not run before the cancellation."),
    ],
)
@pytest.mark.parametrize("first", ["ok", "429"])
def test_requests_that_were_not_run_may_have_rows(outcome: str, code: str, message: str, first: str) -> None:
    with RespanSandbox(pace=None, unfinished_rows=True, outcomes={"r-1": first}) as sandbox:
        batch = run(sandbox, *lines("r-1", "r-2", "r-3", "r-4"), outcome=outcome)

        failed = int(first == "429")
        assert batch["request_counts"] == {"total": 4, "completed": 2 - failed, "failed": failed}
        assert [row["custom_id"] for row in rows(sandbox, batch, "output")] == ["r-1", "r-2"][failed:]
        assert rows(sandbox, batch, "error")[failed:] == [
            {
                "id": f"batch_req_00000{position}",
                "custom_id": f"r-{position + 1}",
                "response": None,
                "error": {"code": code, "message": message},
            }
            for position in (2, 3)
        ]


@pytest.mark.parametrize("cancel", [True, False])
def test_a_batch_that_never_was_in_progress_has_no_rows(cancel: bool) -> None:
    with RespanSandbox(pace=None, unfinished_rows=True) as sandbox:
        batch = run(sandbox, *lines("r-1"), outcome="failed", cancel=cancel)

        assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)


def test_a_batch_that_failed_or_was_cancelled_at_once_has_run_nothing(sandbox: RespanSandbox) -> None:
    failed = run(sandbox, *lines("r-1"), outcome="failed")["id"]
    invalid = run(sandbox, *lines("r-1", "r-1"))["id"]
    early = run(sandbox, *lines("r-1"), cancel=True)["id"]

    assert sandbox.runs == {}
    assert sandbox.runs_by_batch == {failed: [], invalid: [], early: []}


def test_another_process_chooses_outcomes_and_reads_the_runs(sandbox: RespanSandbox) -> None:
    control = f"{sandbox.url}/_sandbox"
    for outcomes in ("500", {"r-1": "429, ok"}):
        chosen = requests.post(f"{control}/outcomes", json={"outcomes": outcomes}, timeout=10)
        assert chosen.json() == {"outcomes": outcomes}
    batches = [run(sandbox, *lines("r-1", "r-2")) for _ in range(2)]

    assert [ends(sandbox, batch) for batch in batches] == [{"r-1": 429, "r-2": 200}, {"r-1": 200, "r-2": 200}]
    assert requests.get(f"{control}/runs", timeout=10).json() == {
        "requests": {"r-1": 2, "r-2": 2},
        "batches": {batch["id"]: ["r-1", "r-2"] for batch in batches},
    }
    assert sandbox.requests[0].path == "/api/files/"  # requests to the control endpoints are not recorded


@pytest.mark.parametrize("body", [{}, {"outcomes": 429}, {"outcomes": {"r-1": 429}}])
def test_outcomes_of_another_process_are_texts(sandbox: RespanSandbox, body: dict[str, Any]) -> None:
    refused = requests.post(f"{sandbox.url}/_sandbox/outcomes", json=body, timeout=10)

    assert refused.status_code == 422
    assert refused.json()["errors"] == {"outcomes": ["A text is expected, or an object of texts."]}
