"""The language model of the sandbox: it answers each request with an echo of its last message, at once and for free.

A request that states the type of its answer gets an answer of this type.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from airflow_respan.sandbox.instance import structured_answer
from airflow_respan.sandbox.outcomes import Outcome, OutcomeRule, parse_outcomes

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

FAILING_MODEL = "sandbox-fails"
"""A request for this model fails, so that users can test how their DAGs handle the error file."""

_ALWAYS_FAILS = Outcome.error(500, message=f"The model {FAILING_MODEL} always fails.")
_MARK = re.compile(r"\[sandbox:([^\]]*)\]")


def own_outcomes(body: Mapping[str, Any]) -> OutcomeRule | None:
    """Return the outcomes that a request chooses for itself, by its model or by ``[sandbox: 429, ok]`` in its prompt.

    :param body: the body of the request
    :return: the outcomes, or None if the request does not choose
    :raises ValueError: if the text in the prompt is not in the short form of outcomes
    """
    if body.get("model") == FAILING_MODEL:
        return lambda _custom_id, _attempt: _ALWAYS_FAILS
    prompt = _last_message(body)
    # A prompt may be long, and to search it for a fixed text is faster.
    found = _MARK.search(prompt) if "[sandbox:" in prompt else None
    return parse_outcomes(found[1]) if found else None


def make_row(request: Mapping[str, Any], position: int, outcome: Outcome) -> dict[str, Any]:
    """Run one request.

    :param request: the request
    :param position: its position in the file from 0, from which the ids are made
    :param outcome: how it ends
    :return: its row for the output file or for the error file
    """
    if not outcome.succeeded:
        return make_error_row(request["custom_id"], position, outcome)
    return _row(request["custom_id"], position, 200, _answer(request["url"], request["body"], position))


def make_error_row(custom_id: str, position: int, outcome: Outcome) -> dict[str, Any]:
    """Return the row of a request that failed, or that was not run.

    :param custom_id: the id of the request
    :param position: its position in the file from 0
    :param outcome: how it ended
    """
    error = outcome.make_error()
    if outcome.status is None:
        return {"id": _row_id(position), "custom_id": custom_id, "response": None, "error": error}
    return _row(custom_id, position, outcome.status, {"error": error})


def _row(custom_id: str, position: int, status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": f"req_{position:06d}", "body": body}
    return {"id": _row_id(position), "custom_id": custom_id, "response": response, "error": None}


def _row_id(position: int) -> str:
    return f"batch_req_{position:06d}"


def _answer(url: str, body: Mapping[str, Any], position: int) -> dict[str, Any]:
    """Return the body of a response, in the shape of its endpoint."""
    text = _last_message(body)
    answer, tokens = structured_answer(body) or f"echo: {text}", len(text.split())
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if url == "/v1/embeddings":
        data = [{"object": "embedding", "index": index, "embedding": v} for index, v in enumerate(_vectors(body))]
        return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}
    if url == "/v1/responses":
        content = {"type": "output_text", "text": answer, "annotations": []}
        message = {"type": "message", "role": "assistant", "status": "completed", "content": [content]}
        usage = {"input_tokens": tokens, "output_tokens": tokens, "total_tokens": 2 * tokens}
        shape = {"id": f"resp_{position:06d}", "object": "response", "status": "completed", "output": [message]}
    elif url == "/v1/completions":
        shape = {"id": f"cmpl-{position:06d}", "object": "text_completion", "choices": [{**choice, "text": answer}]}
    else:
        choice["message"] = {"role": "assistant", "content": answer}
        shape = {"id": f"chatcmpl-{position:06d}", "object": "chat.completion", "choices": [choice]}
    return {**shape, "model": body.get("model"), "usage": usage}


def _vectors(body: Mapping[str, Any]) -> list[list[float]]:
    """Return a vector of eight numbers for each text of a request for embeddings."""
    texts = body.get("input", "")
    found = texts if isinstance(texts, list) else [texts]
    digests = (hashlib.sha256(str(text).encode(errors="surrogatepass")).digest() for text in found)
    return [[byte / 255 for byte in digest[:8]] for digest in digests]


def _last_message(body: Mapping[str, Any]) -> str:
    prompt = next((body[name] for name in ("messages", "input", "prompt") if body.get(name)), "")
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], Mapping):
        return str(prompt[-1].get("content", ""))
    return str(prompt)
