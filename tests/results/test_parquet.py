"""Rows as Parquet: the same columns for every batch, with all values that a row has."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

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
