"""Whatever a row has in its body, it has a value of the type or an error, for every type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from airflow_respan.results.output_reader import OutputReader
from airflow_respan.results.row import RowError, parse_row
from tests.properties import strategies


class Part(BaseModel):
    city: str


NAMES = (
    *("choices", "message", "content", "refusal", "tool_calls", "function", "arguments", "finish_reason", "text"),
    *("output", "type", "data", "embedding", "index", "city"),
)
TEXTS = ("message", "output_text", "refusal", "function_call", '{"city": "Bern"}', "[0.5]", "AACAPw==", "```\n{}\n```")
bodies = st.recursive(
    st.one_of(strategies.scalars, st.sampled_from(TEXTS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=20,
)
READERS = {
    "text": OutputReader(str),
    "body": OutputReader(dict),
    "vector": OutputReader(list[float]),
    "vectors": OutputReader(list[list[float]]),
    "model": OutputReader(Part),
    "schema": OutputReader(Part.model_json_schema()),
}


@pytest.mark.parametrize("kind", READERS)
@given(body=st.dictionaries(st.sampled_from(NAMES), bodies, min_size=1, max_size=4))
def test_every_row_has_a_value_or_an_error(kind: str, body: dict[str, Any]) -> None:
    row = parse_row({"custom_id": "a", "response": {"status_code": 200, "body": body}})

    value, error = READERS[kind].read(row)

    assert (error is None) is (value is not None)
    assert error is None or (isinstance(error, RowError) and isinstance(error.message, str))
