"""Reads the settings of an Airflow connection, on workers and inside the triggerer's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_respan.api.connection import KEYS_PAGE, RespanConnection
from airflow_respan.compat import AirflowNotFoundException, BaseHook, get_connection_in_triggerer
from airflow_respan.exceptions import (
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanTransientError,
)

if TYPE_CHECKING:
    from airflow_respan.compat import Connection


TIMEOUT_SECONDS = 10.0
"""How long a look-up on a triggerer may take. If Airflow does not respond, all waits must not wait for it."""


def look_up_settings(hook: BaseHook, conn_id: str) -> RespanConnection:
    """Return the settings of an Airflow connection, on a worker.

    :param hook: the hook whose ``get_connection`` is used
    :param conn_id: the id of the connection
    :raises RespanConfigurationError: if it does not exist (``RespanMissingConnectionError``) or has an invalid field
    :raises RespanTransientError: if Airflow could not read it
    """
    with _translated_errors(conn_id):
        return _read(hook, conn_id)


async def alook_up_settings(
    hook: BaseHook, conn_id: str, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> RespanConnection:
    """Return the settings of an Airflow connection, on a triggerer; the same as :func:`look_up_settings`.

    :param timeout_seconds: how long it may take
    :raises RespanTransientError: also if there is no answer within this time
    """
    reading = asyncio.create_task(_aread(hook, conn_id))
    try:
        with _translated_errors(conn_id):
            # Not wait_for, which would wait for the end of a cancelled look-up: one in a thread cannot be cancelled.
            await asyncio.wait({reading}, timeout=timeout_seconds)
            if not reading.done():
                raise RespanTransientError(
                    f"Airflow connection {conn_id!r} could not be looked up within {timeout_seconds:g} seconds. This "
                    "may be temporary."
                )
            return reading.result()
    finally:
        reading.cancel()


def _read(hook: BaseHook, conn_id: str) -> RespanConnection:
    connection = hook.get_connection(conn_id)
    return _settings(conn_id, connection, connection.extra_dejson)


async def _aread(hook: BaseHook, conn_id: str) -> RespanConnection:
    connection, extra = await get_connection_in_triggerer(conn_id, hook=hook)
    return _settings(conn_id, connection, extra)


def _settings(conn_id: str, connection: Connection, extra: object) -> RespanConnection:
    try:
        return RespanConnection.from_airflow(
            conn_id=conn_id,
            password=connection.password,
            host=connection.host,
            schema=connection.schema,
            port=connection.port,
            extra={} if extra is None else extra,
        )
    except RespanError:
        raise
    except Exception as error:  # noqa: BLE001 (a defect of this package: to wait does not help)
        raise RespanConfigurationError(
            f"Airflow connection {conn_id!r} was found, but could not be read ({type(error).__name__}). Check its "
            "fields; if they are valid, this is a defect of airflow_respan."
        ) from None


@contextmanager
def _translated_errors(conn_id: str) -> Iterator[None]:
    """Raise our errors, without traceback: Airflow 3.0 prints local variables, and those in ``_read`` hold the key."""
    name = f"Airflow connection {conn_id!r}"
    try:
        yield
    except RespanError as error:
        raise error.with_traceback(None) from None
    except AirflowNotFoundException:
        raise RespanMissingConnectionError(
            f"{name} does not exist. Create it with the connection type 'Respan' and an API key from {KEYS_PAGE} "
            f"as its password, or set AIRFLOW_CONN_{conn_id.upper()} (Airflow ignores a value that it cannot read)."
        ) from None
    except Exception as error:  # noqa: BLE001 (any error of Airflow's own database; a wait must continue)
        raise RespanTransientError(
            f"{name} could not be looked up ({type(error).__name__}). This may be temporary."
        ) from None
