"""The endpoints of the Respan API: one function for each builds the request. No I/O. Sources: ``docs/respan-api.md``.

A client sends the :class:`~airflow_respan.api.request.Request` and passes the response to
:func:`airflow_respan.api.response.parse_response`. Both clients use these functions, so workers and triggerers send
and read the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import IO, Any, TypeVar, Unpack

from airflow_respan.api.batch import Batch, sanitize_batch
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.file import RespanFile
from airflow_respan.api.page import BatchPage, items_of
from airflow_respan.api.request import OtherIdError, Request, Upload, make_request, quote_path_segment
from airflow_respan.api.tracking import TrackingParameters

T = TypeVar("T")
Identified = TypeVar("Identified", Batch, RespanFile)

BATCHES_PATH = "/api/v1/batches/"
FILES_PATH = "/api/files/"
MAX_PAGE_SIZE = 100

CREATE_TIMEOUT_FACTOR = 10
"""A create may take so many times the connection's timeout. If it is given up, Respan may have carried it out, and its
batch is paid."""

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
        f"retrieve {_named('batch', batch_id)}",
        "GET",
        f"{BATCHES_PATH}{quote_path_segment('batch_id', batch_id)}/",
        _require_id(batch_id, Batch.from_sanitized),
        query={"provider_id": provider_id or connection.provider_id},
        respan_params=respan_params,
        sanitize=sanitize_batch,
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
    # Sanitizing a hundred batches is most of the work with a page, so each item is sanitized only when it is read.
    return replace(request, parse=partial(BatchPage.from_dict, sanitize=connection.sanitize))


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
    """``POST /api/v1/batches/``. It is never sent twice, because each batch costs money."""
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
        f"create a batch of {_named('file', input_file_id)}",
        "POST",
        BATCHES_PATH,
        Batch.from_sanitized,
        json_body={name: value for name, value in body.items() if value is not None},
        respan_params=respan_params,
        idempotent=False,
        min_timeout=CREATE_TIMEOUT_FACTOR * connection.timeout,
        sanitize=sanitize_batch,
    )


def cancel_batch(
    connection: RespanConnection, batch_id: str, *, provider_id: str | None = None
) -> Request[Batch | None]:
    """``POST /api/v1/batches/{batch_id}/cancel/``. The result is None if the service carries it out without a body."""
    parse = _require_id(batch_id, Batch.from_sanitized)
    request = make_request(
        connection,
        f"cancel {_named('batch', batch_id)}",
        "POST",
        f"{BATCHES_PATH}{quote_path_segment('batch_id', batch_id)}/cancel/",
        lambda data: None if data is None else parse(data),
        query={"provider_id": provider_id or connection.provider_id},
        json_body={},
        sanitize=sanitize_batch,
    )
    return replace(request, may_be_empty=True)


def upload_file(
    connection: RespanConnection,
    file: IO[bytes],
    *,
    filename: str,
    purpose: str = "batch",
    provider_id: str | None = None,
) -> Request[RespanFile]:
    """``POST /api/files/`` as a form with ``file``, ``purpose``, and ``provider_id`` if there is one."""
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

    def parse(data: object) -> tuple[RespanFile, ...]:
        files = []
        for item in items_of(data):
            with suppress(ValueError):  # one bad item must not hide the others
                files.append(RespanFile.from_dict(item))
        return tuple(files)

    query = {"provider_id": provider_id or connection.provider_id}
    return make_request(connection, "list files", "GET", FILES_PATH, parse, query=query)


def get_file(connection: RespanConnection, file_id: str, *, provider_id: str | None = None) -> Request[RespanFile]:
    """``GET /api/files/{file_id}/``."""
    return _file_request(
        connection, "retrieve", "GET", file_id, "", _require_id(file_id, RespanFile.from_dict), provider_id
    )


def delete_file(connection: RespanConnection, file_id: str, *, provider_id: str | None = None) -> Request[None]:
    """``DELETE /api/files/{file_id}/``."""

    def parse(data: object) -> None:
        is_deleted = isinstance(data, Mapping) and data.get("deleted") is True and data.get("id", file_id) == file_id
        if data is not None and not is_deleted:
            raise ValueError(f"'deleted' is not true for {file_id!r}")

    request = _file_request(connection, "delete", "DELETE", file_id, "", parse, provider_id)
    return replace(request, may_be_empty=True)


def file_content(connection: RespanConnection, file_id: str, *, provider_id: str | None = None) -> Request[None]:
    """``GET /api/files/{file_id}/content/``: raw bytes, which the client streams."""
    request = _file_request(connection, "download", "GET", file_id, "content/", _never_parsed, provider_id)
    return replace(request, is_content=True)


def _file_request(
    connection: RespanConnection,
    verb: str,
    method: str,
    file_id: str,
    suffix: str,
    parse: Callable[[Any], T],
    provider_id: str | None,
) -> Request[T]:
    path = f"{FILES_PATH}{quote_path_segment('file_id', file_id)}/{suffix}"
    query = {"provider_id": provider_id or connection.provider_id}
    # A deletion is not retried: if the first one worked, the response to the second is a 404.
    return make_request(
        connection, f"{verb} {_named('file', file_id)}", method, path, parse, query=query, idempotent=method != "DELETE"
    )


def _named(kind: str, value: object) -> str:
    """Return an id for a message: ``batch_abc123`` alone, because it says what it is, but ``batch 'abc123'``."""
    is_clear = isinstance(value, str) and value.startswith(kind) and re.fullmatch(r"[\w.-]+", value)
    return str(value) if is_clear else f"{kind} {value!r}"


def _require_id(requested_id: str, parse: Callable[[Any], Identified]) -> Callable[[Any], Identified]:
    """Return a function that parses a response, and raises OtherIdError if it has another id than the request."""

    def parse_and_check(data: object) -> Identified:
        result = parse(data)
        if result.id != requested_id:
            raise OtherIdError(result.id)
        return result

    return parse_and_check


def _never_parsed(_data: object) -> None:
    raise AssertionError("the content of a file is streamed, not parsed")
