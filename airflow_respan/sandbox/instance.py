"""An instance of a JSON schema, for requests that state the type of their answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLAIN: Mapping[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}
_MAX_DEPTH = 20
"""The depth at which an instance of a schema that contains itself ends."""


def structured_answer(body: Mapping[str, Any]) -> str | None:
    """Return an answer of the type that a request states, as JSON; None if it states none.

    :param body: the body of a request to ``/v1/chat/completions`` or ``/v1/responses``
    """
    chat, text = body.get("response_format"), body.get("text")
    stated = chat.get("json_schema") if isinstance(chat, Mapping) else None
    if stated is None and isinstance(text, Mapping):
        stated = text.get("format")
    schema = stated.get("schema") if isinstance(stated, Mapping) else None
    return json.dumps(make_instance(schema, schema)) if isinstance(schema, Mapping) else None


def make_instance(schema: Any, root: Mapping[str, Any], *, depth: int = 0) -> Any:
    """Return a simple value that fits a schema; a value of its parts, if the schema is of an unusual kind.

    :param schema: the schema, or a part of it
    :param root: the whole schema, in which ``$ref`` points
    :param depth: how deep the value is in the whole one
    """
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return make_instance(_follow(reference, root), root, depth=depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(name):
            return make_instance(options[-1 if depth else 0], root, depth=depth + 1)
    if options := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return options[0]
    return _instance_of_kind(schema, root, depth=depth + 1)


def _instance_of_kind(schema: Mapping[str, Any], root: Mapping[str, Any], *, depth: int) -> Any:
    kinds = schema.get("type")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    if kind == "array":
        return [make_instance(schema.get("items", {}), root, depth=depth)] * schema.get("minItems", 0)
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {name: make_instance(part, root, depth=depth) for name, part in properties.items()}
    return _PLAIN.get(str(kind))


def _follow(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for name in reference.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
