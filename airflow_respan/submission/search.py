"""Looks for what an earlier attempt of a task has left at the service: its batch, and the file that it uploaded."""

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

PAGE = 100


def find_batch(
    hook: RespanHook, key: str, *, since: pendulum.DateTime, most_pages: int, provider_id: str | None = None
) -> Batch | None:
    """Find the newest batch with a task's mark.

    The list is only a hint: what it has left out, and what it shows as ours, is retrieved.

    :param hook: whom to ask
    :param key: the mark
    :param since: no batch of the task is older
    :param most_pages: pages of 100 batches to look through
    :return: the batch as retrieved, or None if there is none
    :raises RespanError: if that could not be found out
    """
    after: str | None = None
    for _ in range(most_pages):
        page = hook.list_batches(limit=PAGE, after=after, provider_id=provider_id)
        ours = [
            batch
            for batch_id, listed in _candidates(page, key, since)
            if is_created_by((batch := _retrieved(hook, batch_id, listed, provider_id)).metadata, key)
        ]
        if ours:
            # The first of the newest: where the service gives no time, the order of the list decides.
            return max(ours, key=lambda batch: batch.created_at.timestamp() if batch.created_at else 0)
        if page.next_after is None or any(_is_older(batch, since) for batch in page.batches):
            return None
        after = page.next_after
    raise RespanError(
        f"None of the newest {most_pages * PAGE} batches was made by this task, and there are more since "
        f"{since.to_datetime_string()} UTC. Let it look further (search_pages)"
    )


def find_file(hook: RespanHook, name: str, *, size: int, provider_id: str | None = None) -> str | None:
    """Find an input that was uploaded before and is still there; None also if that cannot be found out."""
    try:
        for listed in hook.list_files(provider_id=provider_id):
            if (listed.filename, listed.size) == (name, size):
                return hook.get_file(listed.id, provider_id=provider_id).id
    except RespanError as error:
        log.info("Uploading anew, as the files that are there cannot be told: %s", error)
    return None


def _candidates(page: BatchPage, key: str, since: pendulum.DateTime) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    for batch in page.batches:
        if not _is_older(batch, since) and (batch.metadata is None or is_created_by(batch.metadata, key)):
            yield batch.id, batch.metadata
    for batch_id in page.unreadable_ids:
        yield batch_id, None


def _retrieved(hook: RespanHook, batch_id: str, listed: Mapping[str, Any] | None, provider_id: str | None) -> Batch:
    batch = hook.get_batch(batch_id, provider_id=provider_id)
    return replace(batch, metadata=listed) if batch.metadata is None else batch


def _is_older(batch: Batch, since: pendulum.DateTime) -> bool:
    return batch.created_at is not None and batch.created_at < since
