"""A large input is asked in little memory; ``python -m tests.rounds.large`` does it with 500 MB."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.rounds.large import measure


def test_a_large_input_is_asked_in_little_memory(tmp_path: Path) -> None:
    measured, paid = measure(tmp_path, 4000, 6000)

    assert measured["error"] == "None"
    manifest = measured["manifest"]
    assert manifest["counts"]["requests"] == 4000
    assert measured["grown_by"] < 12  # megabytes, half of the input
    rounds = [each["requests"] for each in manifest["rounds"]]
    assert sum(paid.values()) == sum(rounds)
    assert Counter(paid.values()) == {1: rounds[0] - rounds[1], 2: rounds[1] - rounds[2], 3: rounds[2]}
