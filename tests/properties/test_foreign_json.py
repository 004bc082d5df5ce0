"""Whatever JSON the service sends, it is read, evaluated and logged, and can be saved as XCom and in an event."""

from __future__ import annotations

import json
from typing import Any

import pendulum
from airflow.sdk.serde import deserialize, serialize
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.api.batch import MAX_STATUS_LENGTH, Batch
from airflow_respan.api.file import RespanFile
from airflow_respan.api.ids import MAX_ID_LENGTH
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.api.page import BatchPage
from airflow_respan.api.statuses import TERMINAL_STATUSES
from airflow_respan.waiting.outcome import describe_batch, evaluate_batch
from airflow_respan.waiting.policy import BatchWait
from airflow_respan.waiting.progress import describe_progress
from airflow_respan.waiting.xcom import batch_xcoms
from tests.properties import strategies


def assert_airflow_can_store(value: Any) -> None:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    assert json.loads(text.encode("utf-8")) == value
    assert deserialize(serialize(value)) == value


@given(strategies.anything)
def test_airflow_can_store_all_sanitized_json(value: Any) -> None:
    sanitized = sanitize_json(value)

    assert_airflow_can_store(sanitized)
    assert sanitize_json(sanitized) == sanitized


@given(st.one_of(strategies.batch_objects(), strategies.anything))
def test_json_is_a_batch_that_can_be_stored_or_an_error_names_the_key(data: Any) -> None:
    try:
        batch = Batch.from_dict(data)
    except ValueError as error:
        assert str(error).startswith(  # noqa: PT017 (the call may return or raise)
            ("'id' is ", "'status' is ", "'object' is ", "a batch is a JSON object, not ")
        )
        return

    assert_airflow_can_store(batch.to_dict())
    assert_airflow_can_store(batch_xcoms(batch))
    assert Batch.from_dict(json.loads(json.dumps(batch.to_dict()))) == batch
    assert len(batch.id) <= MAX_ID_LENGTH
    assert len(batch.status) <= MAX_STATUS_LENGTH


@given(strategies.batch_objects(), st.floats(0, 1), st.sets(st.sampled_from(sorted(TERMINAL_STATUSES)), min_size=1))
def test_every_batch_can_be_evaluated_and_described(data: dict[str, Any], ratio: float, accepted: set[str]) -> None:
    batch = Batch.from_dict({**data, "id": strategies.BATCH_ID, "status": "completed", "object": "batch"})
    ongoing = Batch.from_dict({**batch.to_dict(), "status": "in_progress"})
    wait = BatchWait(batch_id=batch.id)

    outcome = evaluate_batch(batch, success_statuses=sorted(accepted), max_failed_ratio=ratio)
    assert outcome.message.startswith(f"Batch {batch.id} is completed")
    assert not outcome.accepted or outcome.message == describe_batch(batch)
    assert outcome.message.isprintable()
    assert len(outcome.message) < 2500
    assert describe_progress(ongoing, now=pendulum.now("UTC")).startswith(f"Batch {batch.id} is in_progress")
    assert wait.on_batch(batch)
    assert not wait.on_batch(ongoing)
    assert wait.timed_out().message


@given(strategies.pages)
def test_a_page_counts_unreadable_items_and_continues_only_after_an_id(data: Any) -> None:
    page = BatchPage.from_dict(data)

    assert len(page.batches) + len(page.unreadable_ids) <= len(page.items) == len(data["data"])
    assert page.next_after is None or page.next_after.strip()


@given(st.one_of(strategies.anything, strategies.batch_objects().map(lambda batch: {**batch, "object": "file"})))
def test_json_is_a_file_or_an_error_names_the_key(data: Any) -> None:
    try:
        file = RespanFile.from_dict(data)
    except ValueError as error:
        assert str(error).startswith(  # noqa: PT017 (the call may return or raise)
            ("'id' is ", "'object' is ", "a file is a JSON object, not ")
        )
        return

    assert file.id.strip()
