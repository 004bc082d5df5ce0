"""Any store that Airflow knows: local, S3, GCS ... by a URI that may name an Airflow connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from airflow_respan.compat import find_store
from airflow_respan.exceptions import RespanError, RespanStorageError


def open_store(uri: str) -> tuple[Any, str]:
    """Find the store (fsspec's) that a URI leads to, and the path within it.

    :raises RespanStorageError: if Airflow knows no such store
    """
    try:
        return find_store(uri)
    except (ValueError, ImportError) as error:
        raise RespanStorageError(
            f"Airflow cannot open {uri!r}: {error}. Install the provider of that store with its file system, such as "
            "apache-airflow-providers-amazon[s3fs], or name another store."
        ) from error


@contextmanager
def open_for_reading(uri: str) -> Iterator[IO[bytes]]:
    """Open a file of any store for reading.

    :raises RespanStorageError: if it cannot be opened; errors of reading it are told alike
    """
    store, path = open_store(uri)
    try:
        with store.open(path, "rb") as file:
            yield file
    except RespanError:
        raise
    except Exception as error:  # each store has its own
        raise RespanStorageError(f"Could not read {uri}: {type(error).__name__}: {error}.") from error
