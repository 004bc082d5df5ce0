"""The language model of the sandbox: it answers each request with an echo of its last message, at once and for free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

FAILING_MODEL = "sandbox-fails"
"""A request for this model fails, so that users can test how their DAGs handle the error file."""


def run_line(line: bytes, position: int) -> tuple[bool, dict[str, Any]]:
    """Run one request of an input file.

    :param line: the request
    :param position: its position in the file from 0, from which the ids are made
    :return: whether the request succeeded, and its row for the output file or for the error file
    """
    request = json.loads(line)
    failed = request["body"].get("model") == FAILING_MODEL
    body = (
        {"error": {"message": f"The model {FAILING_MODEL} always fails.", "type": "server_error"}}
        if failed
        else _answer(request["url"], request["body"], position)
    )
    response = {"status_code": 500 if failed else 200, "request_id": f"req_{position:06d}", "body": body}
    return not failed, {
        "id": f"batch_req_{position:06d}",
        "custom_id": request["custom_id"],
        "response": response,
        "error": None,
    }


def _answer(url: str, body: Mapping[str, Any], position: int) -> dict[str, Any]:
    text = _last_message(body)
    tokens = len(text.split())
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}
    model_and_usage = {"model": body.get("model"), "usage": usage}
    if url == "/v1/embeddings":
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        vector = [byte / 255 for byte in digest[:8]]
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": vector}],
            **model_and_usage,
        }
    message = {"role": "assistant", "content": f"echo: {text}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": f"chatcmpl-{position:06d}", "object": "chat.completion", "choices": [choice], **model_and_usage}


def _last_message(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], Mapping):
        return str(messages[-1].get("content", ""))
    return str(body.get("input", body.get("prompt", "")))
