"""The field with which a request states the type of its answer. No I/O, no Airflow.

Sources: the OpenAI API for the two fields, and OpenAI's and Azure's pages on structured outputs for the schemas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_respan.results.json_schema import make_strict
from airflow_respan.results.output_type import VECTOR, VECTORS, load_output_type, schema_of, type_name

MAX_NAME_LENGTH = 64

_CHAT, _RESPONSES, _EMBEDDINGS = "/chat/completions", "/responses", "/embeddings"


def response_format(output_type: Any, endpoint: str) -> dict[str, Any]:
    """Return what to set in the body of each request, so that its answer has a type.

    If a request to ``/v1/responses`` has other fields in ``text``, add ``format`` to them.

    :param output_type: see :func:`~airflow_respan.results.answers`
    :param endpoint: the endpoint of the requests, such as ``/v1/chat/completions``
    :return: ``{"response_format": ...}`` for chat completions, ``{"text": {"format": ...}}`` for responses; empty for
        what has no schema: ``str``, ``dict``, and the vectors of embeddings
    :raises ValueError: if a request to the endpoint cannot state a type, or a provider would refuse its schema
    """
    loaded = load_output_type(output_type)
    path = endpoint.rstrip("/")
    if loaded in (str, dict) or (loaded in (VECTOR, VECTORS) and path.endswith(_EMBEDDINGS)):
        return {}
    if not path.endswith((_CHAT, _RESPONSES)):
        raise ValueError(
            f"A request to {endpoint!r} cannot state the type of its answer, so output_type cannot be "
            f"{type_name(loaded)}. Only requests to /v1{_CHAT} and /v1{_RESPONSES} can."
        )
    schema = schema_of(loaded)
    try:
        strict = make_strict(schema)
    except ValueError as error:
        raise ValueError(f"Providers would refuse output_type, which is {type_name(loaded)}: {error}.") from error
    described = {"name": _format_name(loaded), "strict": True, "schema": strict}
    if path.endswith(_CHAT):
        return {"response_format": {"type": "json_schema", "json_schema": described}}
    return {"text": {"format": {"type": "json_schema", **described}}}


def _format_name(output_type: Any) -> str:
    name = output_type.get("title") if isinstance(output_type, Mapping) else type_name(output_type)
    return re.sub(r"\W+", "_", str(name or ""), flags=re.ASCII).strip("_")[:MAX_NAME_LENGTH] or "answer"
