"""Everything that depends on Airflow's version: names whose module differs, and behaviour that differs (2.11-3.3).

The other modules import Airflow's names from here, so only this file changes when Airflow moves or removes a name.
Three things are elsewhere, because importing them takes time each time a DAG file is parsed: the base class of triggers
(``triggers/``; its module is the same in all versions), that of decorators (``decorators/``), and the form of older
versions (``hooks/connection_form.py``). Every behaviour named here was observed on the versions named with it; see
``docs/airflow-behaviour.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import pendulum
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseOperator,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_respan.api.foreign_text import as_sentence

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # its module before Airflow 3.2; common-compat does not have it
    from airflow.exceptions import AirflowRescheduleException

if TYPE_CHECKING:
    # Only type checkers need these, and importing them takes time. The alias ("as") marks them as exported.
    from airflow.providers.common.compat.sdk import Connection as Connection  # noqa: PLC0414
    from airflow.providers.common.compat.sdk import Context as Context  # noqa: PLC0414

__all__ = [
    "TRIGGER_FAILED",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "PokeReturnValue",
    "conf",
]

TRIGGER_FAILED = "__fail__"
"""Airflow's ``next_method`` for "resume this task only to fail it" (``TRIGGER_FAIL_REPR``; its module differs)."""


def is_deferral_timeout(error: AirflowException) -> bool:
    """Return whether Airflow resumed a task because the timeout of its deferral passed.

    Only the text of the error shows this (2.11-3.3).

    :param error: what ``resume_execution`` raised for :data:`TRIGGER_FAILED`
    """
    return "timeout" in str(error)


@contextmanager
def apply_soft_fail(*, soft_fail: bool, never_fail: bool, unless: type[Exception]) -> Iterator[None]:
    """Skip the task instead of failing it, if the options say so. The message keeps the reason.

    Airflow's own base class decides differently by mode and version (2.11-3.3), and not at all before a task defers.

    :param soft_fail: skip if the wait failed: the batch was not successful, or the timeout has passed
    :param never_fail: skip on every error
    :param unless: the error that is never replaced
    :raises AirflowSkipException: instead of the error of the block
    """
    try:
        yield
    except (AirflowSkipException, AirflowRescheduleException, unless):
        raise
    except (AirflowFailException, AirflowSensorTimeout, AirflowTaskTimeout) as error:
        if soft_fail or never_fail:
            option = "soft_fail" if soft_fail else "never_fail"
            raise AirflowSkipException(_skip_message(error, option)) from error
        raise
    except Exception as error:
        if never_fail:
            raise AirflowSkipException(_skip_message(error, "never_fail")) from error
        raise


def _skip_message(error: BaseException, option: str) -> str:
    return f"{as_sentence(str(error))} The task is skipped instead of failed ({option}=True)."


def attempt_started_at(context: Context) -> str:
    """Return when this attempt started, in ISO 8601 with offset."""
    start = context["ti"].start_date
    return (start if isinstance(start, datetime) else pendulum.now("UTC")).isoformat()


def first_poke_at(sensor: BaseSensorOperator, context: Context) -> str:
    """Return when a sensor in reschedule mode poked for the first time, in ISO 8601 with offset.

    :param sensor: the sensor; its ``retries`` are needed to find the first try since the last clear
    """
    ti: Any = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):
        start = ti.get_first_reschedule_date(context)
    else:  # Airflow 2.11, whose BaseSensorOperator calls the same function
        from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]  # types are Airflow 3's

        first_try = (ti.max_tries or 0) - (sensor.retries or 0) + 1
        start = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    if isinstance(start, str):  # Airflow 3.0, in dag.test()
        return start
    return start.isoformat() if isinstance(start, datetime) else attempt_started_at(context)


def is_after_clear(context: Context, *, retries: int | None, earlier_max_tries: int | None) -> bool:
    """Return whether the task was cleared since its earlier attempts.

    A clear adds the number of tries so far to ``max_tries``; a retry does not (2.11-3.3).

    :param retries: the ``retries`` of the task; lowering them between two attempts looks like a clear
    :param earlier_max_tries: ``max_tries`` from the note of an earlier attempt, which is used instead of ``retries``;
        None if there is no such note
    """
    ti: Any = context["ti"]
    return (ti.max_tries or 0) > ((retries or 0) if earlier_max_tries is None else earlier_max_tries)


def earliest_start(context: Context) -> pendulum.DateTime:
    """Return a moment before which no attempt of this task can have run: the earliest time that the DAG run has.

    Its ``start_date`` alone is not enough: if a run that had ended is cleared, Airflow sets its ``start_date`` to now.
    ``backfill --rerun-failed-tasks`` of Airflow 2.11 does the same. ``run_after`` exists from Airflow 3.0 on.
    """
    run: Any = context["dag_run"]
    names = ("start_date", "queued_at", "run_after", "logical_date", "data_interval_end")
    known = [pendulum.instance(moment) for name in names if (moment := getattr(run, name, None)) is not None]
    return min(known, default=pendulum.from_timestamp(0))


def task_state_store(context: Context) -> Any | None:
    """Return the store that survives retries and clears of a task, or None: it exists from Airflow 3.3 on."""
    return context.get("task_state_store")


def read_task_state(ti: Any) -> str | None:
    """Return the state that Airflow has for a task instance now, which a person may have changed since it started.

    :param ti: the task instance of a context, or of a trigger
    :return: ``running``, ``failed`` ...; None after a clear; ``removed`` if the DAG run was deleted
    :raises Exception: of any kind, if Airflow's database or API server does not say it
    """
    if hasattr(ti, "current_state"):  # Airflow 2.11, where a task may read the database
        return cast("str | None", ti.current_state())
    # Imported here, because importing it takes time. A process that runs a task or a trigger has already imported it.
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    if ti.run_id not in states:
        return "removed"
    is_mapped = ti.map_index is not None and ti.map_index >= 0
    return cast("str | None", states[ti.run_id][f"{ti.task_id}_{ti.map_index}" if is_mapped else ti.task_id])


async def read_task_state_in_triggerer(ti: Any) -> str | None:
    """Do the same as :func:`read_task_state`, inside the event loop of a triggerer."""
    from asgiref.sync import sync_to_async

    return await sync_to_async(read_task_state)(ti)


def push_xcoms(context: Context, values: Mapping[str, Any]) -> None:
    """Push values to XCom, each under its key. None is not pushed, because Airflow 3.0 raises an error for it."""
    for key, value in values.items():
        if value is not None:
            context["ti"].xcom_push(key=key, value=value)


def find_store(uri: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URI, and the path within it.

    The methods of ``ObjectStoragePath`` are not used, because before Airflow 3.3 some of them lose the connection.

    :param uri: the URI of a file or folder, with the Airflow connection in it if the store needs one
    :raises ValueError: if Airflow has no file system for the store
    :raises ImportError: if a package for the store is missing
    """
    # Imported here, because in older versions this also imports fsspec, which takes time.
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    # Without the scheme, which universal-pathlib 0.3 refuses in Airflow 2.11.0. A plain path is local, too.
    path = ObjectStoragePath(uri.removeprefix("file://"))
    return path.fs, path.fs._strip_protocol(path.path)


async def get_connection_in_triggerer(conn_id: str, *, hook: BaseHook) -> tuple[Connection, Any]:
    """Return an Airflow connection and its decoded extra, inside the event loop of a triggerer.

    ``BaseHook.get_connection`` fails there on Airflow 3.0, and ``aget_connection`` deadlocks before 3.3.2.
    """
    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

    connection = await get_async_connection(conn_id, hook=hook)
    return connection, await get_async_extra_dejson(connection)
