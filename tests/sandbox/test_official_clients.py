"""The official clients work with the sandbox as with the service, through the whole life of a batch."""

from __future__ import annotations

import io
import json
from typing import Any

import openai
import pytest
import respan
from respan.core.api_error import ApiError

from airflow_respan.sandbox import RespanSandbox

LINES = [
    {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Question {number}"}]},
    }
    for number in range(3)
]
JSONL = "".join(json.dumps(line) + "\n" for line in LINES).encode()


def answers(content: bytes) -> list[str]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in content.splitlines()]
    return [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]


def test_the_respan_client_goes_through_a_whole_life(sandbox: RespanSandbox) -> None:
    client = respan.RespanClient(authorization=f"Bearer {sandbox.api_key}", base_url=sandbox.url).open_ai_batch

    file = client.upload_file(file=("in.jsonl", JSONL, "application/jsonl"), purpose="batch", provider_id="openai")
    batch = client.create_batch(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        provider_id="openai",
        metadata={"team": "data"},
    )
    while batch.status != "completed":
        sandbox.advance(batch.id)
        batch = client.retrieve_batch(batch.id, provider_id="openai")
    listed = client.api_v1batches_retrieve(provider_id="openai", limit=1)
    content = b"".join(client.retrieve_file_content(batch.output_file_id, provider_id="openai"))
    other = client.create_batch(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", provider_id="openai"
    )
    cancelled = client.cancel_batch(other.id, provider_id="openai", request={})

    assert file.bytes == len(JSONL)
    assert (batch.request_counts.total, batch.request_counts.completed, batch.metadata) == (3, 3, {"team": "data"})
    assert answers(content) == ["echo: Question 0", "echo: Question 1", "echo: Question 2"]
    assert cancelled.status == "cancelling"
    assert [item.id for item in listed.data] == [batch.id]
    assert [item.id for item in client.list_files(provider_id="openai").data][-1] == file.id
    assert client.retrieve_file(file.id, provider_id="openai").filename == "in.jsonl"
    assert client.delete_file(file.id, provider_id="openai").deleted


def test_the_respan_client_reads_the_sandboxs_errors(sandbox: RespanSandbox) -> None:
    client = respan.RespanClient(authorization="Bearer wrong", base_url=sandbox.url).open_ai_batch

    with pytest.raises(ApiError) as error_info:
        client.retrieve_batch("batch_1", provider_id="openai")

    assert (error_info.value.status_code, error_info.value.body) == (401, {"error": "Invalid API key."})


def test_the_openai_client_goes_through_a_whole_life(sandbox: RespanSandbox) -> None:
    client = openai.OpenAI(api_key=sandbox.api_key, base_url=f"{sandbox.url}/api/v1", max_retries=0)

    file = client.files.create(file=("in.jsonl", io.BytesIO(JSONL)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"team": "data"}
    )
    other = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status != "completed":
        sandbox.advance(batch.id)
        batch = client.batches.retrieve(batch.id)

    assert file.bytes == len(JSONL)
    assert (batch.request_counts.total, batch.request_counts.completed, batch.metadata) == (3, 3, {"team": "data"})
    assert answers(client.files.content(batch.output_file_id).content) == [f"echo: Question {n}" for n in range(3)]
    assert client.batches.cancel(other.id).status == "cancelling"
    assert [item.id for item in client.batches.list(limit=1)] == [other.id, batch.id]
    assert [item.id for item in client.files.list()][-1] == file.id
    assert client.files.retrieve(file.id).filename == "in.jsonl"
    assert client.files.delete(file.id).deleted


def test_the_openai_client_reads_the_sandboxs_errors(sandbox: RespanSandbox) -> None:
    client = openai.OpenAI(api_key=sandbox.api_key, base_url=f"{sandbox.url}/api/v1", max_retries=0)

    with pytest.raises(openai.NotFoundError) as error_info:
        client.batches.retrieve("batch_none")

    assert error_info.value.body == {"message": "No such batch: batch_none", "type": "invalid_request_error"}
