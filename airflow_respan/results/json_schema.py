"""JSON schemas: whether a value fits one, and the strict form that providers accept for answers. No I/O, no Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from airflow_respan.api.foreign_text import one_line

MAX_SHOWN_FAULTS = 3
"""A message names at most so many faults of an answer."""

MAX_RULE_LENGTH = 100
"""Characters of the part of a schema that an answer does not fit, in a message."""

Schema = Mapping[str, Any]

_STATES_TYPE = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties"})
_KEPT = ("type", "enum", "title")
_DEFINITIONS = ("$defs", "definitions")
_NOTED = (
    *("format", "pattern", "minLength", "maxLength"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minItems", "maxItems", "uniqueItems"),
)
"""Keywords that some providers refuse. The model reads them in the description."""

_REFUSED = ("patternProperties", "prefixItems", "not", "if", "dependentRequired", "dependentSchemas", "dependencies")
"""Keywords that providers refuse, and that cannot be left out without a change of the meaning."""

_MAX_REFERENCES = 20


def make_check(schema: Schema) -> Callable[[object], list[str]]:
    """Return a function that checks a value, and returns its faults as texts, which quote nothing of the value.

    :param schema: the schema
    :raises ValueError: if it is not a JSON schema, or leads to another file
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing.jsonschema import EMPTY_REGISTRY

    validator_class = validator_for(schema, default=Draft202012Validator)
    try:
        validator_class.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{error.json_path}: {error.message}") from None
    _check_references(schema)
    validator = validator_class(schema, registry=EMPTY_REGISTRY)  # without it, references are fetched from the network

    def check(value: object) -> list[str]:
        return [_describe(error) for error in islice(validator.iter_errors(value), MAX_SHOWN_FAULTS)]

    return check


def make_strict(schema: Schema) -> dict[str, Any]:
    """Return a schema in the form that providers accept with ``strict``: what fits it fits the schema, too.

    Every object has all its properties and no others. Limits of length, size and format move into the descriptions,
    because not every provider accepts them as keywords. Defaults and other annotations are left out.

    :param schema: the schema, whose root is an object
    :raises ValueError: if it has no such form; the message names the place
    """
    _check_references(schema)
    root = schema
    for _ in range(_MAX_REFERENCES):
        if "$ref" not in root:
            break
        root = _resolve(schema, root["$ref"])
    if not _is_object(root):
        raise ValueError(
            "the root of the schema is not an object, which providers require. Put the answer into a field of a model"
        )
    strict = _strict(root, "$")
    for name in _DEFINITIONS:
        if isinstance(definitions := schema.get(name), Mapping):
            strict[name] = {key: _strict(each, f"$.{name}.{key}") for key, each in definitions.items()}
    _check_references(strict)
    return strict


def _describe(error: Any) -> str:
    # error.message quotes the value, except if something is missing.
    if error.validator == "required":
        return f"{error.json_path}: {error.message}"
    rule = json.dumps({error.validator: error.validator_value}, default=str)
    return f"{error.json_path} does not fit {one_line(rule, max_length=MAX_RULE_LENGTH)}"


def _strict(schema: Any, place: str) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or not _STATES_TYPE & schema.keys():
        raise ValueError(f"{place} may be anything, so a provider cannot be told its shape. Give it a type")
    if refused := [name for name in _REFUSED if name in schema]:
        raise ValueError(f"{place} has {refused[0]!r}, which providers do not accept")
    strict = {name: schema[name] for name in _KEPT if name in schema}
    if "const" in schema:
        strict["enum"] = [schema["const"]]
    if alternatives := _alternatives(schema, place):
        strict["anyOf"] = alternatives
    if _is_object(schema):
        strict |= _strict_object(schema, place)
    if "array" in _types(schema):
        strict["items"] = _strict(schema.get("items"), f"{place}[]")
    if description := _description(schema):
        strict["description"] = description
    if "$ref" not in schema:
        return strict
    if strict.keys() - {"title", "description"}:
        raise ValueError(f"{place} has rules beside '$ref', which providers do not accept")
    reference = {"$ref": schema["$ref"]}
    return {**strict, "anyOf": [reference]} if strict else reference  # nothing may stand beside a reference


def _strict_object(schema: Schema, place: str) -> dict[str, Any]:
    properties = schema.get("properties")
    if schema.get("additionalProperties", False) is not False or not properties:
        raise ValueError(
            f"{place} is an object with any keys, which providers do not accept. Name its fields, or make it a list of "
            "objects with a key and a value"
        )
    return {
        "properties": {name: _strict(each, f"{place}.{name}") for name, each in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def _alternatives(schema: Schema, place: str) -> list[dict[str, Any]]:
    found = [name for name in ("anyOf", "oneOf", "allOf") if name in schema]
    if len(found) > 1 or ("allOf" in found and len(schema["allOf"]) != 1):
        raise ValueError(f"{place} has {found[-1]!r}, which providers do not accept")
    return [_strict(each, f"{place}.{name}[{number}]") for name in found for number, each in enumerate(schema[name])]


def _description(schema: Schema) -> str:
    notes = "; ".join(f"{name}: {json.dumps(schema[name])}" for name in _NOTED if name in schema)
    described = str(schema.get("description", ""))
    return " ".join(filter(None, (described, f"({notes})" if notes else "")))


def _is_object(schema: Schema) -> bool:
    return "object" in _types(schema) or "properties" in schema


def _types(schema: Schema) -> list[str]:
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else list(named)


def _check_references(schema: Schema) -> None:
    for reference in _references(schema):
        _resolve(schema, reference)


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _resolve(schema: Schema, reference: str) -> Schema:
    """Return what a reference names. References to other documents are not followed."""
    path = reference.removeprefix("#")
    found: Any = schema if reference in ("#", f"#{path}") and path[:1] in ("", "/") else None
    for part in path.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise ValueError(f"the reference {reference!r} names nothing in the schema")
    return found
