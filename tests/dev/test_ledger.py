"""The judge of ``make test-deployment`` is judged: it finds what is amiss, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.sandbox.received import ReceivedRequest
from dev.deployment.ledger import blocked, long_steps, looks_too_soon, wrong_outcomes, wrongly_let_go
from dev.deployment.storm import Wait

PATH = "/api/v1/batches/batch_1/"
WAIT = Wait(
    task_id="deferred",
    map_index=0,
    batch_id="batch_1",
    ends_as={"status": "completed", "output_file_id": "file-1"},
    state="success",
)
XCOMS = {"batch_id": "batch_1", "status": "completed", "output_file_id": "file-1", "return_value": {"id": "batch_1"}}
RIGHT: dict[str, Any] = {"state": "success", "ends": ["success"], "errors": [], "xcoms": XCOMS}


def look(at: float, status: int | None = 200) -> ReceivedRequest:
    return ReceivedRequest(
        method="GET", path=PATH, query={}, headers={}, params={}, body=b"", peer="", at=at, status=status
    )


def test_a_wait_that_ended_as_it_should_is_not_complained_of() -> None:
    assert list(wrong_outcomes([WAIT], {("deferred", 0): RIGHT})) == []
    assert list(wrong_outcomes([WAIT], {("deferred", 0): {**RIGHT, "ends": ["up_for_retry", "success"]}})) == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"state": "failed"}, "deferred[0] is failed and should be success ([])"),
        ({"ends": []}, "deferred[0] should have ended once as success, and did so as []"),
        (
            {"ends": ["success", "success"]},
            "deferred[0] should have ended once as success, and did so as ['success', 'success']",
        ),
        (
            {"xcoms": {**XCOMS, "output_file_id": "file-2"}},
            "deferred[0] pushed {'batch_id': 'batch_1', 'status': 'completed', 'output_file_id': 'file-2'} and should "
            "have pushed {'batch_id': 'batch_1', 'status': 'completed', 'output_file_id': 'file-1'}",
        ),
        (
            {"xcoms": {**XCOMS, "return_value": {"id": "batch_2"}}},
            "deferred[0] is success and returned {'id': 'batch_2'}",
        ),
    ],
)
def test_a_wait_that_ended_otherwise_is_found(wrong: dict[str, Any], complaint: str) -> None:
    assert list(wrong_outcomes([WAIT], {("deferred", 0): {**RIGHT, **wrong}})) == [complaint]


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([look(0), look(15), look(31)], id="in time"),
        pytest.param([look(0), look(12), look(27)], id="a little early"),
        pytest.param([look(0), look(15, 502), look(16, None), look(31)], id="one more after no answer"),
        pytest.param([look(0), look(15, 401), look(15.1), look(31)], id="one more after a refused key"),
        pytest.param([look(0), look(15, 429), look(35)], id="the rate limit obeyed"),
    ],
)
def test_looks_at_the_right_times_are_not_complained_of(looks: list[ReceivedRequest]) -> None:
    assert list(looks_too_soon(looks, interval=15, tries={})) == []


@pytest.mark.parametrize(
    ("looks", "complaint"),
    [
        ([look(0), look(11)], "was looked at 11.00 s after an answer 200"),
        ([look(0), look(15, 429), look(31)], "was looked at 16.00 s after an answer 429"),
        ([look(0, 502), look(1, 502), look(2)], "was looked at 1.00 s after an answer 502"),
    ],
)
def test_a_look_too_soon_is_found(looks: list[ReceivedRequest], complaint: str) -> None:
    assert list(looks_too_soon(looks, interval=15, tries={})) == [f"{PATH} {complaint}"]


def test_each_new_try_may_look_at_once() -> None:
    looks = [look(0), look(15), look(16), look(17)]

    assert list(looks_too_soon(looks, interval=15, tries={PATH: 3})) == []
    assert len(list(looks_too_soon(looks, interval=15, tries={PATH: 2}))) == 1


def test_the_end_that_the_list_has_shown_may_be_confirmed_at_once() -> None:
    page = replace(look(17), path="/api/v1/batches/")

    assert list(looks_too_soon([look(0), look(15), page, look(18)], interval=15, tries={})) == []
    assert len(list(looks_too_soon([look(0), look(15), page, look(18), look(40)], interval=15, tries={}))) == 1
    assert len(list(looks_too_soon([look(0), look(15), look(18)], interval=15, tries={}))) == 1


def test_a_wait_that_was_marked_failed_and_went_on_is_found() -> None:
    wait = Wait(task_id="marked", map_index=0, batch_id="batch_1", ends_as={}, state="failed", let_go_at=100)
    failed = {("marked", 0): {"state": "failed", "xcoms": {}}}

    assert list(wrongly_let_go([wait], failed, [look(99)])) == []
    assert list(wrongly_let_go([wait], failed, [look(99), look(115)])) == [
        "marked was marked failed, and its batch was looked at later"
    ]
    assert list(wrongly_let_go([wait], {("marked", 0): RIGHT}, [look(99)])) == [
        f"marked was marked failed, is success and pushed {XCOMS}"
    ]


def test_the_stalls_of_an_event_loop_are_read_from_the_logs(tmp_path: Path) -> None:
    log = tmp_path / "triggerer.log"
    log.write_text(
        "info Triggerer's async thread was blocked for 0.25 seconds, likely by a badly-written trigger.\n"
        "A step of the event loop took 0.071 s of processor time: <Handle ...>\n"
        "info Triggerer's async thread was blocked for 1.50 seconds, likely by a badly-written trigger.\n"
    )

    assert blocked([log]) == [0.25, 1.5]
    assert long_steps([log]) == [0.071]
