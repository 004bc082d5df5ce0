"""The ledger of ``make test-deployment`` reports each loss, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_respan.sandbox.received import ReceivedRequest
from dev.deployment.faults import Wait
from dev.deployment.ledger import blocked_seconds, early_checks, long_step_seconds, wrong_ends_by_hand, wrong_outcomes

PATH = "/api/v1/batches/batch_1/"
WAIT = Wait(
    task_id="deferred",
    map_index=0,
    batch_id="batch_1",
    final_fields={"status": "completed", "output_file_id": "file-1"},
    state="success",
)
XCOMS = {"batch_id": "batch_1", "status": "completed", "output_file_id": "file-1", "return_value": {"id": "batch_1"}}
RIGHT: dict[str, Any] = {"state": "success", "ends": ["success"], "errors": [], "xcoms": XCOMS}


def check(at: float, status: int | None = 200) -> ReceivedRequest:
    return ReceivedRequest(
        method="GET", path=PATH, query={}, headers={}, params={}, body=b"", peer="", at=at, status=status
    )


def test_a_wait_that_ended_as_expected_is_no_loss() -> None:
    assert list(wrong_outcomes([WAIT], {("deferred", 0): RIGHT})) == []
    assert list(wrong_outcomes([WAIT], {("deferred", 0): {**RIGHT, "ends": ["up_for_retry", "success"]}})) == []


@pytest.mark.parametrize(
    ("wrong", "loss"),
    [
        ({"state": "failed"}, "deferred[0] is failed and should be success ([])"),
        ({"ends": []}, "deferred[0] should have ended once as success, and ended as []"),
        (
            {"ends": ["success", "success"]},
            "deferred[0] should have ended once as success, and ended as ['success', 'success']",
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
def test_a_wait_that_ended_otherwise_is_a_loss(wrong: dict[str, Any], loss: str) -> None:
    assert list(wrong_outcomes([WAIT], {("deferred", 0): {**RIGHT, **wrong}})) == [loss]


@pytest.mark.parametrize(
    "checks",
    [
        pytest.param([check(0), check(15), check(31)], id="in time"),
        pytest.param([check(0), check(12), check(27)], id="a little early"),
        pytest.param([check(0), check(15, 502), check(16, None), check(31)], id="one more after an unusable response"),
        pytest.param([check(0), check(15, 401), check(15.1), check(31)], id="one more after a refused key"),
        pytest.param([check(0), check(15, 429), check(35)], id="after the rate limit"),
    ],
)
def test_checks_at_the_right_times_are_no_loss(checks: list[ReceivedRequest]) -> None:
    assert list(early_checks(checks, interval=15, tries={})) == []


@pytest.mark.parametrize(
    ("checks", "loss"),
    [
        ([check(0), check(11)], "was checked 11.00 s after a response 200"),
        ([check(0), check(15, 429), check(31)], "was checked 16.00 s after a response 429"),
        ([check(0, 502), check(1, 502), check(2)], "was checked 1.00 s after a response 502"),
    ],
)
def test_an_early_check_is_a_loss(checks: list[ReceivedRequest], loss: str) -> None:
    assert list(early_checks(checks, interval=15, tries={})) == [f"{PATH} {loss}"]


def test_each_new_try_may_check_at_once() -> None:
    checks = [check(0), check(15), check(16), check(17)]

    assert list(early_checks(checks, interval=15, tries={PATH: 3})) == []
    assert len(list(early_checks(checks, interval=15, tries={PATH: 2}))) == 1


def test_an_end_that_the_list_has_shown_may_be_confirmed_at_once() -> None:
    page = replace(check(17), path="/api/v1/batches/")

    assert list(early_checks([check(0), check(15), page, check(18)], interval=15, tries={})) == []
    assert len(list(early_checks([check(0), check(15), page, check(18), check(40)], interval=15, tries={}))) == 1
    assert len(list(early_checks([check(0), check(15), check(18)], interval=15, tries={}))) == 1


def test_a_wait_that_was_marked_failed_and_continued_is_a_loss() -> None:
    wait = Wait(
        task_id="marked", map_index=0, batch_id="batch_1", final_fields={}, state="failed", ended_by_hand_at=100
    )
    failed = {("marked", 0): {"state": "failed", "xcoms": {}}}

    assert list(wrong_ends_by_hand([wait], failed, [check(99)])) == []
    assert list(wrong_ends_by_hand([wait], failed, [check(99), check(115)])) == [
        "marked was marked failed, and its batch was checked later"
    ]
    assert list(wrong_ends_by_hand([wait], {("marked", 0): RIGHT}, [check(99)])) == [
        f"marked was marked failed, is success and pushed {XCOMS}"
    ]


def test_the_stalls_of_event_loops_are_read_from_the_logs(tmp_path: Path) -> None:
    log = tmp_path / "triggerer.log"
    log.write_text(
        "info Triggerer's async thread was blocked for 0.25 seconds, likely by a badly-written trigger.\n"
        "A step of the event loop took 0.071 s of processor time: <Handle ...>\n"
        "info Triggerer's async thread was blocked for 1.50 seconds, likely by a badly-written trigger.\n"
    )

    assert blocked_seconds([log]) == [0.25, 1.5]
    assert long_step_seconds([log]) == [0.071]
