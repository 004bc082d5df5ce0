"""Searches the service for the batches that earlier attempts of a task created, and for the files they uploaded.

A batch of the task is recognised by its metadata, or by its input file, whose name no other task uses. The list is only
a hint: a service may leave fields out, report the end too early, sort in another order, or list a batch late. So the
search reads the next page as long as it is unclear whether another one follows. If it remains unclear whether there is
a batch, the search reports this, and never returns "no batch".
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pendulum

from airflow_respan.api.batch import Batch
from airflow_respan.api.file import RespanFile
from airflow_respan.api.page import BatchPage, PageItem
from airflow_respan.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanTransientError,
)
from airflow_respan.hooks.respan import RespanHook
from airflow_respan.submission.identity import (
    FINGERPRINT_KEY,
    TASK_KEY,
    input_file_names,
    is_created_by,
    is_uploaded_by,
)

log = logging.getLogger(__name__)

PAGE_SIZE = 100
MAX_FAILURES_IN_A_ROW = 3
"""After so many failed retrieves in a row the search fails, because then the service is probably unavailable."""


class BatchSearch:
    """The search of one attempt. A second :meth:`find` reads the list again, but retrieves no foreign batch again.

    :param hook: sends the requests
    :param task_key: the identity of the task
    :param fingerprint: the fingerprint of this attempt's input, or None if it is not known
    :param given_file_id: the ``input_file_id`` of the task, if it has one; other tasks may use this file, too
    :param since: the task cannot have created a batch before this moment
    :param max_pages: the maximum number of pages of 100 batches
    """

    def __init__(
        self,
        hook: RespanHook,
        *,
        task_key: str,
        fingerprint: str | None,
        given_file_id: str | None,
        since: pendulum.DateTime,
        max_pages: int,
    ) -> None:
        self._hook = hook
        self._task_key = task_key
        self._fingerprint = fingerprint
        self._expected_names = input_file_names(key=task_key, fingerprint=fingerprint) if fingerprint else ()
        self._given_file_id = given_file_id
        self._since = since
        self._max_pages = max_pages
        self._foreign: set[str] = set()
        self._failures_in_a_row = 0
        self._own_file_names: dict[str, str] = {}
        self._account = self._current_account()
        self.unclear: dict[str, str] = {}
        """Batches that may or may not be the task's: id -> reason."""
        self.incomplete: str | None = None
        """Why newer batches of the task may be on pages that were not read; None if all were read."""

    def find(self, provider_ids: Iterable[str | None]) -> list[Batch]:
        """Return the batches of the task as retrieves returned them; those of one provider are sorted, newest first.

        Afterwards :attr:`unclear` has the batches that may or may not be the task's.

        :param provider_ids: the providers whose batches are listed; None means that of the connection
        :raises RespanError: if the list cannot be read far enough, a request fails, or the connection has changed
        """
        self.unclear, self.incomplete = {}, None
        found = [batch for provider_id in provider_ids for batch in self._find(provider_id)]
        if self._current_account() != self._account:
            # One part of the list is from the old account, and the other part from the new one.
            raise RespanError(
                f"Airflow connection {self._hook.respan_conn_id!r} has changed during the search. A retry searches "
                "again."
            )
        return found

    def _current_account(self) -> tuple[str, str, str | None]:
        connection = self._hook.get_conn().connection
        return connection.base_url, connection.api_key, connection.provider_id

    def _find(self, provider_id: str | None) -> list[Batch]:
        self._failures_in_a_row = 0
        self._own_file_names = self._own_files(provider_id)
        found: list[Batch] = []
        seen: set[str] = set()
        times: list[pendulum.DateTime] = []
        after: str | None = None
        read = 0
        while read < self._max_pages * PAGE_SIZE:
            page = self._hook.list_batches(limit=PAGE_SIZE, after=after, provider_id=provider_id)
            new = [item for item in page.items if item.id is None or item.id not in seen]
            seen |= {item.id for item in new if item.id}
            found += [batch for item in new if (batch := self._own_batch(item, provider_id))]
            on_page = [batch.created_at for batch in page.batches if batch.created_at]
            times += on_page
            is_older_page = _is_newest_first(on_page) and on_page[0] < self._since
            if is_older_page or (found and _is_newest_first(times)) or self._is_end(page, new):
                break
            after, read = page.last_id, read + len(page.items)
        else:
            limit = (
                f"The newest {self._max_pages * PAGE_SIZE} batches were searched, and there are more since "
                f"{self._since.to_datetime_string()} UTC. Raise search_pages, so that the search reads further."
            )
            if not found:
                raise RespanError(limit)
            self.incomplete = limit
        # The sort is stable: batches without a time stay in the order of the list.
        return sorted(found, key=lambda batch: -batch.created_at.timestamp() if batch.created_at else 0)

    @staticmethod
    def _is_end(page: BatchPage, new: Sequence[PageItem]) -> bool:
        """Return whether the list has ended: the page has no new item, or no id after which to continue.

        ``has_more: false`` alone is not enough, because services were seen to send it although more pages followed.

        :raises RespanError: if the next page cannot be requested, and the page is not clearly the last one
        """
        if new and page.last_id:
            return False
        if page.has_more is False or not page.items:
            return True
        raise RespanError(
            "The list of batches cannot be read to its end: a page brought nothing new, or no id to continue after, "
            "and does not say that it is the last. A retry tries again."
        )

    def _own_batch(self, item: PageItem, provider_id: str | None) -> Batch | None:
        """Retrieve a listed batch if it may be the task's; return it if it is, else None."""
        try:
            listed = item.read()
        except ValueError:
            listed = None
        is_older = listed is not None and listed.created_at is not None and listed.created_at < self._since
        if is_older or not self._may_be_own(item.data if isinstance(item.data, Mapping) else {}, listed):
            return None
        if not item.id or not item.id.strip():
            self.unclear[""] = "An item of the list has no id, so it cannot be retrieved."
            return None
        batch = self._retrieve(item.id, provider_id)
        if batch is None:
            return None
        return self._identified(replace(batch, metadata=batch.metadata or (listed.metadata if listed else None)))

    def _identified(self, batch: Batch) -> Batch | None:
        """Return a batch with the fingerprint of its input in its metadata if the batch is the task's, else None."""
        if is_created_by(batch.metadata, self._task_key):
            return batch
        name = self._own_file_names.get(batch.input_file_id or "")
        if name is not None:
            fingerprint = self._fingerprint if name in self._expected_names else name
            own = {TASK_KEY: self._task_key, FINGERPRINT_KEY: fingerprint}
            return replace(batch, metadata={**(batch.metadata or {}), **own})
        if self._given_file_id and batch.input_file_id == self._given_file_id and not batch.metadata:
            self.unclear[batch.id] = (
                f"Batch {batch.id} has the input file of this task, and the service shows no metadata of it."
            )
        else:
            self._foreign.add(batch.id)
        return None

    def _may_be_own(self, data: Mapping[str, Any], listed: Batch | None) -> bool:
        """Return whether a listed batch is the task's, or whether the list does not show this."""
        metadata = listed.metadata if listed else data.get("metadata")
        if isinstance(metadata, Mapping) and metadata:
            return is_created_by(metadata, self._task_key) or data.get("input_file_id") in self._own_file_names
        # Null means that the batch has no metadata. If it is missing or empty, the list may have left it out.
        has_no_metadata = "metadata" in data and data["metadata"] is None
        own_files = {*self._own_file_names, *([self._given_file_id] if self._given_file_id else [])}
        if has_no_metadata and (data.get("input_file_id") or not own_files):
            return data.get("input_file_id") in own_files
        return True

    def _retrieve(self, batch_id: str, provider_id: str | None) -> Batch | None:
        if batch_id in self._foreign:
            return None
        try:
            batch = self._hook.get_batch(batch_id, provider_id=provider_id)
        except (RespanAuthenticationError, RespanConfigurationError):
            raise
        except RespanError as error:
            self._failures_in_a_row += 1
            is_rate_limit = isinstance(error, RespanTransientError) and error.status_code == 429
            if is_rate_limit or self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise
            self.unclear[batch_id] = str(error)
            return None
        self._failures_in_a_row = 0
        return batch

    def _own_files(self, provider_id: str | None) -> dict[str, str]:
        """Return the input files that this task has uploaded, and no other task: id -> name."""
        try:
            files = self._hook.list_files(provider_id=provider_id)
        except (RespanAPIError, RespanTransientError) as error:
            log.info("Searching by metadata alone, as the files cannot be listed: %s", error)
            return {}
        return {
            file.id: file.filename or ""
            for file in files
            if file.filename
            and (file.filename in self._expected_names or is_uploaded_by(file.filename, self._task_key))
        }


def _is_newest_first(times: Sequence[pendulum.DateTime]) -> bool:
    """Return whether times are sorted, newest first; False for fewer than two, which do not show the order."""
    return len(times) > 1 and all(earlier >= later for earlier, later in pairwise(times))


def find_file(hook: RespanHook, names: Collection[str], *, size: int, provider_id: str | None = None) -> str | None:
    """Return the id of a usable input file that was uploaded before; None if there is none, or if a request failed.

    :param names: the possible names of the file
    :param size: bytes
    """
    try:
        for listed in hook.list_files(provider_id=provider_id):
            if listed.filename in names and listed.size == size and not _is_broken(listed):
                found = hook.get_file(listed.id, provider_id=provider_id)
                if not _is_broken(found):
                    return found.id
    except RespanError as error:
        log.info("Uploading the input again, as the files at the service cannot be listed: %s", error)
    return None


def _is_broken(file: RespanFile) -> bool:
    return str(file.raw.get("status")).lower() in ("error", "failed", "deleted")
