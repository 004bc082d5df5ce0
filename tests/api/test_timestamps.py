"""A point in time is read in every spelling, and nothing else is a time."""

from __future__ import annotations

import time

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_respan.api.timestamps import read_timestamp
from tests.properties.strategies import anything

TIME = pendulum.datetime(2024, 3, 26, 16, 45, 33)


@pytest.mark.parametrize(
    "value",
    [
        1711471533,
        1711471533.999,
        1711471533_000,
        1711471533_999.5,
        1711471533_000_000,
        1711471533_000_000_000,
        "1711471533",
        " 1711471533.5 ",
        "1711471533000",
        "1.711471533e+09",
        "2024-03-26T16:45:33Z",
        "2024-03-26T16:45:33.123456789Z",
        "2024-03-26t16:45:33z",
        "2024-03-26T16:45:33",
        "2024-03-26 16:45:33.5",
        "2024-03-26 16:45:33 UTC",
        "2024-03-26 18:45:33 +0200",
        "2024-03-26T11:45:33-05:00",
        "20240326T164533Z",
        "Tue, 26 Mar 2024 16:45:33 GMT",
        "Tue, 26 Mar 2024 18:45:33 +0200",
        "Tuesday, 26-Mar-24 16:45:33 GMT",
        "Tue Mar 26 16:45:33 2024",
    ],
)
def test_a_time_is_read_in_every_spelling_and_in_any_zone_of_the_machine(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        read = read_timestamp(value)
    time.tzset()

    assert read == TIME


def test_a_date_without_a_time_is_midnight_in_utc() -> None:
    assert read_timestamp("2024-03-26") == pendulum.datetime(2024, 3, 26)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        0.5,
        -1711471533,
        1e300,
        10**400,
        float("nan"),
        float("inf"),
        "",
        "0",
        "-1711471533",
        "nan",
        "1e99",
        "9" * 25,
        "soon",
        "may be 3",
        "2024-13-26T16:45:33Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:00",
        "Tue, 26 Mar 99999 16:45:33 GMT",
        {"seconds": 1711471533},
        [1711471533],
    ],
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert read_timestamp(value) is None


@given(st.one_of(anything, st.text('0123456789-:. TZ+JanMayGMT,"()').map("Tue, 26 Mar {}".format)))
def test_no_value_raises_an_error(value: object) -> None:
    read = read_timestamp(value)

    assert read is None or read.timestamp() >= 1
