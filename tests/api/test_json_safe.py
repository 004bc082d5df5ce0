"""JSON from outside: only what Airflow or a database cannot store is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.waiting.policy import BatchWait


@pytest.mark.parametrize(
    ("value", "sanitized"),
    [
        ({"a": [1, 2.5, "x", None, True]}, {"a": [1, 2.5, "x", None, True]}),
        ("cut \ud83d", "cut ?"),
        ("a\0b", "a?b"),
        (2**63 - 1, 2**63 - 1),
        (2**64, "0x10000000000000000"),
        (float("nan"), None),
        ([float("-inf")], [None]),
        ({"__classname__": 1, "__var": 2, "a": 3}, {"_classname__": 1, "_var": 2, "a": 3}),
    ],
)
def test_only_values_that_cannot_be_stored_are_changed(value: object, sanitized: object) -> None:
    assert sanitize_json(value) == sanitized
    assert sanitize_json(sanitized) == sanitized


def test_deep_nesting_is_cut() -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = {"a": [deep]}

    assert "nested more than 20 deep" in json.dumps(sanitize_json(deep))


@pytest.mark.parametrize(
    "fields",
    [
        '{"metadata": {"a": "cut \\ud83d"}}',
        '{"x": 100000000000000000000000}',
        '{"x": 1%s}' % ("0" * 4000),
        '{"metadata": {"cost": NaN}}',
        '{"metadata": {"__classname__": "x"}}',
        '{"in_progress_at": 1, "request_counts": {"total": 50000, "completed": 1, "failed": 0}}',
        '{"request_counts": {"total": 1, "completed": 1%s, "failed": 1}}' % ("0" * 400),
        '{"request_counts": {"total": 1, "completed": 9000000000000000000, "failed": 9000000000000000000}}',
        '{"created_at": 1e300, "expires_at": -1, "in_progress_at": 99999999999999}',
        '{"errors": {"data": [[], 7, null, {"message": {"a": 1}, "line": []}]}}',
    ],
)
@pytest.mark.parametrize("status", ["in_progress", "completed", "failed"])
def test_an_unusual_field_does_not_break_a_wait(fields: str, status: str) -> None:
    from airflow.sdk.serde import deserialize, serialize

    from airflow_respan.waiting.outcome import evaluate_batch

    batch = Batch.from_dict({"id": "batch_1", **json.loads(fields), "status": status})
    wait = BatchWait(batch_id="batch_1")
    wait.on_batch(batch)

    assert evaluate_batch(batch).message
    assert wait.timed_out().message
    strict_json = json.dumps(batch.to_dict(), allow_nan=False).encode()
    assert Batch.from_dict(json.loads(strict_json)) == batch
    assert deserialize(serialize(batch.to_dict())) == batch.to_dict()
