"""The sandbox answers requests that state the type of their answer with an instance of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import validate

from airflow_respan.sandbox.instance import make_instance, structured_answer

PART = {"type": "object", "properties": {"n": {"type": ["integer", "null"]}, "next": {"$ref": "#/$defs/part"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"enum": ["a", "b"]},
        {"const": 3},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "array", "items": {"type": "number"}, "minItems": 2},
        {"properties": {"a": {"type": "boolean"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}},
        {"$ref": "#/$defs/part", "$defs": {"part": {**PART, "properties": {"n": {"type": "integer"}}}}},
    ],
)
def test_an_instance_fits_its_schema(schema: dict[str, Any]) -> None:
    validate(make_instance(schema, schema), schema)


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/part", "$defs": {"part": PART}}, {"$ref": "#/nowhere"}, {}, 7])
def test_a_schema_without_an_end_or_of_an_unknown_kind_gives_some_json(schema: Any) -> None:
    assert json.dumps(make_instance(schema, schema if isinstance(schema, dict) else {}))


@pytest.mark.parametrize(
    "body", [{}, {"response_format": {"type": "json_object"}}, {"text": {}}, {"text": "x"}, {"response_format": 3}]
)
def test_a_request_that_states_no_schema_gets_no_instance(body: dict[str, Any]) -> None:
    assert structured_answer(body) is None
