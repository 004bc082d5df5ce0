"""Files in any store that Airflow can open (local, S3, GCS ...), by a URI that may name an Airflow connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from airflow_respan.api.foreign_text import describe_cause
from airflow_respan.compat import find_store
from airflow_respan.exceptions import RespanError, RespanStorageError


def open_store(uri: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URI, and the path within it.

    :param uri: as for ``ObjectStoragePath``: ``s3://my_conn@bucket/file``, or a local path
    :raises RespanStorageError: if Airflow cannot open the store
    """
    try:
        return find_store(uri)
    except (ValueError, ImportError) as error:
        raise RespanStorageError(
            f"{describe_cause(error)} (Airflow cannot open {uri!r}). Install the provider of that store with its file "
            "system, such as apache-airflow-providers-amazon[s3fs], or name another store."
        ) from error


@contextmanager
def open_for_reading(uri: str) -> Iterator[IO[bytes]]:
    """Open a file of any store for reading.

    :param uri: as for ``ObjectStoragePath``
    :raises RespanStorageError: if it cannot be opened, or cannot be read inside the ``with`` block
    """
    store, path = open_store(uri)
    try:
        with store.open(path, "rb") as file:
            yield file
    except RespanError:
        raise
    except Exception as error:  # each store has its own errors
        raise RespanStorageError(
            f"{describe_cause(error)} (could not read {uri}). Check the path, and the Airflow connection in it."
        ) from error
