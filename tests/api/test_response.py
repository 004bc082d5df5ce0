"""How long a response asks to wait, in each form and in any time zone of the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pendulum
import pytest
import time_machine

from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.endpoints import get_batch
from airflow_respan.api.exceptions import RespanTransientError
from airflow_respan.api.response import MAX_RETRY_AFTER_SECONDS, Response, make_error, parse_retry_after

NOW = pendulum.datetime(2026, 1, 1, 12, 0, 0)


def rate_limited(body: object = "", **headers: str) -> Response:
    return Response(
        status=429,
        headers={name.replace("_", "-"): text for name, text in headers.items()},
        body=body.encode() if isinstance(body, str) else json.dumps(body).encode(),
    )


@pytest.fixture
def tokyo_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's time zone to one that is not UTC: no response may be read in local time."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        (rate_limited({"detail": "Rate limit exceeded", "retry_after": 30}), 30),
        (rate_limited({"retry_after": "2.5"}), 2.5),
        (rate_limited({"retry_after": 30}, retry_after="60"), 30),
        (rate_limited({"retry_after": None}, retry_after="60"), 60),
        (rate_limited("<html>", retry_after="60"), 60),
        (rate_limited(retry_after="Thu, 01 Jan 2026 12:01:30 GMT"), 90),
        (rate_limited(retry_after="Thu, 01 Jan 2026 11:00:00 GMT"), 0),
        (rate_limited(retry_after="Thursday, 01-Jan-26 12:01:30 GMT"), 90),
        (rate_limited(retry_after="Thu Jan  1 12:01:30 2026"), 90),
        (rate_limited(retry_after="Thu, 01 Jan 2026 12:01:30 -0000"), 90),
        (rate_limited(retry_after="Thu, 01 Jan 2026 13:01:30 +0100"), 90),
        (rate_limited(x_ratelimit_reset="45"), 45),
        (rate_limited(x_ratelimit_reset=str(NOW.int_timestamp + 15)), 15),
        (rate_limited(x_ratelimit_reset=str(NOW.int_timestamp * 1000 + 15_000)), 15),
        (rate_limited(x_ratelimit_reset=str(NOW.int_timestamp - 15)), 0),
        (rate_limited(x_ratelimit_reset=str(NOW.int_timestamp * 1000 - 15_000)), 0),
        (rate_limited(x_ratelimit_reset="6m0s"), 360),
        (rate_limited(ratelimit_reset="45"), 45),
        (rate_limited(x_ratelimit_reset_after="1.5"), 1.5),
        (rate_limited(retry_after="30s"), 30),
        (rate_limited(retry_after=" 1h1m30.5s "), MAX_RETRY_AFTER_SECONDS),
        (rate_limited(retry_after="1m30.5s"), 90.5),
        (rate_limited(retry_after="250ms"), 0.25),
        (rate_limited(retry_after="1", retry_after_ms="250"), 0.25),
        (rate_limited(retry_after="2026-01-01T12:01:30Z"), 90),
        (rate_limited({"error": {"message": "Slow down", "retry_after": 30}}), 30),
        (rate_limited({"detail": {"retryAfter": "45s"}}), 45),
        (rate_limited({"error": "Slow down", "retry_after": 30}), 30),
        (rate_limited({"retry_after": NOW.int_timestamp + 15}), 15),
        (rate_limited({"retry_after": NOW.int_timestamp * 1000 + 15_000}), 15),
        (rate_limited(retry_after=str((NOW.int_timestamp + 15) * 1_000_000_000)), 15),
        (rate_limited(retry_after=str(NOW.int_timestamp - 15)), 0),
        (rate_limited(retry_after="-1"), 0),
        (rate_limited(retry_after="Fri, 01 Jan 1999 00:00:00 GMT"), 0),
        (rate_limited(retry_after="Fri, 01 Jan 9999 00:00:00 GMT"), MAX_RETRY_AFTER_SECONDS),
        (rate_limited({"retry_after": 1e300}), 0),
        (rate_limited({"retry_after": -5}), 0),
        (rate_limited({"retry_after": 10**9}), MAX_RETRY_AFTER_SECONDS),
        (rate_limited({"retry_after": "soon"}, retry_after="later", x_ratelimit_reset="never"), None),
        (rate_limited('{"retry_after": NaN}', retry_after="inf"), None),
        (rate_limited(["retry_after"]), None),
        (rate_limited({"error": {"retry_after": [30]}}, retry_after="ms", retry_after_ms="soon"), None),
        (rate_limited({"retry_after": True}, retry_after="60"), 60),
        (rate_limited(retry_after="9" * 5000), None),
        (rate_limited(), None),
    ],
)
def test_the_pause_is_read_from_the_body_or_a_header(
    response: Response, seconds: float | None, tokyo_time: None
) -> None:
    assert parse_retry_after(response, now=NOW) == seconds


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504])
def test_the_reset_that_gateways_put_on_every_response_is_no_pause_unless_the_limit_is_reached(status: int) -> None:
    headers = {"x-ratelimit-reset": "3600", "ratelimit-reset": "3600", "x-ratelimit-reset-after": "3600"}

    assert parse_retry_after(Response(status=status, headers=headers), now=NOW) is None
    assert parse_retry_after(Response(status=status, headers={**headers, "retry-after": "5"}), now=NOW) == 5
    assert parse_retry_after(Response(status=status, headers=headers, body=b'{"retry_after": 5}'), now=NOW) == 5


@pytest.mark.parametrize(
    ("status", "retry_after", "is_rate_limit"),
    [
        (429, 30, True),
        (503, 30, True),
        (429, None, False),
        (429, 0, False),
        (503, None, False),
        (502, 30, False),
        (None, 30, False),
    ],
)
def test_only_a_429_or_a_503_with_seconds_is_a_rate_limit(
    status: int | None, retry_after: float | None, is_rate_limit: bool
) -> None:
    error = RespanTransientError("Slow down.", status_code=status, retry_after=retry_after)

    assert error.is_rate_limit is is_rate_limit


@pytest.mark.parametrize("clock_ahead", [-86_400, 0, 86_400])
@pytest.mark.parametrize("date", ["Thu, 01 Jan 2026 12:00:00 GMT", None, "today"])
def test_a_time_of_the_service_is_read_by_the_clock_of_the_service(clock_ahead: float, date: str | None) -> None:
    headers = {"retry_after": "Thu, 01 Jan 2026 12:01:30 GMT", **({"date": date} if date else {})}
    request = get_batch(RespanConnection(conn_id="respan", api_key="key"), "batch_1")

    with time_machine.travel(NOW.add(seconds=clock_ahead), tick=False):
        error = make_error(request, rate_limited(**headers))

    assert isinstance(error, RespanTransientError)
    if clock_ahead == 0 or date == "Thu, 01 Jan 2026 12:00:00 GMT":
        assert error.retry_after == 90
