"""What a request states so that its answer has a type, in the form that providers accept with ``strict``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from airflow_respan.results.response_format import response_format

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


class Place(BaseModel):
    """Where it is."""

    city: str = Field(description="without the country", max_length=20)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int = Field(ge=0)


class Ticket(BaseModel):
    default: int = 3  # the name of a keyword
    at: datetime
    home: Place = Field(description="of the customer")
    work: Place | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    parts: list[Ticket] = []


def schema_of(output_type: Any) -> dict[str, Any]:
    schema: dict[str, Any] = response_format(output_type, CHAT)["response_format"]["json_schema"]["schema"]
    return schema


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("endpoint", [CHAT, "/v1/chat/completions/", "/api/v1/chat/completions", "/chat/completions"])
def test_a_chat_completion_states_a_response_format(endpoint: str) -> None:
    assert response_format({"title": "A place", **PLACE}, endpoint) == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "A_place", "strict": True, "schema": {"title": "A place", **PLACE}},
        }
    }


def test_a_response_states_the_format_of_its_text() -> None:
    assert response_format(PLACE, RESPONSES) == {
        "text": {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": PLACE}}
    }


@pytest.mark.parametrize("output_type", [Place, f"{__name__}:Place"])
def test_a_model_is_stated_by_its_schema(output_type: Any) -> None:
    described = response_format(output_type, CHAT)["response_format"]["json_schema"]

    assert described["name"] == "Place"
    assert described["schema"] == {
        "title": "Place",
        "description": "Where it is.",
        "type": "object",
        "properties": {
            "city": {"title": "City", "type": "string", "description": "without the country (maxLength: 20)"}
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_a_model_in_a_model_keeps_the_rules_of_strict_schemas() -> None:
    schema = schema_of(Ticket)

    assert schema["properties"].items() >= {"default": {"title": "Default", "type": "integer"}}.items()
    assert schema["properties"]["at"]["description"] == '(format: "date-time")'
    reference = {"$ref": "#/$defs/Place"}
    assert schema["properties"]["home"] == {"description": "of the customer", "anyOf": [reference]}
    assert schema["properties"]["work"] == {"anyOf": [reference, {"type": "null"}]}
    assert schema["properties"]["pet"]["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert schema["$defs"]["Cat"]["properties"]["kind"]["enum"] == ["cat"]
    assert schema["properties"]["parts"]["items"] == {"$ref": "#/$defs/Ticket"}
    found = list(objects(schema))
    assert len(found) == 5
    for each in found:
        assert each["required"] == list(each["properties"])
        assert each["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_an_answer_that_fits_the_stated_schema_fits_the_type() -> None:
    answer = {
        "default": 1,
        "at": "2026-11-27T07:00:00Z",
        "home": {"city": "Bern"},
        "work": None,
        "pet": {"kind": "dog", "age": 3},
        "parts": [],
    }

    jsonschema.validate(answer, schema_of(Ticket))

    assert TypeAdapter(Ticket).validate_python(answer).pet == Dog(kind="dog", age=3)


def test_a_schema_loses_what_a_request_cannot_state_and_no_rule_of_shape() -> None:
    assert schema_of(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": ["object", "null"],
            "properties": {
                "amount": {"type": "number", "exclusiveMinimum": 0, "default": 1, "examples": [2], "title": "Amount"},
                "kind": {"const": 1},
                "either": {"oneOf": [{"type": "string"}, {"allOf": [{"type": "null"}]}]},
                "list": {"type": "array", "items": {"$ref": "#/definitions/a~1b"}, "maxItems": 3},
            },
            "definitions": {"a/b": {"enum": ["a", "b"]}},
            "x-owner": "us",
        }
    ) == {
        "type": ["object", "null"],
        "properties": {
            "amount": {"type": "number", "title": "Amount", "description": "(exclusiveMinimum: 0)"},
            "kind": {"enum": [1]},
            "either": {"anyOf": [{"type": "string"}, {"anyOf": [{"type": "null"}]}]},
            "list": {"type": "array", "items": {"$ref": "#/definitions/a~1b"}, "description": "(maxItems: 3)"},
        },
        "required": ["amount", "kind", "either", "list"],
        "additionalProperties": False,
        "definitions": {"a/b": {"enum": ["a", "b"]}},
    }


@pytest.mark.parametrize(
    ("output_type", "endpoint"),
    [(str, CHAT), (dict, RESPONSES), (str, "/v1/completions"), (dict, "/v1/embeddings")]
    + [(vectors, "/v1/embeddings") for vectors in (list[float], list[list[float]])],
)
def test_a_request_states_nothing_for_a_type_without_schema(output_type: Any, endpoint: str) -> None:
    assert response_format(output_type, endpoint) == {}


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    city: str


def in_field(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"field": schema}}


ANY_KEYS = (
    "is an object with any keys, which providers do not accept. Name its fields, or make it a list of objects with a "
    "key and a value."
)
NO_OBJECT = "the root of the schema is not an object, which providers require. Put the answer into a field of a model."
ANYTHING = "may be anything, so a provider cannot be told its shape. Give it a type."


@pytest.mark.parametrize(
    ("output_type", "name", "reason"),
    [
        (Open, "Open", f"$ {ANY_KEYS}"),
        (in_field({"type": "object"}), "a JSON schema", f"$.field {ANY_KEYS}"),
        (
            in_field({"type": "object", "additionalProperties": {"type": "string"}}),
            "a JSON schema",
            f"$.field {ANY_KEYS}",
        ),
        (in_field(True), "a JSON schema", f"$.field {ANYTHING}"),
        (in_field({"type": "array"}), "a JSON schema", f"$.field[] {ANYTHING}"),
        (in_field({"anyOf": [{}]}), "a JSON schema", f"$.field.anyOf[0] {ANYTHING}"),
        (
            in_field({"allOf": [{"type": "string"}, {"enum": ["a"]}]}),
            "a JSON schema",
            "$.field has 'allOf', which providers do not accept.",
        ),
        (
            in_field({"type": "string", "not": {"const": "a"}}),
            "a JSON schema",
            "$.field has 'not', which providers do not accept.",
        ),
        (
            in_field({"$ref": "#", "enum": ["a"]}),
            "a JSON schema",
            "$.field has rules beside '$ref', which providers do not accept.",
        ),
        (list[int], "list[int]", NO_OBJECT),
        (list[float], "list[float]", NO_OBJECT),
        (Place | None, f"{__name__}.Place | None", NO_OBJECT),
        ({"$ref": "#"}, "a JSON schema", NO_OBJECT),
    ],
)
def test_a_type_that_providers_would_refuse_is_refused_with_its_place(output_type: Any, name: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        response_format(output_type, CHAT)

    assert str(refused.value) == f"Providers would refuse output_type, which is {name}: {reason}"


class Callback(BaseModel):
    call: Callable[[], None]


def test_a_type_without_a_schema_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^output_type is Callback, which has no JSON schema: "):
        response_format(Callback, CHAT)


def test_an_invalid_schema_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^output_type is a JSON schema with an error: \$\.properties: \[\] is not "):
        response_format({"type": "object", "properties": []}, CHAT)


@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/embeddings", "/v1/unknown"])
def test_an_endpoint_that_cannot_be_told_a_type_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError) as refused:
        response_format(Place, endpoint)

    assert str(refused.value) == (
        f"A request to '{endpoint}' cannot state the type of its answer, so output_type cannot be Place. Only requests "
        "to /v1/chat/completions and /v1/responses can."
    )
