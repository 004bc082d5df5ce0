"""The error of a service in the shapes that services send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_respan.api.service_errors import ServiceError, read_error

NESTED: Any = {"message": "Deep."}
for _ in range(2000):
    NESTED = {"error": NESTED}

ERRORS: list[tuple[Any, str | None, str]] = [
    ("Too many.", None, "Too many."),
    ({"message": "No."}, None, "No."),
    ({"message": "No.", "code": "bad"}, "bad", "No."),
    ({"message": "No.", "code": None, "type": "invalid_request_error"}, "invalid_request_error", "No."),
    ({"message": "No.", "code": 400}, "400", "No."),
    ({"error": {"message": "No.", "code": "bad"}}, "bad", "No."),
    ({"error": {"error": {"message": "No.", "type": "BadRequestError"}}}, "BadRequestError", "No."),
    ({"error": "No."}, None, "No."),
    ({"error": "not_found", "message": "No such file."}, "not_found", "No such file."),
    ({"code": "outer", "error": {"message": "No."}}, "outer", "No."),
    ({"detail": "No."}, None, "No."),
    ({"detail": [{"loc": ["body", "model"], "msg": "field required", "type": "missing"}]}, "missing", "field required"),
    ({"errors": {"model": ["is required"], "input": "is empty"}}, None, "model: is required; input: is empty"),
    ({"object": "list", "data": [{"code": "bad", "message": "No.", "line": 3}]}, "bad", "No."),
    ([{"code": "bad", "message": "No."}, {"message": "Nor that."}], "bad", "No."),
    ([None, "", {}, "No."], None, "No."),
    ('{"error": {"message": "No.", "code": "bad"}}', "bad", "No."),
    ("{not JSON", None, "{not JSON"),
    ({"message": {"error": {"message": "No."}}}, None, "No."),
    ({"message": json.dumps({"error": {"message": "No."}})}, None, "No."),
    ({"type": "server_error"}, "server_error", ""),
    (True, None, "True"),
    (7, None, "7"),
]


@pytest.mark.parametrize(("value", "code", "message"), ERRORS)
def test_an_error_is_found_in_every_shape(value: Any, code: str | None, message: str) -> None:
    error = read_error(value)

    assert error is not None
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize("value", [None, "", " ", [], {}, False, 0, [None, {}], {"error": None}, {"message": ""}])
def test_no_error_is_none(value: Any) -> None:
    assert read_error(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"code": "bad", "message": "No.", "line": 3}, "bad (line 3): No."),
        ({"message": "No.", "line": "3"}, "No. (line 3)"),
        ({"code": "bad", "line": 3, "error": {"message": "No."}}, "bad (line 3): No."),
        ({"code": "bad", "line": 3}, "bad (line 3)"),
        ({"error": "No."}, "No."),
    ],
)
def test_an_error_has_one_line_of_text(value: Any, text: str) -> None:
    assert str(read_error(value)) == text


def test_an_error_that_is_nested_too_deeply_is_still_an_error() -> None:
    assert read_error(NESTED) == ServiceError(code=None, message="error: (nested too deeply)")
