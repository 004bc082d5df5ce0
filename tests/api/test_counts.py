"""Numbers of things as text."""

from __future__ import annotations

import pytest

from airflow_respan.api.counts import count_text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 batches in 0 rounds"), (1, "1 batch in 1 round"), (2, "2 batches in 2 rounds")]
)
def test_a_number_of_things_is_singular_for_one_only(count: int, text: str) -> None:
    assert f"{count_text(count, 'batch', 'batches')} in {count_text(count, 'round')}" == text
