"""A task of three rounds that gets a signal; ``python -m tests.rounds.kills`` tries all steps and random moments."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.rounds.asking import MODES
from tests.rounds.kills import run_once

CASES: dict[str, dict[str, Any]] = {
    "killed while it creates the first batches": {"step": 52},
    "killed later, and cleared": {"step": 201, "raises_max_tries": True},
    "killed at any moment": {"seconds": 0.4},
    "killed before its create was sent": {"step": 3, "only_creates": True},
    "terminated": {"step": 130, "number": signal.SIGTERM},
    "suspended beside the next attempt": {"step": 61, "number": signal.SIGSTOP},
    "suspended in the last moment before a create": {"step": 3, "only_creates": True, "number": signal.SIGSTOP},
    "killed with another limit of batches": {"step": 100, "options": {"max_active_batches": 1}},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_each_request_is_paid_once_in_each_round(mode: str, case: str) -> None:
    result = run_once(mode, **CASES[case])

    assert result.faults == []
    assert result.has_struck or "seconds" in CASES[case]
    assert result.cancelled == (case == "suspended in the last moment before a create")
