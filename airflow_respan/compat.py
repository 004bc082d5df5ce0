"""Airflow's rules for sensors, the same in every mode on every version: how a wait may end, and when it began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # its home before Airflow 3.2; common-compat does not offer it
    from airflow.exceptions import AirflowRescheduleException

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["AirflowRescheduleException", "apply_soft_fail", "wait_started_at"]


@contextmanager
def apply_soft_fail(*, soft_fail: bool, never_fail: bool) -> Iterator[None]:
    """Skip the task instead of failing it where the options say so, and keep the reason in the message.

    :param soft_fail: skip when the wait has failed: bad end, or time over
    :param never_fail: skip on every error
    """
    try:
        yield
    except (AirflowSkipException, AirflowRescheduleException):
        raise
    except (AirflowFailException, AirflowSensorTimeout, AirflowTaskTimeout) as end:
        if soft_fail or never_fail:
            option = "soft_fail" if soft_fail else "never_fail"
            raise AirflowSkipException(f"Skipped instead of failed ({option}=True): {end}") from end
        raise
    except Exception as error:
        if never_fail:
            raise AirflowSkipException(f"Skipped instead of failed (never_fail=True): {error}") from error
        raise


def wait_started_at(sensor: BaseSensorOperator, context: Context) -> str:
    """Find when the wait began: with this try, or in reschedule mode with its first poke.

    :return: ISO 8601 with offset
    """
    ti: Any = context["ti"]
    start: object = None
    if sensor.reschedule and hasattr(ti, "get_first_reschedule_date"):
        start = ti.get_first_reschedule_date(context)
    elif sensor.reschedule:
        # Airflow 2.11, whose own loop asks the same function.
        from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]  # types are Airflow 3's

        first_try = (ti.max_tries or 0) - (sensor.retries or 0) + 1
        start = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    start = start or ti.start_date
    if isinstance(start, str):  # so Airflow 3.0 gives the date of the first poke within dag.test()
        return start
    return (start if isinstance(start, datetime) else pendulum.now("UTC")).isoformat()
