"""What may be asked: a file, a file at the service, requests, and prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.decorators.respan_batch import RespanBatchDecoratedOperator
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.operators.batch import RespanBatchOperator
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.submission.prompts import make_request
from tests.operators.modes import attempt, request
from tests.rounds.asking import ask, numbered, rows
from tests.task_instance import TaskInstance

CHAT = "/v1/chat/completions"


def as_file(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(each) for each in numbered(3)) + "\n\n")
    return path


def test_a_file_is_asked(moving: RespanSandbox, tmp_path: Path) -> None:
    outcome = ask("poking", tmp_path / "out", input_path=str(as_file(tmp_path / "in.jsonl")))

    assert outcome.value["counts"]["succeeded"] == 3
    assert (tmp_path / "out/round-1/input.jsonl").read_text() == (tmp_path / "in.jsonl").read_text().rstrip() + "\n"


def test_a_file_at_the_service_is_asked(moving: RespanSandbox, tmp_path: Path) -> None:
    file_id = RespanHook().upload_file(as_file(tmp_path / "in.jsonl")).id

    assert ask("poking", tmp_path / "out", input_file_id=file_id).value["counts"]["succeeded"] == 3


def test_an_input_that_is_gone_after_it_was_asked_is_no_reason_to_fail(moving: RespanSandbox, tmp_path: Path) -> None:
    source = as_file(tmp_path / "in.jsonl")
    first = ask("poking", tmp_path / "out", input_path=str(source))
    source.unlink()
    first.ti.try_number = 2

    assert ask("poking", tmp_path / "out", ti=first.ti, input_path=str(source)).value == first.value


def test_prompts_are_asked_with_the_fields_of_the_body(moving: RespanSandbox, tmp_path: Path) -> None:
    prompts = ["One?", [{"role": "user", "content": "Two?"}], ("mine", "Three?"), request(4, body={"model": "own"})]

    outcome = ask("poking", tmp_path, requests=prompts, body={"model": "m", "temperature": 0})

    assert outcome.error is None
    asked = [json.loads(line) for line in (tmp_path / "round-1/input.jsonl").read_text().splitlines()]
    common = {"method": "POST", "url": CHAT}
    body = {"model": "m", "temperature": 0}
    assert asked == [
        {"custom_id": "1", **common, "body": {**body, "messages": [{"role": "user", "content": "One?"}]}},
        {"custom_id": "2", **common, "body": {**body, "messages": [{"role": "user", "content": "Two?"}]}},
        {"custom_id": "mine", **common, "body": {**body, "messages": [{"role": "user", "content": "Three?"}]}},
        {"custom_id": "r-4", **common, "body": {"model": "own", "temperature": 0}},
    ]
    assert rows(tmp_path / "output.jsonl").keys() == {"1", "2", "mine", "r-4"}


@pytest.mark.parametrize(
    ("endpoint", "prompt", "body"),
    [
        ("/v1/completions", "Go on", {"prompt": "Go on"}),
        ("/v1/responses", "Hi", {"input": "Hi"}),
        ("/v1/responses", [{"role": "user", "content": "Hi"}], {"input": [{"role": "user", "content": "Hi"}]}),
        ("/v1/embeddings", ["a", "b"], {"input": ["a", "b"]}),
        (CHAT, "Hi", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_a_prompt_is_put_where_the_endpoint_expects_it(endpoint: str, prompt: Any, body: dict[str, Any]) -> None:
    made = make_request(7, prompt, endpoint=endpoint, body={"model": "m"})

    assert made == {"custom_id": "7", "method": "POST", "url": endpoint, "body": {"model": "m", **body}}


@pytest.mark.parametrize("prompt", ["Hi", [{"role": "user", "content": "Hi"}]])
@pytest.mark.parametrize("endpoint", [CHAT, "/v1/responses"])
def test_a_pair_that_xcom_has_made_a_list_of_is_a_pair(endpoint: str, prompt: Any) -> None:
    assert make_request(7, ["mine", prompt], endpoint=endpoint, body=None) == make_request(
        7, ("mine", prompt), endpoint=endpoint, body=None
    )


@pytest.mark.parametrize("item", [None, 3, {"role": "user"}, ("a", None), (None, "a"), ("a", "b", "c")])
def test_what_is_neither_a_request_nor_a_prompt_is_refused(item: Any, moving: RespanSandbox, tmp_path: Path) -> None:
    outcome = ask("poking", tmp_path, requests=["One?", item], body={"model": "m"})

    assert type(outcome.error).__name__ == "RespanInputError"
    assert "line 2" in str(outcome.error) or "request 2" in str(outcome.error)
    assert moving.batches == []


def test_a_function_that_returns_no_list_is_refused(moving: RespanSandbox, tmp_path: Path) -> None:
    outcome = attempt(
        lambda: RespanBatchDecoratedOperator(task_id="ask", python_callable=lambda: "One?", path=str(tmp_path)),
        TaskInstance(),
    )

    assert str(outcome.error) == (
        "The function '<lambda>' of task 'ask' returned a value of the type str. Return a list of prompts or requests, "
        "or yield them one by one."
    )
    assert moving.requests == []


def test_a_function_and_another_input_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="requests") as refused:
        RespanBatchDecoratedOperator(task_id="ask", python_callable=list, path=str(tmp_path), requests=["One?"])

    assert str(refused.value) == "@task.respan_batch takes no requests: its requests come from the function 'list'"


def test_a_line_that_is_not_json_is_named_also_if_a_body_is_merged(moving: RespanSandbox, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(request(1)) + "\nno JSON\n")

    outcome = ask("poking", tmp_path / "out", input_path=str(tmp_path / "in.jsonl"), body={"model": "m"})

    assert str(outcome.error).startswith("Invalid input: line 2: not JSON (Expecting value, column 1). Nothing was ")
    assert moving.requests == []


@pytest.mark.parametrize("path", ["", " ", "None"])
def test_a_path_that_a_template_left_empty_is_refused(path: str, moving: RespanSandbox) -> None:
    outcome = ask("poking", path)

    assert str(outcome.error) == (
        f"path is {path!r}. Check the argument, and that the upstream task ran and pushed this value."
    )
    assert moving.requests == []


def test_a_kind_of_file_that_cannot_be_deleted_is_refused_when_the_dag_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as refused:
        RespanBatchOperator(task_id="ask", path=str(tmp_path), requests=["One?"], delete_files=["outputs"])

    assert str(refused.value) == "delete_files is ['outputs']; choose among input, output, error"
