"""Results of a batch at a local Respan, and a task that lands them."""

from __future__ import annotations

import io
import json
from typing import Any

from airflow_respan.hooks.respan import RespanHook
from airflow_respan.operators.results import RespanBatchResultsOperator
from airflow_respan.sandbox import RespanSandbox
from tests.task_instance import TaskInstance

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def good(custom_id: str, text: str = "Hello", **body: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    answer = {"id": "chatcmpl-1", "model": "gpt-4o-mini", "choices": [choice], "usage": USAGE, **body}
    response = {"status_code": 200, "request_id": "req_1", "body": answer}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None}


def bad(custom_id: str, message: str = "Too long.", code: str = "context_length_exceeded") -> dict[str, Any]:
    body = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    response = {"status_code": 400, "request_id": "req_2", "body": body}
    return {"id": "batch_req_2", "custom_id": custom_id, "response": response, "error": None}


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def upload(content: bytes) -> str:
    return RespanHook().upload_file(io.BytesIO(content)).id


def add_batch(sandbox: RespanSandbox, output: bytes | None = None, errors: bytes | None = None, **fields: Any) -> str:
    """Make a batch that has ended and left these files."""
    return sandbox.add_batch(
        **{
            "status": "completed",
            "output_file_id": None if output is None else upload(output),
            "error_file_id": None if errors is None else upload(errors),
            "request_counts": None,
            **fields,
        }
    )


def land(path: object, **options: Any) -> dict[str, Any]:
    """Run the task; gives its XComs and its return value under the key it has in Airflow."""
    ti = TaskInstance()
    context: Any = {"ti": ti}
    operator = RespanBatchResultsOperator(task_id="land", path=str(path), **options)
    ti.xcom_push(key="return_value", value=operator.execute(context))
    return ti.xcoms
