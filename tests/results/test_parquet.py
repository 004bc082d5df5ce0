"""Rows as Parquet: the same columns for every batch, with all values that a row has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_respan.results.parquet import MAX_GROUP_ROWS, schema
from airflow_respan.sandbox import RespanSandbox
from tests.operators.landings import add_batch, bad, good, jsonl, land


def landed(sandbox: RespanSandbox, folder: Path, output: bytes | None, errors: bytes | None = None) -> pq.ParquetFile:
    xcoms = land(folder, batch_id=add_batch(sandbox, output, errors), parquet=True)
    assert xcoms["bytes"]["parquet"] == Path(xcoms["parquet_path"]).stat().st_size
    return pq.ParquetFile(xcoms["parquet_path"])


def test_each_request_has_a_row_with_all_known_values(connected: RespanSandbox, tmp_path: Path) -> None:
    answer, refusal = good("a", "Zoë says \u2028 hello"), bad("b", f"Key {connected.api_key} is wrong.")
    expired = {"custom_id": "c", "response": None, "error": {"code": "batch_expired", "message": "Late."}}

    file = landed(connected, tmp_path, jsonl(answer), jsonl(refusal, expired))

    assert file.schema_arrow.equals(schema())
    first, second, third = file.read().to_pylist()
    assert json.loads(first.pop("response")) == answer["response"]
    assert first == {
        "custom_id": "a",
        "succeeded": True,
        "status_code": 200,
        "request_id": "req_1",
        "model": "gpt-4o-mini",
        "content": "Zoë says \u2028 hello",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "cached_tokens": 2,
        "reasoning_tokens": 1,
        "error_code": None,
        "error_message": None,
    }
    known = {name: value for name, value in second.items() if value is not None and name != "response"}
    assert known == {
        "custom_id": "b",
        "succeeded": False,
        "status_code": 400,
        "request_id": "req_2",
        "error_code": "context_length_exceeded",
        "error_message": "Key *** is wrong.",
    }
    assert {name: value for name, value in third.items() if value is not None} == {
        "custom_id": "c",
        "succeeded": False,
        "error_code": "batch_expired",
        "error_message": "Late.",
    }


def test_the_columns_of_a_batch_without_rows_are_the_same(connected: RespanSandbox, tmp_path: Path) -> None:
    file = landed(connected, tmp_path, b"")

    assert file.schema_arrow.equals(schema())
    assert file.metadata.num_rows == 0


def test_rows_are_written_in_groups(connected: RespanSandbox, tmp_path: Path) -> None:
    many = landed(connected, tmp_path / "many", jsonl(*(good(str(number)) for number in range(MAX_GROUP_ROWS + 1))))
    long = landed(connected, tmp_path / "long", jsonl(*(good(str(number), "x" * 3_000_000) for number in range(3))))

    assert [many.metadata.row_group(group).num_rows for group in range(many.num_row_groups)] == [MAX_GROUP_ROWS, 1]
    assert long.num_row_groups == 3


def test_values_that_a_column_cannot_hold_are_replaced(connected: RespanSandbox, tmp_path: Path) -> None:
    odd = good("a\ud83d", "cut \ud83d off", score=1)
    content = jsonl(odd, good("b")).replace(b'"score": 1', b'"score": 1e999')

    [row, _other] = landed(connected, tmp_path, content).read().to_pylist()

    assert (row["custom_id"], row["content"]) == ("a?", "cut ? off")
    assert json.loads(row["response"])["body"]["score"] is None


def test_a_lone_surrogate_stays_in_the_response(connected: RespanSandbox, tmp_path: Path) -> None:
    odd = good("a", "cut \ud83d off")

    [row] = landed(connected, tmp_path, jsonl(odd)).read().to_pylist()

    assert json.loads(row["response"]) == odd["response"]


def respond(custom_id: str, response: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "response": response, "error": None}


@pytest.mark.parametrize(
    "spell",
    [
        lambda response: {**response, "body": json.dumps(response["body"])},
        json.dumps,
        lambda response: json.dumps({**response, "body": json.dumps(response["body"])}),
    ],
    ids=["body", "response", "both"],
)
def test_the_columns_of_a_response_that_is_json_in_a_text_are_those_of_the_response(
    connected: RespanSandbox, tmp_path: Path, spell: Callable[[Any], Any]
) -> None:
    plain = good("a", "line\nbreak")
    spelled = respond("b", spell(good("b", "line\nbreak")["response"]))

    first, second = landed(connected, tmp_path, jsonl(plain, spelled)).read().to_pylist()

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["counts"]["succeeded"] == 2
    assert manifest["usage"]["rows"] == 2
    assert manifest["usage"]["total_tokens"] == 14
    assert json.loads(second.pop("response")) == spelled["response"]
    del first["response"]
    assert second == {**first, "custom_id": "b"}


@pytest.mark.parametrize(
    ("response", "values"),
    [
        (
            {"status_code": 200, "body": [{"choices": []}]},
            {
                "status_code": 200,
                "error_code": "no_response",
                "error_message": 'The response is not a JSON object: [{"choices": []}]',
            },
        ),
        (
            {"status_code": 200, "body": '["a"]'},
            {
                "status_code": 200,
                "error_code": "no_response",
                "error_message": 'The response is not a JSON object: ["a"]',
            },
        ),
        (
            {"status_code": 502, "body": [{"error": {"message": "Broken.", "code": "gateway"}}]},
            {"status_code": 502, "error_code": "502", "error_message": "Broken."},
        ),
        (
            {"status_code": 200, "body": {}},
            {
                "status_code": 200,
                "error_code": "no_response",
                "error_message": "The row has neither a response nor an error.",
            },
        ),
        ({}, {"error_code": "no_response", "error_message": "The row has neither a response nor an error."}),
        ([], {"error_code": "no_response", "error_message": "The row has neither a response nor an error."}),
        ("{}", {"error_code": "no_response", "error_message": "The row has neither a response nor an error."}),
        (
            json.dumps({"status_code": 401, "body": {"error": "No key."}}),
            {"status_code": 401, "error_code": "401", "error_message": "No key."},
        ),
        (
            '{"detail": "Late',
            {"error_code": "no_response", "error_message": 'The response is not a JSON object: {"detail": "Late'},
        ),
    ],
)
def test_a_response_of_another_shape_is_kept_with_its_error(
    connected: RespanSandbox, tmp_path: Path, response: Any, values: dict[str, Any]
) -> None:
    [row] = landed(connected, tmp_path, jsonl(respond("a", response))).read().to_pylist()

    assert json.loads(row.pop("response")) == response
    assert {name: value for name, value in row.items() if value is not None} == {
        "custom_id": "a",
        "succeeded": False,
        **values,
    }
