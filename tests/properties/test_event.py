"""Events of any content, perhaps from another release, and waits with any settings."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanAPIError, RespanError
from airflow_respan.waiting.event import make_event, read_event
from airflow_respan.waiting.pauses import JITTER_RATIO
from airflow_respan.waiting.policy import BatchWait, TimedOut
from tests.properties import strategies

ERRORS = st.sampled_from([RespanError, RespanAPIError, TimedOut])
valid_events = st.one_of(
    strategies.batch_objects().map(lambda batch: {"batch": batch}),
    st.builds(lambda error, text: make_event(error(text)), ERRORS, strategies.texts),
)
mutations = st.dictionaries(
    st.sampled_from(["batch", "error", "message", "status_code", "version"]),
    st.one_of(strategies.anything, strategies.batch_objects(), st.sampled_from(["RespanAPIError", "BaseException"])),
    max_size=2,
)
changed_events = st.builds(lambda event, mutation: {**event, **mutation}, valid_events, mutations)


@given(st.one_of(changed_events, strategies.anything))
def test_only_a_complete_event_is_accepted(event: Any) -> None:
    end = read_event(event)

    if isinstance(end, Batch):
        assert end.is_terminal
        assert end == Batch.from_dict(event["batch"])
    elif isinstance(end, TimedOut):
        assert (event["error"], event["message"]) == ("RespanBatchTimeout", end.message)
    elif end is not None:
        assert isinstance(end, RespanError)
        assert type(end).__name__ == event["error"]
        assert str(end) == event["message"]


@given(st.one_of(st.builds(lambda error, text: error(text), ERRORS, st.one_of(st.text(), strategies.texts))))
@example(RespanError("cut \ud83d and \0"))
def test_every_database_can_store_an_event(error: RespanError | TimedOut) -> None:
    event = make_event(error)

    assert json.dumps(event, ensure_ascii=False).encode()
    assert "\\u0000" not in json.dumps(event)
    assert type(read_event(event)) is type(error)


@given(st.floats(0, 7 * 24 * 3600), st.floats(1, 7 * 24 * 3600), st.booleans(), st.none() | st.floats(1, 7 * 24 * 3600))
def test_a_pause_is_bounded_by_the_deadline_and_by_the_interval(
    timeout: float, poke_interval: float, backoff: bool, max_wait: float | None
) -> None:
    wait = BatchWait(
        batch_id="batch_1",
        timeout=timeout,
        poke_interval=poke_interval,
        exponential_backoff=backoff,
        max_wait=max_wait,
    )
    pause = wait.pause_seconds()

    assert math.isfinite(pause)
    # The deadline is rounded to a millisecond.
    assert 0 <= pause <= min(timeout + 0.001, poke_interval * (1 + JITTER_RATIO))
    if backoff and max_wait is not None:
        assert pause <= max_wait * (1 + 1e-9)
