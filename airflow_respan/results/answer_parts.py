"""What the body of a response has besides its text: a refusal, tool calls, vectors. No I/O, no Airflow."""

from __future__ import annotations

import base64
import json
import sys
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_respan.api.counts import read_count


def find_refusal(body: Mapping[str, Any]) -> str | None:
    """Return the text with which a model refused to answer; None if it did not.

    :param body: the body of a chat completion or of a response
    """
    texts = [message.get("refusal") for message in _messages(body)]
    texts += [part.get("refusal") for message in _messages(body) for part in _items(message.get("content"))]
    return next((text for text in texts if isinstance(text, str) and text.strip()), None)


def find_tool_arguments(body: Mapping[str, Any]) -> list[str]:
    """Return the arguments of each function that the model wants to be called, as JSON.

    :param body: the body of a chat completion or of a response
    """
    calls = [call.get("function") for message in _messages(body) for call in _items(message.get("tool_calls"))]
    calls += [item for item in _items(body.get("output")) if item.get("type") == "function_call"]
    arguments = (call.get("arguments") for call in calls if isinstance(call, Mapping))
    # Some services send an object instead of its text.
    return [found if isinstance(found, str) else json.dumps(found) for found in arguments]


def is_cut_off(body: Mapping[str, Any]) -> bool:
    """Return whether the first answer of a chat completion ends at its maximum length, and so may not be whole."""
    return next((choice.get("finish_reason") for choice in _items(body.get("choices"))), None) == "length"


def find_vectors(body: Mapping[str, Any]) -> list[Any]:
    """Return what the body has in the place of each vector, in the order of the texts; empty if it has no embeddings.

    :param body: the body of any response
    """
    items = list(_items(body.get("data")))
    if not any("embedding" in item for item in items):
        return []
    indexes = [read_count(item.get("index")) for item in items]
    if None not in indexes:
        items = [item for _index, item in sorted(zip(indexes, items, strict=True), key=lambda pair: pair[0] or 0)]
    return [item.get("embedding") for item in items]


def to_floats(vector: object) -> list[float]:
    """Return a vector as numbers.

    :param vector: a list of numbers, or the same as float32 in base64, which the API calls ``encoding_format``
    :raises ValueError: if it is anything else; the message completes "The answer ..."
    """
    if not isinstance(vector, list | str):
        raise ValueError("has no list of numbers where the vector should be")
    try:
        if isinstance(vector, list):
            return array("d", vector).tolist()
        floats = array("f", base64.b64decode(vector, validate=True))
    except (TypeError, ValueError, OverflowError):
        raise ValueError("has a vector that is not a list of numbers") from None
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()


def _messages(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the message of the first choice (chat), or all messages of the output (Responses API)."""
    for choice in _items(body.get("choices")):
        message = choice.get("message")
        if isinstance(message, Mapping):
            yield message
        return
    yield from (item for item in _items(body.get("output")) if item.get("type") == "message")


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())
