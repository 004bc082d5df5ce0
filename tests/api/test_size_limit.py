"""Foreign JSON is cut to a size that can be kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.api.batch import Batch
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.endpoints import get_batch, list_batches
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.size_limit import MAX_FIELD_SIZE, MAX_TEXT_LENGTH, limit_size
from airflow_respan.waiting.event import make_event, read_event
from airflow_respan.waiting.outcome import describe_batch

ERRORS = [
    {"code": "model_not_found", "message": f"Row {number} is wrong.", "line": number, "param": None}
    for number in range(1, 50_001)
]


def nested(depth: int) -> Any:
    value: Any = "x" * 10
    for _ in range(depth):
        value = [value, {"key": "y" * 100}]
    return value


def test_a_value_of_usual_size_is_returned_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True], "b": {"c": "x" * 10_000}}

    assert limit_size(value, sanitize_json) is value


def test_a_long_list_ends_with_the_number_of_items_left_out() -> None:
    kept = limit_size(ERRORS, sanitize_json)

    assert kept[:-1] == ERRORS[: len(kept) - 1]
    assert kept[-1] == {"left_out": 50_000 - (len(kept) - 1)}
    assert len(kept) > 100


def test_a_large_object_says_how_many_fields_were_left_out() -> None:
    kept = limit_size({f"name_{number}": "x" * 100 for number in range(1000)}, sanitize_json)

    assert kept.pop("left_out") == 1000 - len(kept)
    assert len(kept) > 100


def test_a_long_text_says_how_many_characters_were_left_out() -> None:
    text = "x" * 100_000

    assert (
        limit_size(text, sanitize_json)
        == f"{text[:MAX_TEXT_LENGTH]} ... ({100_000 - MAX_TEXT_LENGTH} more characters left out)"
    )


@pytest.mark.parametrize(
    "value",
    [
        ERRORS,
        "x" * 10**6,
        {"x" * 10**6: 1, "b": "small"},
        {str(number): {"list": ERRORS} for number in range(50)},
        nested(2000),
        [10**4000] * 100,
        ["x" * (MAX_FIELD_SIZE - 3)] * 2,
    ],
    ids=["errors", "text", "name", "objects", "nested", "integers", "two_texts"],
)
def test_what_was_cut_is_small_and_not_cut_again(value: Any) -> None:
    kept = sanitize_json(limit_size(value, sanitize_json))

    assert len(json.dumps(kept)) < 2 * MAX_FIELD_SIZE
    assert limit_size(kept, sanitize_json) is kept


@given(
    st.recursive(
        st.text(max_size=3000) | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=1500), inner, max_size=30),
        max_leaves=200,
    )
)
def test_any_value_is_cut_once(value: Any) -> None:
    kept = limit_size(value, sanitize_json)

    assert limit_size(kept, sanitize_json) == kept


@pytest.mark.parametrize("errors", [ERRORS, {"object": "list", "data": ERRORS}], ids=["list", "object"])
def test_a_batch_with_many_errors_still_says_how_many(errors: Any) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "failed", "errors": errors})
    event = json.dumps(make_event(batch))

    assert len(event) < 3 * MAX_FIELD_SIZE
    assert batch.error_count == 50_000
    assert read_event(json.loads(event)) == batch
    assert describe_batch(batch) == (
        "Batch batch_1 is failed (no request counts; no files). First error: model_not_found (line 1): Row 1 is wrong "
        "(and 49999 more)."
    )


def test_a_batch_keeps_its_ids_whatever_else_it_has() -> None:
    huge = {f"key_{number}": "x" * 1000 for number in range(10_000)}
    ids = {"input_file_id": "file-in", "output_file_id": "file-out", "error_file_id": "file-err"}

    batch = Batch.from_dict(
        {**huge, "metadata": huge, "errors": "x" * 10**6, "id": "batch_1", "status": "completed", **ids}
    )

    assert {name: getattr(batch, name) for name in ids} == ids
    assert len(json.dumps(make_event(batch))) < 5 * MAX_FIELD_SIZE


def test_an_id_that_no_url_has_room_for_is_none() -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "completed", "output_file_id": "x" * 10**6})

    assert batch.output_file_id is None


def test_metadata_of_the_documented_size_is_not_cut() -> None:
    metadata = {f"{number:064}": "x" * 512 for number in range(16)}

    assert Batch.from_dict({"id": "batch_1", "status": "completed", "metadata": metadata}).metadata == metadata


@pytest.mark.parametrize("start", range(MAX_TEXT_LENGTH - 30, MAX_TEXT_LENGTH + 5, 5))
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(start: int) -> None:
    connection = RespanConnection(conn_id="respan", api_key="key-nobody-may-see")
    text = f"{'x' * start}key-nobody-may-see{'y' * MAX_FIELD_SIZE}"
    data = {"id": "batch_1", "status": "failed", "errors": text, "note": [text], "metadata": {"a": text}}

    retrieved = get_batch(connection, "batch_1").parse(data)
    listed = list_batches(connection).parse({"data": [data]}).batches

    for batch in (retrieved, *listed):
        assert "key-" not in json.dumps(batch.to_dict())
