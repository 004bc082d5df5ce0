"""From the id of an Airflow connection to settings, on workers and inside the triggerer's event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_respan.api.connection import KEYS_PAGE, RespanConnection
from airflow_respan.compat import AirflowNotFoundException, BaseHook, get_connection_in_triggerer
from airflow_respan.exceptions import RespanError, RespanMissingConnectionError, RespanTransientError

if TYPE_CHECKING:
    from airflow_respan.compat import Connection


def look_up_settings(hook: BaseHook, conn_id: str) -> RespanConnection:
    """Read an Airflow connection, on a worker.

    :param hook: the hook to look it up through
    :param conn_id: the connection
    :raises RespanConfigurationError: if it does not exist (``RespanMissingConnectionError``) or cannot work
    :raises RespanTransientError: if Airflow could not say
    """
    with _explained_errors(conn_id):
        return _find(hook, conn_id)


async def alook_up_settings(hook: BaseHook, conn_id: str) -> RespanConnection:
    """Read an Airflow connection, on a triggerer; the same as :func:`look_up_settings`."""
    with _explained_errors(conn_id):
        return await _afind(hook, conn_id)


def _find(hook: BaseHook, conn_id: str) -> RespanConnection:
    found = hook.get_connection(conn_id)
    return _settings(conn_id, found, found.extra_dejson)


async def _afind(hook: BaseHook, conn_id: str) -> RespanConnection:
    found, extra = await get_connection_in_triggerer(conn_id, hook=hook)
    return _settings(conn_id, found, extra)


def _settings(conn_id: str, found: Connection, extra: object) -> RespanConnection:
    return RespanConnection.from_airflow(
        conn_id=conn_id,
        password=found.password,
        host=found.host,
        schema=found.schema,
        port=found.port,
        extra={} if extra is None else extra,
    )


@contextmanager
def _explained_errors(conn_id: str) -> Iterator[None]:
    """Leave the frames below out of every error: they hold the key, and Airflow 3.0 prints local variables."""
    name = f"Airflow connection {conn_id!r}"
    try:
        yield
    except RespanError as error:
        raise error.with_traceback(None) from None
    except AirflowNotFoundException:
        raise RespanMissingConnectionError(
            f"{name} does not exist. Create it with the connection type 'Respan' and an API key from {KEYS_PAGE} "
            f"as its password, or set AIRFLOW_CONN_{conn_id.upper()} (a value that cannot be read counts as none)."
        ) from None
    except Exception as error:  # noqa: BLE001 (an outage of Airflow's own database: a wait goes on)
        raise RespanTransientError(f"{name} could not be looked up ({type(error).__name__}). This may pass.") from None
