from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.api.foreign_text import one_line
from tests.properties import strategies


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("two\r\nlines\u2028three  words ", "two lines three words"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("right-to-left \u202e, half a pair \ud83d", "right-to-left ?, half a pair ?"),
        ("x" * 41, "x" * 36 + " ..."),
        ("x" * 40, "x" * 40),
        (" " * 1_000_000 + "x", " ..."),
    ],
)
def test_a_text_becomes_one_printable_line_of_limited_length(text: str, line: str) -> None:
    assert one_line(text, max_length=40) == line


@given(st.one_of(strategies.texts, st.text(" x\n", min_size=5)), st.integers(5, 60))
def test_a_line_stays_as_it_is(text: str, max_length: int) -> None:
    line = one_line(text, max_length=max_length)

    assert line.isprintable()
    assert len(line) <= max_length
    assert one_line(line, max_length=max_length) == line
