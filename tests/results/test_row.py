"""The result of a request in its row."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_respan.results.row import RowError, Usage, parse_row


def row(**fields: Any) -> Any:
    return parse_row({"id": "batch_req_1", "custom_id": "a", **fields})


def answered(status_code: Any = 200, /, **body: Any) -> Any:
    return row(response={"status_code": status_code, "request_id": "req_1", "body": body}, error=None)


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (answered(id="x"), None),
        (answered(None, id="x"), None),
        (answered(id="x", error=None), None),
        (answered(201, id="x"), None),
        (row(response={"body": {"id": "x"}}), None),
        (row(), RowError(code="no_response", message="The row has neither a response nor an error.")),
        (
            row(response="text"),
            RowError(code="no_response", message="The response is not a JSON object: text"),
        ),
        (answered(), RowError(code="no_response", message="The row has neither a response nor an error.")),
        (answered(302, id="x"), RowError(code="302", message="")),
        (answered(429, detail="Too many."), RowError(code="429", message="Too many.")),
        (answered(500, message="Broken."), RowError(code="500", message="Broken.")),
        (
            answered(400, error={"message": "No.", "type": "invalid", "code": None}),
            RowError(code="invalid", message="No."),
        ),
        (answered(200, error={"message": "No.", "code": "x"}), RowError(code="x", message="No.")),
        (answered(403, error="No."), RowError(code="403", message="No.")),
        (row(error={"code": "batch_expired", "message": "Late."}), RowError(code="batch_expired", message="Late.")),
        (row(error={"code": 7, "message": None}), RowError(code="7", message="")),
        (row(error="No."), RowError(code="error", message="No.")),
        (row(error={}, response={"status_code": 200, "body": {"id": "x"}}), None),
        (answered("200", id="x"), None),
        (answered(200.0, id="x"), None),
        (answered("500", id="x"), RowError(code="500", message="")),
        (answered("failed", id="x"), RowError(code="failed", message="")),
        (answered(400, error={"error": {"message": "No."}}), RowError(code="400", message="No.")),
        (answered(400, errors={"model": "is missing"}), RowError(code="400", message="model: is missing")),
        (answered(200, id="x", status="completed", error=None), None),
        (answered(200, id="x", status="failed", error=None), RowError(code="failed", message="The answer is failed.")),
        (
            answered(200, id="x", status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            RowError(code="incomplete", message="The answer is incomplete (max_output_tokens)."),
        ),
        (answered(200, id="x", status="error", message="No."), RowError(code="error", message="No.")),
        (row(response={"status_code": 200, "body": '{"id": "x"}'}), None),
        (
            row(response={"status_code": 200, "body": '{"error": {"message": "No."}}'}),
            RowError(code="200", message="No."),
        ),
        (row(response={"status_code": 500, "body": "Gateway broken"}), RowError(code="500", message="Gateway broken")),
        (
            row(response={"status_code": 200, "body": "Gateway broken"}),
            RowError(code="no_response", message="The response is not a JSON object: Gateway broken"),
        ),
        (
            row(response={"status_code": 200, "body": [{"id": "x"}]}),
            RowError(code="no_response", message='The response is not a JSON object: [{"id": "x"}]'),
        ),
    ],
)
def test_a_request_succeeded_if_it_has_a_response_and_no_error(read: Any, error: Any) -> None:
    assert read.error == error
    assert read.succeeded is (error is None)


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (None, None),
        ({}, None),
        ("7", None),
        ({"prompt_tokens": True, "total_tokens": -1, "completion_tokens": 2**60}, None),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(prompt_tokens=3, total_tokens=3)),
        (
            {"prompt_tokens": 3.0, "completion_tokens": "4", "total_tokens": "7.0"},
            Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
        ),
        (
            {
                "input_tokens": 3,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens": 4,
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7, cached_tokens=2, reasoning_tokens=1),
        ),
        (
            {"prompt_tokens": 3, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": "x"}},
            Usage(prompt_tokens=3, total_tokens=3),
        ),
    ],
)
def test_tokens_have_the_same_names_for_every_endpoint(usage: Any, read: Usage | None) -> None:
    assert answered(usage=usage).usage == read


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ({"choices": [{"message": {"content": "Hello"}}, {"message": {"content": "second"}}]}, "Hello"),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "Hel"}, {"text": "lo"}]}}]}, "Hello"),
        (
            {
                "choices": [
                    {"message": {"content": [{"type": "thinking", "text": "Hm."}, {"type": "text", "text": "Hi"}]}}
                ]
            },
            "Hi",
        ),
        ({"choices": [{"message": {"content": None, "tool_calls": []}}]}, None),
        ({"choices": [{"text": "Hello"}]}, "Hello"),
        ({"choices": []}, None),
        ({"choices": "Hello"}, None),
        (
            {
                "output": [
                    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]},
                    {"type": "web_search_call", "content": [{"type": "output_text", "text": "a page"}]},
                    {
                        "type": "message",
                        "content": [{"type": "refusal", "text": "No."}, {"type": "output_text", "text": "Hello"}],
                    },
                ]
            },
            "Hello",
        ),
        ({"data": [{"embedding": [0.1]}]}, None),
    ],
)
def test_the_text_is_found_in_every_shape_of_response(body: dict[str, Any], content: str | None) -> None:
    assert answered(**body).content == content
