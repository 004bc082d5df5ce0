"""The search at the service for the batch that an earlier attempt created, and for the file that it uploaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import RespanError
from airflow_respan.submission.identity import is_created_by

if TYPE_CHECKING:
    import pendulum

    from airflow_respan.api.page import BatchPage
    from airflow_respan.hooks.respan import RespanHook

log = logging.getLogger(__name__)

PAGE_SIZE = 100
"""Batches per page: the most that the service allows."""


def find_batch(
    hook: RespanHook, key: str, *, since: pendulum.DateTime, max_pages: int, provider_id: str | None = None
) -> Batch | None:
    """Return the newest batch of a task; None if there is none.

    The list is only a hint, because it may be out of date. So each batch that it shows with this identity, or without
    metadata, is retrieved before it counts.

    :param hook: sends the requests
    :param key: the identity of the task
    :param since: a moment before which the task cannot have created a batch
    :param max_pages: pages of 100 batches to search
    :return: the batch as retrieved
    :raises RespanError: if it could not be found out whether there is one
    """
    after: str | None = None
    for _ in range(max_pages):
        page = hook.list_batches(limit=PAGE_SIZE, after=after, provider_id=provider_id)
        own = [
            batch
            for batch_id, listed in _candidates(page, key, since)
            if is_created_by((batch := _retrieve(hook, batch_id, listed, provider_id)).metadata, key)
        ]
        if own:
            # Without a time, the order of the list decides, which is newest first: max returns the first of equals.
            return max(own, key=lambda batch: batch.created_at.timestamp() if batch.created_at else 0)
        if page.next_after is None or any(_is_older(batch, since) for batch in page.batches):
            return None
        after = page.next_after
    raise RespanError(
        f"None of the newest {max_pages * PAGE_SIZE} batches was created by this task, and there are more since "
        f"{since.to_datetime_string()} UTC. Raise search_pages, so that the search reads further."
    )


def find_file(hook: RespanHook, name: str, *, size: int, provider_id: str | None = None) -> str | None:
    """Return the id of an input that was uploaded before and still exists; None also if that cannot be found out.

    :param name: the name that it was uploaded under
    :param size: bytes
    """
    try:
        for listed in hook.list_files(provider_id=provider_id):
            if (listed.filename, listed.size) == (name, size):
                return hook.get_file(listed.id, provider_id=provider_id).id
    except RespanError as error:
        log.info("Uploading the input again, because the files at the service cannot be listed: %s", error)
    return None


def _candidates(page: BatchPage, key: str, since: pendulum.DateTime) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    for batch in page.batches:
        if not _is_older(batch, since) and (batch.metadata is None or is_created_by(batch.metadata, key)):
            yield batch.id, batch.metadata
    for batch_id in page.unreadable_ids:
        yield batch_id, None


def _retrieve(hook: RespanHook, batch_id: str, listed: Mapping[str, Any] | None, provider_id: str | None) -> Batch:
    batch = hook.get_batch(batch_id, provider_id=provider_id)
    return replace(batch, metadata=listed) if batch.metadata is None else batch


def _is_older(batch: Batch, since: pendulum.DateTime) -> bool:
    return batch.created_at is not None and batch.created_at < since
