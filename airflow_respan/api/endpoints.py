"""The Respan API without I/O: what to send for each call (source: ``API.md`` of the project and Respan's pages).

Each function makes a :class:`~airflow_respan.api.request.Request`; a client carries it, and hands what came back
to :func:`airflow_respan.api.response.parse_response`. So workers and triggerers cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import IO, Any, TypeVar, Unpack

from airflow_respan.api.batch import Batch
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.file import RespanFile
from airflow_respan.api.page import BatchPage, items_of
from airflow_respan.api.request import Request, Upload, make_request, quote_path_segment
from airflow_respan.api.tracking import TrackingParameters

T = TypeVar("T")
Identified = TypeVar("Identified", Batch, RespanFile)

BATCHES_PATH = "/api/v1/batches/"
FILES_PATH = "/api/files/"
MAX_PAGE_SIZE = 100

CREATE_TIMEOUT_SECONDS = 300.0
"""A create that is given up may have been carried out, and its batch is paid: so it may take long."""

UPLOAD_TIMEOUT_SECONDS = 600.0
"""The service sends the file on to the provider before it responds."""


def get_batch(
    connection: RespanConnection,
    batch_id: str,
    *,
    respan_params: Mapping[str, Any] | None = None,
    provider_id: str | None = None,
) -> Request[Batch]:
    """``GET /api/v1/batches/{batch_id}/``."""
    return make_request(
        connection,
        f"retrieve batch {batch_id!r}",
        "GET",
        f"{BATCHES_PATH}{quote_path_segment('batch_id', batch_id)}/",
        _with_id(batch_id, Batch.from_sanitized),
        query={"provider_id": provider_id or connection.provider_id},
        respan_params=respan_params,
    )


def list_batches(
    connection: RespanConnection,
    *,
    limit: int = 20,
    after: str | None = None,
    provider_id: str | None = None,
) -> Request[BatchPage]:
    """``GET /api/v1/batches/?limit=20&after=batch_x``."""
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise ValueError(f"limit is {limit}; a page of the list holds 1 to {MAX_PAGE_SIZE} batches")
    query = {"limit": limit, "after": after, "provider_id": provider_id or connection.provider_id}
    request = make_request(connection, "list batches", "GET", BATCHES_PATH, BatchPage.from_dict, query=query)
    # Cleaning a hundred batches is most of the work that a page makes, and few of them may be of interest.
    return replace(request, read=partial(BatchPage.from_dict, sanitize=connection.sanitize))


def create_batch(
    connection: RespanConnection,
    /,
    *,
    input_file_id: str,
    endpoint: str,
    completion_window: str,
    metadata: Mapping[str, str] | None = None,
    respan_params: Mapping[str, Any] | None = None,
    provider_id: str | None = None,
    **tracking: Unpack[TrackingParameters],
) -> Request[Batch]:
    """``POST /api/v1/batches/``: costs money, so it is never sent twice."""
    body = {
        "input_file_id": input_file_id,
        "endpoint": endpoint,
        "completion_window": completion_window,
        "metadata": metadata,
        "provider_id": provider_id or connection.provider_id,
        **tracking,
    }
    return make_request(
        connection,
        f"create a batch of file {input_file_id!r}",
        "POST",
        BATCHES_PATH,
        Batch.from_sanitized,
        json_body={name: value for name, value in body.items() if value is not None},
        respan_params=respan_params,
        idempotent=False,
        min_timeout=CREATE_TIMEOUT_SECONDS,
    )


def cancel_batch(connection: RespanConnection, batch_id: str, *, provider_id: str | None = None) -> Request[Batch]:
    """``POST /api/v1/batches/{batch_id}/cancel/``."""
    return make_request(
        connection,
        f"cancel batch {batch_id!r}",
        "POST",
        f"{BATCHES_PATH}{quote_path_segment('batch_id', batch_id)}/cancel/",
        _with_id(batch_id, Batch.from_sanitized),
        query={"provider_id": provider_id or connection.provider_id},
        json_body={},
    )


def upload_file(
    connection: RespanConnection,
    file: IO[bytes],
    *,
    filename: str,
    purpose: str = "batch",
    provider_id: str | None = None,
) -> Request[RespanFile]:
    """``POST /api/files/`` as a form with ``file``, ``purpose`` and perhaps ``provider_id``."""
    fields = {"purpose": purpose, "provider_id": provider_id or connection.provider_id}
    return make_request(
        connection,
        f"upload {filename!r}",
        "POST",
        FILES_PATH,
        RespanFile.from_dict,
        upload=Upload(
            file=file,
            filename=filename,
            fields={name: value for name, value in fields.items() if value is not None},
        ),
        idempotent=False,
        min_timeout=UPLOAD_TIMEOUT_SECONDS,
    )


def list_files(connection: RespanConnection, *, provider_id: str | None = None) -> Request[tuple[RespanFile, ...]]:
    """``GET /api/files/``."""

    def read(data: object) -> tuple[RespanFile, ...]:
        return tuple(RespanFile.from_dict(item) for item in items_of(data))

    query = {"provider_id": provider_id or connection.provider_id}
    return make_request(connection, "list files", "GET", FILES_PATH, read, query=query)


def get_file(connection: RespanConnection, file_id: str, *, provider_id: str | None = None) -> Request[RespanFile]:
    """``GET /api/files/{file_id}/``."""
    return _file_request(
        connection, "retrieve", "GET", file_id, "", _with_id(file_id, RespanFile.from_dict), provider_id
    )


def delete_file(connection: RespanConnection, file_id: str, *, provider_id: str | None = None) -> Request[None]:
    """``DELETE /api/files/{file_id}/``."""

    def read(data: object) -> None:
        if not isinstance(data, Mapping) or data.get("deleted") is not True or data.get("id") != file_id:
            raise ValueError(f"'deleted' is not true of {file_id!r}")

    return _file_request(connection, "delete", "DELETE", file_id, "", read, provider_id)


def file_content(connection: RespanConnection, file_id: str, *, provider_id: str | None = None) -> Request[None]:
    """``GET /api/files/{file_id}/content/``: raw bytes, which the carrier streams."""
    return _file_request(connection, "download", "GET", file_id, "content/", _not_parsed, provider_id)


def _file_request(
    connection: RespanConnection,
    verb: str,
    method: str,
    file_id: str,
    suffix: str,
    read: Callable[[Any], T],
    provider_id: str | None,
) -> Request[T]:
    path = f"{FILES_PATH}{quote_path_segment('file_id', file_id)}/{suffix}"
    query = {"provider_id": provider_id or connection.provider_id}
    # Deleting is not tried twice: the second answer to a deletion that worked is a 404.
    return make_request(
        connection, f"{verb} file {file_id!r}", method, path, read, query=query, idempotent=method != "DELETE"
    )


def _with_id(asked_id: str, read: Callable[[Any], Identified]) -> Callable[[Any], Identified]:
    """Read an answer, and refuse one that is about something else than was asked for."""

    def checked(data: object) -> Identified:
        result = read(data)
        if result.id != asked_id:
            raise ValueError(f"'id' is {result.id!r}, another than was asked for")
        return result

    return checked


def _not_parsed(_data: object) -> None:
    raise AssertionError("the content of a file is streamed, not read")
