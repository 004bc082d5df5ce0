"""What a whole job has left is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from airflow_respan.results import answers, to_arrow
from airflow_respan.sandbox import RespanSandbox
from tests.operators.modes import request
from tests.rounds.asking import ask, rows


class Review(BaseModel):
    """What the answers of these tests are."""

    text: str
    stars: int


def test_each_request_of_a_job_has_one_answer_or_its_last_error(moving: RespanSandbox, tmp_path: Path) -> None:
    moving.set_outcomes({"r-1": "429, ok", "r-2": "429, 503"})

    manifest = ask("deferrable", tmp_path, max_rounds=2).value

    read = {answer.custom_id: answer.error.code if answer.error else answer.value for answer in answers(manifest)}
    assert read == {"r-1": "echo: What is 1?", "r-2": "server_error", "r-3": "echo: What is 3?"}
    assert to_arrow(tmp_path).read_all().num_rows == 3


@pytest.mark.parametrize("retry_invalid", [False, True])
def test_an_answer_that_is_not_of_the_type_counts_as_failed(
    retry_invalid: bool, moving: RespanSandbox, tmp_path: Path
) -> None:
    untyped = request(3, body={"model": "m", "response_format": {"type": "text", "json_schema": None}})

    manifest = ask(
        "poking",
        tmp_path,
        requests=["Rate it.", "Rate this.", untyped],
        body={"model": "m"},
        output_type=Review,
        retry_invalid=retry_invalid,
    ).value

    asked = [json.loads(line)["body"] for line in (tmp_path / "round-1/input.jsonl").read_text().splitlines()]
    assert asked[0]["response_format"]["json_schema"]["name"] == "Review"
    assert manifest["counts"]["succeeded"] == 2
    assert manifest["counts"]["unsettled"] == int(retry_invalid)
    assert moving.runs == {"1": 1, "2": 1, "r-3": 3 if retry_invalid else 1}
    error = rows(tmp_path / "errors.jsonl")["r-3"]["error"]
    assert error["code"] == "invalid_output"
    read = {answer.custom_id: answer for answer in answers(manifest, Review)}
    assert read["1"].value == Review(text="text", stars=1)
    assert read["r-3"].error is not None
    assert read["r-3"].error.code == "invalid_output"


def test_the_format_of_a_response_keeps_the_other_options_of_its_text(moving: RespanSandbox, tmp_path: Path) -> None:
    options = {"endpoint": "/v1/responses", "body": {"model": "m", "text": {"verbosity": "low"}}}

    manifest = ask("poking", tmp_path, requests=["Rate it."], output_type=Review, **options).value

    [line] = (tmp_path / "round-1/input.jsonl").read_text().splitlines()
    assert json.loads(line)["body"]["text"].keys() == {"verbosity", "format"}
    assert [answer.value for answer in answers(manifest, Review)] == [Review(text="text", stars=1)]


@pytest.mark.parametrize(
    ("output_type", "endpoint", "part"),
    [
        (Review, "/v1/embeddings", "cannot state the type of its answer"),
        ("no_such_module:Model", "/v1/chat/completions", "cannot be imported"),
    ],
)
def test_a_type_that_cannot_be_asked_for_fails_before_anything_is_paid(
    output_type: object, endpoint: str, part: str, moving: RespanSandbox, tmp_path: Path
) -> None:
    outcome = ask("poking", tmp_path, requests=["a"], body={"model": "m"}, output_type=output_type, endpoint=endpoint)

    assert isinstance(outcome.error, ValueError)
    assert part in str(outcome.error)
    assert moving.requests == []
