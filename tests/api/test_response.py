from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pendulum
import pytest

from airflow_respan.api.response import MAX_RETRY_AFTER_SECONDS, Response, parse_retry_after

NOW = pendulum.datetime(2026, 1, 1, 12, 0, 0)


def answer(body: object = "", **headers: str) -> Response:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        status=429, headers=names, body=body.encode() if isinstance(body, str) else json.dumps(body).encode()
    )


@pytest.fixture
def a_machine_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time that is not UTC, which no answer means."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        (answer({"detail": "Rate limit exceeded", "retry_after": 30}), 30),
        (answer({"retry_after": "2.5"}), 2.5),
        (answer({"retry_after": 30}, retry_after="60"), 30),
        (answer({"retry_after": None}, retry_after="60"), 60),
        (answer("<html>", retry_after="60"), 60),
        (answer(retry_after="Thu, 01 Jan 2026 12:01:30 GMT"), 90),
        (answer(retry_after="Thu, 01 Jan 2026 11:00:00 GMT"), 0),
        (answer(retry_after="Thursday, 01-Jan-26 12:01:30 GMT"), 90),
        (answer(retry_after="Thu Jan  1 12:01:30 2026"), 90),
        (answer(retry_after="Thu, 01 Jan 2026 12:01:30 -0000"), 90),
        (answer(retry_after="Thu, 01 Jan 2026 13:01:30 +0100"), 90),
        (answer(x_ratelimit_reset="45"), 45),
        (answer(x_ratelimit_reset=str(NOW.int_timestamp + 15)), 15),
        (answer({"retry_after": -5}), 0),
        (answer({"retry_after": 10**9}), MAX_RETRY_AFTER_SECONDS),
        (answer({"retry_after": "soon"}, retry_after="later", x_ratelimit_reset="never"), None),
        (answer('{"retry_after": NaN}', retry_after="inf"), None),
        (answer(["retry_after"]), None),
        (answer(), None),
    ],
)
def test_the_time_to_wait_is_found_wherever_it_is(
    refusal: Response, seconds: float | None, a_machine_in_tokyo: None
) -> None:
    assert parse_retry_after(refusal, now=NOW) == seconds
