"""A batch and its counts: read from JSON of any kind, and written as JSON."""

from __future__ import annotations

import json
from typing import Any

import pendulum
import pytest

from airflow_respan.api.batch import Batch, RequestCounts


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


@pytest.mark.parametrize("timestamp", ["soon", "2024-03-26", True, -5, 0, 1e300, float("nan"), [1], {}])
def test_a_malformed_timestamp_is_none_and_the_batch_is_still_read(timestamp: object) -> None:
    assert Batch.from_dict({"id": "batch_1", "status": "completed", "completed_at": timestamp}).completed_at is None


@pytest.mark.parametrize("timestamp", [0.5, 1711471533.9])
def test_fractions_of_a_second_are_dropped(timestamp: float) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "completed", "completed_at": timestamp})

    assert Batch.from_dict(batch.to_dict()) == batch


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (None, None),
        ({}, None),
        ("many", None),
        ([1, 2], None),
        ({"total": None}, None),
        ({"total": "100", "completed": True, "failed": -1}, None),
        ({"total": 100}, RequestCounts(total=100)),
        ({"total": 0, "completed": 0, "failed": 0}, RequestCounts(total=0, completed=0, failed=0)),
    ],
)
def test_missing_counts_are_none_and_not_zero(data: object, counts: RequestCounts | None) -> None:
    assert RequestCounts.from_dict(data) == counts


@pytest.mark.parametrize(
    ("counts", "ratio"),
    [
        (RequestCounts(total=100, completed=95, failed=5), 0.05),
        (RequestCounts(completed=3, failed=1), 0.25),
        (RequestCounts(total=0, completed=0, failed=0), None),
        (RequestCounts(total=100), None),
    ],
)
def test_the_failed_ratio_is_none_if_it_cannot_be_computed(counts: RequestCounts, ratio: float | None) -> None:
    assert counts.failed_ratio == ratio


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
        (7, []),
    ],
)
def test_errors_are_read_in_every_form(errors: object, lines: list[str]) -> None:
    assert list(Batch(id="batch_1", status="failed", errors=errors).error_lines()) == lines
