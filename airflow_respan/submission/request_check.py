"""What is wrong with one request of an input, and how a right request looks. No I/O, no Airflow.

The texts name types, and the keys that lead to a value. They never quote a body, which may be confidential.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_respan.api.foreign_text import one_line
from airflow_respan.jsonl import describe_kind

MAX_QUOTE_LENGTH = 100
"""Characters of an id, a method, a URL, or the path of keys."""

_MAX_KEY_LENGTH = 40
_MAX_DEPTH = 100
"""A value that is nested more deeply cannot be encoded, or contains itself."""

_BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "..."}]},
    "/v1/completions": {"model": "gpt-3.5-turbo-instruct", "prompt": "..."},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "..."},
    "/v1/responses": {"model": "gpt-4o-mini", "input": "..."},
}
"""The smallest body for each endpoint whose requests must name a model. For others, such as ``/v1/moderations``, the
service has a default, or it is not known whether it needs one."""

_ENVELOPE = {"custom_id", "method", "url", "body"}
_KEYS_OF_BODIES = {"model", "messages", "input", "prompt"}
_BOM = "\ufeff"
_HALF_CHARACTER = "half a character (a lone surrogate), which UTF-8 does not have"


def example_request(endpoint: str) -> str:
    """Return a request for an endpoint as JSON, for error messages."""
    body = _BODIES.get(endpoint, {"model": "..."})
    return json.dumps({"custom_id": "request-1", "method": "POST", "url": endpoint, "body": body})


def encode_request(request: object) -> bytes:
    """Return a request that is a dict as compact JSON.

    :raises ValueError: if it is not a dict, or has a value that JSON does not have; the message says where
    """
    if not isinstance(request, Mapping):
        raise ValueError(f"{_describe_item(request)}, not a dict")
    try:
        text = json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_to_dict)
        return text.encode()
    except (TypeError, ValueError, OverflowError, RecursionError):  # its message may quote the request
        raise ValueError(_find_unencodable(request, "") or "a value that JSON cannot encode") from None


def find_problems(request: Mapping[str, Any], *, endpoint: str) -> Iterator[str]:
    """Yield the reasons for which a provider would refuse a request, perhaps only after hours.

    Whether its ``custom_id`` is unique is not checked here.

    :param request: the request
    :param endpoint: the endpoint of the batch
    """
    if not _ENVELOPE & request.keys():
        if {"role", "content"} <= request.keys():
            yield "a message with 'role' and 'content', not a request: put it into the 'messages' of a 'body'"
            return
        if _KEYS_OF_BODIES & request.keys():
            yield "the body of a request, not the whole request: put it under the key 'body'"
            return
    if problem := _custom_id_problem(request):
        yield problem
    method, url = request.get("method"), request.get("url")
    if method != "POST":
        yield f"'method' is {_quoted(request, 'method')}: it must be 'POST'"
    if url != endpoint:
        yield f"'url' is {_quoted(request, 'url')}: it must be {endpoint!r}, the endpoint of the batch"
    body = request.get("body")
    if isinstance(body, Mapping):
        yield from _body_problems(body, endpoint=endpoint)
    else:
        yield f"'body' is {_kind(request, 'body')}: it must be an object"


def _custom_id_problem(request: Mapping[str, Any]) -> str | None:
    custom_id = request.get("custom_id")
    if isinstance(custom_id, str) and custom_id.strip():
        return None
    if f"{_BOM}custom_id" in request:
        return "'custom_id' has a byte order mark before it: read its file with the encoding 'utf-8-sig'"
    return f"'custom_id' is {_kind(request, 'custom_id')}: it must be a text that no other request has"


def _body_problems(body: Mapping[str, Any], *, endpoint: str) -> Iterator[str]:
    if body.get("stream"):
        yield "'body.stream' is set: a batch has no streams, so leave it out"
    model = body.get("model")
    # A stored prompt names its model.
    is_needed = endpoint in _BODIES and not isinstance(body.get("prompt"), Mapping)
    if (model is not None or is_needed) and not (isinstance(model, str) and model.strip()):
        yield f"'body.model' is {_kind(body, 'model')}: it must be the name of a model"


def _kind(data: Mapping[str, Any], name: str) -> str:
    """Return what stands under a key, without its value."""
    if name not in data:
        return "missing"
    value = data[name]
    return "an empty text" if isinstance(value, str) and not value.strip() else describe_kind(value)


def _quoted(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if isinstance(value, str) and value.strip():
        return repr(one_line(value, max_length=MAX_QUOTE_LENGTH))
    return _kind(data, name)


def _describe_item(item: object) -> str:
    """Return what an item is that is not a dict."""
    if isinstance(item, str) and item.lstrip(_BOM + " \n").startswith("{"):
        return "a text of JSON (decode it with json.loads)"
    if isinstance(item, list) and item and all(isinstance(each, Mapping) and "role" in each for each in item):
        return "a list of messages"
    return describe_kind(item)


def _to_dict(value: object) -> dict[Any, Any]:
    """Return a mapping that is not a dict as a dict; called by the encoder of JSON for other types."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _find_unencodable(value: object, path: str, *, depth: int = 0) -> str | None:
    """Return where the first value is that JSON does not have, and its type; None if there is no such value."""
    if fault := _fault_of(value, depth=depth):
        place = f"'{one_line(path, max_length=MAX_QUOTE_LENGTH)}'" if path else "it"
        return f"{place} {fault}"
    children = (_find_unencodable(child, place, depth=depth + 1) for child, place in _children(value, path))
    return next(filter(None, children), None)


def _fault_of(value: object, *, depth: int) -> str | None:
    """Return why JSON does not have a value, apart from the values in it."""
    if depth > _MAX_DEPTH:
        return "is nested too deeply, or contains itself"
    if isinstance(value, str):
        return None if _is_utf8(value) else f"has {_HALF_CHARACTER}"
    if isinstance(value, float) and not math.isfinite(value):
        return "is NaN or infinite, which JSON does not have"
    if isinstance(value, Mapping):
        kinds = (describe_kind(key) for key in value if not isinstance(key, str | int | float | None))
        halves = (key for key in value if isinstance(key, str) and not _is_utf8(key))
        if kind := next(kinds, None):
            return f"has a key that is {kind}: JSON has only texts as keys"
        return f"has a key with {_HALF_CHARACTER}" if next(halves, None) else None
    is_known = isinstance(value, int | float | list | tuple | None)
    advice = "which JSON does not have: convert it to a text, number, list or dict"
    return None if is_known else f"is {describe_kind(value)}, {advice}"


def _children(value: object, path: str) -> Iterator[tuple[object, str]]:
    if isinstance(value, Mapping):
        yield from ((item, _join(path, key)) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from ((item, f"{path}[{index}]") for index, item in enumerate(value))


def _join(path: str, key: object) -> str:
    text = str(key)
    name = text if len(text) <= _MAX_KEY_LENGTH else f"{text[:_MAX_KEY_LENGTH]}..."
    if not text.isidentifier():
        return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{path}.{name}" if path else name


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
