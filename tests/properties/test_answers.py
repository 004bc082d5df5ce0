"""Whatever the response is, the result is a value, or an error that names the request and does not show the API key."""

from __future__ import annotations

from typing import Any

import pendulum
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_respan.api import endpoints, response
from airflow_respan.api.batch import Batch
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.redirects import redirect_request
from airflow_respan.api.request import Request
from airflow_respan.api.response import MAX_RETRY_AFTER_SECONDS, Response
from airflow_respan.api.transport import headers_of
from airflow_respan.exceptions import RespanError, RespanTransientError
from tests.properties import strategies
from tests.properties.strategies import BATCH_ID, KEY

CONNECTION = RespanConnection(conn_id="respan_default", api_key=KEY)
CALLS: list[Request[Any]] = [
    endpoints.get_batch(CONNECTION, BATCH_ID),
    endpoints.list_batches(CONNECTION),
    endpoints.create_batch(CONNECTION, input_file_id="file-1", endpoint="/v1/x", completion_window="24h"),
    endpoints.get_file(CONNECTION, "file-1"),
    endpoints.list_files(CONNECTION),
    endpoints.delete_file(CONNECTION, "file-1"),
    endpoints.cancel_batch(CONNECTION, BATCH_ID),
]
CONTENT = endpoints.file_content(CONNECTION, "file-1")
NOW = pendulum.datetime(2026, 1, 1, 12, 0, 0)


def assert_error_names_the_request(error: RespanError, request: Request[Any], status: int) -> None:
    message = str(error)
    assert message.startswith(str(status))
    assert f" ({request.action}, connection respan_default). " in message
    assert ".." not in message.replace("...", "")
    assert len(message) < 1500
    assert message.isprintable()
    assert KEY not in message
    assert not isinstance(error, RespanTransientError) or 0 <= (error.retry_after or 0) <= MAX_RETRY_AFTER_SECONDS


@given(st.sampled_from(CALLS), strategies.http_statuses, strategies.headers, strategies.bodies)
@example(CALLS[0], 200, {}, strategies.ECHO)
@example(CALLS[0], 400, {}, strategies.ECHO)
@example(CALLS[0], 403, {}, strategies.NESTED)
@example(CALLS[1], 200, {}, strategies.NESTED)
def test_every_response_is_a_result_or_an_error_that_names_the_request(
    request: Request[Any], status: int, headers: dict[str, str], body: bytes
) -> None:
    received = Response(status=status, headers=headers, body=body)

    try:
        following = redirect_request(request, received)
        result = None if following else response.parse_response(request, received)
    except RespanError as error:
        assert_error_names_the_request(error, request, status)
        return

    if following:
        assert following.url.startswith("https://api.respan.ai/")
        assert request.method == "GET" or status in (307, 308)
    else:
        assert 200 <= status < 300
        assert KEY not in repr(result)
        assert repr(result).encode()
        assert not isinstance(result, Batch) or request.method == "POST" or result.id == BATCH_ID


@given(st.sampled_from([301, 302, 303, 307, 308]), strategies.header_texts)
def test_content_is_requested_from_another_origin_only_by_https_and_without_the_key(status: int, location: str) -> None:
    try:
        following = redirect_request(CONTENT, Response(status=status, headers={"location": location}))
    except RespanError as error:
        assert_error_names_the_request(error, CONTENT, status)
        return

    if following and not following.url.startswith("https://api.respan.ai/"):
        assert following.url.startswith("https://")
        assert KEY not in f"{following}{headers_of(following)}"
        assert following.url not in repr(following)


@given(strategies.headers, strategies.bodies)
def test_retry_after_is_bounded_in_all_its_forms(headers: dict[str, str], body: bytes) -> None:
    seconds = response.parse_retry_after(Response(status=429, headers=headers, body=body), now=NOW)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@given(strategies.json_values)
def test_retry_after_in_a_body_is_bounded(value: Any) -> None:
    body = strategies.as_json({"detail": "Rate limit exceeded", "retry_after": value})
    seconds = response.parse_retry_after(Response(status=429, headers={}, body=body), now=NOW)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS
