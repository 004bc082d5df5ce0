"""The sandbox's language model: deterministic, instant, free. Checks and answers the lines of a batch's input file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

FAILING_MODEL = "sandbox-fails"
"""A request for this model fails, so that a DAG's handling of the error file can be tried."""


def problem(line: bytes, endpoint: str, seen: set[str]) -> tuple[str, str, str | None] | None:
    """Find what a provider would refuse in one line of an input file: code, message, and the key at fault.

    :param line: the line
    :param endpoint: the batch's
    :param seen: the ``custom_id`` of the lines before; this one's is added
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    if not isinstance(request, Mapping):
        return "invalid_request", "This line is no JSON object.", None
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", Mapping)):
        if not isinstance(request.get(name), kind):
            return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
    custom_id = request["custom_id"]
    if custom_id in seen:
        return "duplicate_custom_id", f"The custom_id {custom_id!r} is used by another line.", "custom_id"
    seen.add(custom_id)
    for name, code, right in (("method", "invalid_method", "POST"), ("url", "url_mismatch", endpoint)):
        if request[name] != right:
            return code, f"The {name} {request[name]!r} is not the batch's {right!r}.", name
    return None


def run(line: bytes, position: int) -> tuple[bool, dict[str, Any]]:
    """Run one line of an input file.

    :param line: the request
    :param position: its place in the file, which makes its ids
    :return: whether it succeeded, and the line for the output file or for the error file
    """
    request = json.loads(line)
    name = f"batch_req_{position:06d}"
    failed = request["body"].get("model") == FAILING_MODEL
    status = 500 if failed else 200
    body = (
        {"error": {"message": f"The model {FAILING_MODEL} always fails.", "type": "server_error"}}
        if failed
        else _answer(request["url"], request["body"], position)
    )
    return not failed, {
        "id": name,
        "custom_id": request["custom_id"],
        "response": {"status_code": status, "request_id": f"req_{position:06d}", "body": body},
        "error": None,
    }


def _answer(url: str, body: Mapping[str, Any], position: int) -> dict[str, Any]:
    said = _last_words(body)
    tokens = len(said.split())
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}
    common = {"model": body.get("model"), "usage": usage}
    if url == "/v1/embeddings":
        digest = hashlib.sha256(said.encode(errors="surrogatepass")).digest()
        vector = [byte / 255 for byte in digest[:8]]
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": vector}],
            **common,
        }
    message = {"role": "assistant", "content": f"echo: {said}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": f"chatcmpl-{position:06d}", "object": "chat.completion", "choices": [choice], **common}


def _last_words(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], Mapping):
        return str(messages[-1].get("content", ""))
    return str(body.get("input", body.get("prompt", "")))
