"""Makes requests of prompts: texts, lists of messages, or pairs of a ``custom_id`` and either. No I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_respan.jsonl import decode_object

_PROMPT_FIELDS = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
_OTHER_PROMPT_FIELD = "input"
"""The field of the prompt in the body, at ``/v1/responses``, ``/v1/embeddings`` and others."""

_TAKES_LISTS_OF_TEXTS = frozenset({"/v1/completions", "/v1/embeddings"})
"""Endpoints at which a list of two texts is a prompt."""

_REQUEST_FIELDS = frozenset({"custom_id", "method", "url", "body"})


def make_request(number: int, item: Any, *, endpoint: str, body: Mapping[str, Any] | None) -> Any:
    """Return a request for an item; return another item unchanged, which the check of the input refuses.

    :param number: the number of the item, from 1; it is the ``custom_id`` if the item has none
    :param item: a request as a dict or as a line of a file; a prompt; or a pair of a ``custom_id`` and a prompt
    :param endpoint: the endpoint of the batch
    :param body: fields for the body of each request, which its own fields replace
    """
    if isinstance(item, bytes):
        try:
            return _with_body(decode_object(item), body) if body else item
        except ValueError:
            return item
    if isinstance(item, Mapping):
        if not _REQUEST_FIELDS & item.keys():
            return item
        return _with_body({"custom_id": str(number), "method": "POST", "url": endpoint, **item}, body)
    custom_id, prompt = item if _is_pair(item, endpoint) else (number, item)
    if not isinstance(prompt, str | list) or not isinstance(custom_id, str | int):
        return item
    field = _PROMPT_FIELDS.get(endpoint, _OTHER_PROMPT_FIELD)
    is_chat_text = field == "messages" and isinstance(prompt, str)
    content = [{"role": "user", "content": prompt}] if is_chat_text else prompt
    request = {"custom_id": str(custom_id), "method": "POST", "url": endpoint, "body": {field: content}}
    return _with_body(request, body)


def _is_pair(item: Any, endpoint: str) -> bool:
    """Return whether an item is a pair of a ``custom_id`` and a prompt; XCom makes a list of a tuple."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        return False
    return isinstance(item, tuple) or (isinstance(item[0], str | int) and endpoint not in _TAKES_LISTS_OF_TEXTS)


def _with_body(request: Mapping[str, Any], body: Mapping[str, Any] | None) -> dict[str, Any]:
    own = request.get("body", {})
    if not body or not isinstance(own, Mapping):
        return dict(request)
    return {**request, "body": merge_body(body, own)}


def merge_body(fields: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request with further fields, which its own fields replace.

    Only ``text``, in which a request to ``/v1/responses`` has both a format and other options, is itself merged.

    :param fields: the fields for each request
    :param own: the body of the request
    """
    merged = {**fields, **own}
    texts = fields.get("text"), own.get("text")
    if all(isinstance(text, Mapping) for text in texts):
        merged["text"] = {**fields["text"], **own["text"]}
    return merged
