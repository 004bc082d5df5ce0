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
        (rate_limited({"retry_after": -5}), 0),
        (rate_limited({"retry_after": 10**9}), MAX_RETRY_AFTER_SECONDS),
        (rate_limited({"retry_after": "soon"}, retry_after="later", x_ratelimit_reset="never"), None),
        (rate_limited('{"retry_after": NaN}', retry_after="inf"), None),
        (rate_limited(["retry_after"]), None),
        (rate_limited(), None),
    ],
)
def test_the_pause_is_read_from_the_body_or_a_header(
    response: Response, seconds: float | None, tokyo_time: None
) -> None:
    assert parse_retry_after(response, now=NOW) == seconds


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
