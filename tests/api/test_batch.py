"""A batch: read from JSON of any kind, and written as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pendulum
import pytest

from airflow_respan.api.batch import MAX_ERROR_LENGTH, MAX_STATUS_LENGTH, Batch
from airflow_respan.api.ids import MAX_ID_LENGTH
from airflow_respan.api.request_counts import RequestCounts


def test_the_documented_example_is_read_completely(seed_batch: dict[str, Any]) -> None:
    batch = Batch.from_dict(seed_batch)

    assert batch == Batch(
        id="batch_abc123",
        status="completed",
        endpoint="/v1/chat/completions",
        input_file_id="file-abc123",
        completion_window="24h",
        output_file_id="file-xyz789",
        created_at=pendulum.datetime(2024, 3, 26, 16, 45, 33),
        in_progress_at=pendulum.datetime(2024, 3, 26, 16, 45, 38),
        expires_at=pendulum.datetime(2024, 3, 27, 16, 45, 33),
        finalizing_at=pendulum.datetime(2024, 3, 26, 22, 45, 33),
        completed_at=pendulum.datetime(2024, 3, 26, 22, 46, 3),
        request_counts=RequestCounts(total=100, completed=95, failed=5),
        metadata={"description": "Customer analysis batch"},
        unknown_fields={"object": "batch"},
    )


def test_a_batch_is_the_same_after_it_was_written_as_json_and_read_again(seed_batch: dict[str, Any]) -> None:
    seed_batch["usage"] = {"total_tokens": 7}

    written = json.loads(json.dumps(Batch.from_dict(seed_batch).to_dict()))

    assert written == seed_batch
    assert Batch.from_dict(written) == Batch.from_dict(seed_batch)


def test_only_id_and_status_are_required() -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "in_progress"})

    assert (batch.output_file_id, batch.request_counts, batch.created_at) == (None, None, None)
    assert Batch.from_dict(batch.to_dict()) == batch


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "a batch is a JSON object, not NoneType"),
        (["batch"], "a batch is a JSON object, not list"),
        ({"status": "completed"}, "'id' is None, not a text"),
        ({"id": "", "status": "completed"}, "'id' is '', not a text"),
        ({"id": "batch_1"}, "'status' is None, not a text"),
        ({"id": "batch_1", "status": 3}, "'status' is 3, not a text"),
        ({"id": "file-1", "object": "file", "status": "processed"}, "'object' is 'file', not 'batch'"),
        ({"error": {"message": "No such batch"}}, "'id' is None, not a text"),
    ],
)
def test_the_error_for_data_that_is_not_a_batch_names_the_wrong_key(data: object, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        Batch.from_dict(data)

    assert str(refused.value) == message


@pytest.mark.parametrize("file_id", ["", None, 0, [], {}])
def test_an_empty_or_malformed_file_id_is_none(file_id: object) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "completed", "output_file_id": file_id})

    assert batch.output_file_id is None


@pytest.mark.parametrize("timestamp", ["soon", "", True, -5, 0, 1e300, [1], {"seconds": 1711471533}])
def test_a_timestamp_that_cannot_be_read_is_none_and_stays_in_the_returned_batch(timestamp: object) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "completed", "completed_at": timestamp})

    assert (batch.completed_at, batch.ended_at) == (None, None)
    assert batch.to_dict()["completed_at"] == timestamp
    assert Batch.from_dict(batch.to_dict()) == batch


@pytest.mark.parametrize("timestamp", ["2024-03-26T16:45:33Z", 1711471533000, "1711471533", 1711471533.9])
def test_a_timestamp_in_another_spelling_is_read_and_stays_in_the_returned_batch(timestamp: object) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "completed", "completed_at": timestamp})

    assert batch.completed_at == batch.ended_at == pendulum.datetime(2024, 3, 26, 16, 45, 33)
    assert batch.to_dict()["completed_at"] == timestamp
    assert Batch.from_dict(batch.to_dict()) == batch


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", {"url": "/v1/responses"}),
        ("completion_window", 86400),
        ("metadata", [{"key": "team", "value": "data"}]),
        ("metadata", "team=data"),
        ("request_counts", "3/4"),
        ("request_counts", {"total": -1, "succeeded": 3}),
        ("request_counts", {"total": 4, "completed": 3, "failed": 0, "processing": 1}),
    ],
)
def test_a_field_of_another_shape_stays_in_the_returned_batch(name: str, value: object) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "in_progress", name: value})

    assert batch.to_dict()[name] == value
    assert Batch.from_dict(batch.to_dict()) == batch


def test_readable_counts_are_integers_in_the_returned_batch() -> None:
    counts = {"total": "4", "completed": 3.0, "failed": -1, "processing": "1"}

    written = Batch.from_dict({"id": "batch_1", "status": "in_progress", "request_counts": counts}).to_dict()

    assert written["request_counts"] == {"total": 4, "completed": 3, "failed": -1, "processing": "1"}


def test_an_attribute_that_was_replaced_is_written_instead_of_what_came() -> None:
    batch = Batch.from_dict(
        {"id": "batch_1", "status": "completed", "metadata": "team=data", "created_at": "2024-03-26T16:45:33Z"}
    )

    written = replace(batch, metadata={"team": "data"}, created_at=pendulum.datetime(2024, 3, 26)).to_dict()

    assert (written["metadata"], written["created_at"]) == ({"team": "data"}, 1711411200)


def test_a_huge_text_in_the_place_of_a_timestamp_is_kept_in_part() -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "completed", "completed_at": "9" * 1_000_000})

    assert batch.completed_at is None
    assert batch.to_dict()["completed_at"].endswith("9 ... (999000 more characters left out)")


@pytest.mark.parametrize(
    ("errors", "lines"),
    [
        (None, []),
        ("", []),
        ("boom", ["boom"]),
        (["boom", {"message": "bang"}], ["boom", "bang"]),
        ({"message": "alone"}, ["alone"]),
        (
            {
                "object": "list",
                "data": [
                    {"code": "invalid_json_line", "line": 3, "message": "Not JSON.", "param": None},
                    {"code": None, "line": None, "message": "Something."},
                ],
            },
            ["invalid_json_line (line 3): Not JSON.", "Something."],
        ),
        ({"object": "list", "data": None}, []),
        (7, ["7"]),
        ({"error": {"error": {"message": "Deep.", "code": "bad"}}}, ["bad: Deep."]),
        (["two\nlines \x1b[31mred\x1b[0m"], ["two lines ?[31mred?[0m"]),
        (
            [{"code": "forged\r\n2026-01-01 ERROR", "line": "\u2028", "message": ["a\nb"]}],
            ["forged 2026-01-01 ERROR: a b"],
        ),
        (["x" * 1_000_000], ["x" * (MAX_ERROR_LENGTH - 4) + " ..."]),
    ],
)
def test_errors_are_read_in_every_form(errors: object, lines: list[str]) -> None:
    assert list(Batch(id="batch_1", status="failed", errors=errors).error_lines()) == lines


@pytest.mark.parametrize("batch_id", ["x" * 231, "bGl0/ZWxs:bV9w=" * 30, "é", "x" * MAX_ID_LENGTH])
def test_an_id_may_be_long_and_may_have_any_printable_character(batch_id: str) -> None:
    data = {"id": batch_id, "status": "completed", "output_file_id": batch_id}

    batch = Batch.from_dict(data)

    assert (batch.id, batch.output_file_id) == (batch_id, batch_id)


@pytest.mark.parametrize("invalid", ["x" * (MAX_ID_LENGTH + 1), "two\nlines", "a\x1b[31mred", "right-to-left \u202e"])
def test_a_text_that_would_break_a_log_line_is_no_id(invalid: str) -> None:
    with pytest.raises(ValueError, match="which is not a valid id"):
        Batch.from_dict({"id": invalid, "status": "completed"})

    assert Batch.from_dict({"id": "batch_1", "status": "completed", "error_file_id": invalid}).error_file_id is None


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (" queued\n", "queued"),
        ("two\nlines", "two lines"),
        ("a\x1b[31mred", "a?[31mred"),
        ("x" * 1000, "x" * (MAX_STATUS_LENGTH - 4) + " ..."),
    ],
)
def test_an_unknown_status_is_kept_as_one_short_line_and_does_not_make_a_batch_unreadable(
    status: str, shown: str
) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": status})

    assert (batch.status, batch.is_terminal) == (shown, False)
    assert Batch.from_dict(batch.to_dict()) == batch
