"""What a client asks of the sandbox: upload a file, create a batch, and read its rows."""

from __future__ import annotations

import json
from typing import Any

import requests

from airflow_respan.sandbox import RespanSandbox

LINE = {
    "custom_id": "request-1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
}


def call(sandbox: RespanSandbox, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {sandbox.api_key}", **options.pop("headers", {})}
    return requests.request(method, f"{sandbox.url}{path}", headers=headers, timeout=10, **options)


def upload(sandbox: RespanSandbox, *lines: object) -> str:
    content = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    response = call(sandbox, "POST", "/api/files/", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    return response.json()["id"]


def create(sandbox: RespanSandbox, *lines: object, **fields: Any) -> dict[str, Any]:
    body = {
        "input_file_id": upload(sandbox, *lines),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **fields,
    }
    return call(sandbox, "POST", "/api/v1/batches/", json=body).json()


def lines(*custom_ids: str, prompt: str = "Hello", model: str = "gpt-4o-mini") -> list[dict[str, Any]]:
    """Return a request for each of these ids."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    return [{**LINE, "custom_id": custom_id, "body": body} for custom_id in custom_ids]


def run(
    sandbox: RespanSandbox, *requests: object, outcome: str = "completed", cancel: bool = False, **fields: Any
) -> dict[str, Any]:
    """Create a batch, move it to its end by hand, and return it.

    :param outcome: the status in which it ends
    :param cancel: whether it is cancelled at once
    :param fields: further fields of the create request
    """
    batch_id = create(sandbox, *requests, metadata={"sandbox_outcome": outcome}, **fields)["id"]
    if cancel:
        call(sandbox, "POST", f"/api/v1/batches/{batch_id}/cancel/")
    while sandbox.advance(batch_id) not in ("completed", "failed", "expired", "cancelled"):
        pass
    return call(sandbox, "GET", f"/api/v1/batches/{batch_id}/").json()


def rows(sandbox: RespanSandbox, batch: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the rows of the ``output`` or the ``error`` file of a batch."""
    file_id = batch[f"{kind}_file_id"]
    if file_id is None:
        return []
    content = call(sandbox, "GET", f"/api/files/{file_id}/content/").text
    return [json.loads(row) for row in content.splitlines()]
