from __future__ import annotations

import json

import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanWrongIdError,
)
from airflow_respan.waiting.event import MAX_MESSAGE_LENGTH, make_event, read_event
from airflow_respan.waiting.policy import TimedOut


def test_a_batch_is_the_same_after_an_event() -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "expired", "request_counts": {"total": 3}, "more": [1]})

    assert read_event(json.loads(json.dumps(make_event(batch)))) == batch


@pytest.mark.parametrize(
    "error",
    [
        RespanAPIError("no", status_code=422),
        RespanAuthenticationError("no", status_code=401),
        RespanNotFoundError("no", status_code=404),
        RespanConfigurationError("no API key"),
        RespanMissingConnectionError("no such connection"),
        RespanWrongIdError("another batch"),
        RespanError("broken"),
    ],
)
def test_an_error_is_the_same_after_an_event(error: Exception) -> None:
    end = read_event(json.loads(json.dumps(make_event(error))))

    assert type(end) is type(error)
    assert str(end) == str(error)
    assert getattr(end, "status_code", None) == getattr(error, "status_code", None)


def test_a_timeout_is_the_same_after_an_event() -> None:
    event = make_event(TimedOut("late"))

    assert event == {"error": "RespanBatchTimeout", "message": "late", "status_code": None}
    assert read_event(json.loads(json.dumps(event))) == TimedOut("late")


def test_characters_that_databases_refuse_are_replaced() -> None:
    event = make_event(RespanError("cut \ud83d and \0"))

    assert event == {"error": "RespanError", "message": "cut ? and ?", "status_code": None}


@pytest.mark.parametrize("end", [RespanError("x" * 10**6), TimedOut("x" * 10**6)])
def test_a_long_message_is_cut(end: RespanError | TimedOut) -> None:
    assert make_event(end)["message"] == "x" * MAX_MESSAGE_LENGTH + " ..."
