"""The batch and the file of an earlier attempt of a task: how they are found, and whether this attempt uses them.

``docs/never-paid-twice.md`` has the table of what is found and what is done then.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pendulum

from airflow_respan.compat import earliest_start, is_after_clear
from airflow_respan.exceptions import RespanError, RespanInputChangedError
from airflow_respan.submission import identity
from airflow_respan.submission.note import Note, load_note, save_note
from airflow_respan.submission.search import find_batch, find_file
from airflow_respan.waiting.outcome import describe_batch, evaluate_batch

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_respan.api.batch import Batch
    from airflow_respan.hooks.respan import RespanHook

log = logging.getLogger(__name__)

CLOCK_MARGIN = pendulum.duration(hours=1)
"""How much the clocks of Airflow and of the service may differ."""


class CreatingTask(Protocol):
    """The arguments of the operator that the search and the decision depend on."""

    retries: int | None
    provider_id: str | None
    on_changed_input: str
    search_pages: int
    not_found_grace: float
    success_statuses: Collection[str]
    max_failed_ratio: float

    @property
    def hook(self) -> RespanHook:
        """The hook that sends the requests; a new one after the task was killed."""


class PreviousAttempts:
    """The attempts of a task before this one.

    :param operator: the operator, with its templates rendered
    :param context: Airflow's context
    """

    def __init__(self, operator: CreatingTask, context: Any) -> None:
        ti = context["ti"]
        self.key = identity.task_key(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
        self._operator = operator
        self._context = context
        self._is_first = ti.try_number <= 1
        self._is_after_clear = is_after_clear(context, retries=operator.retries)
        self._started_at = time.time()

    def reusable_batch(self, fingerprint: str) -> Batch | None:
        """Return the batch that this attempt continues with; None if it is to create one.

        :param fingerprint: the fingerprint of this attempt's input
        :raises RespanInputChangedError: if that batch is of another input
        :raises RespanError: if it cannot be found out whether there is one
        """
        if self._is_first:
            return None
        batch = self.newest_batch()
        if batch is None:
            log.info("No batch of an earlier attempt was found.")
            return None
        if self._must_be_replaced(batch):
            log.info(
                "Creating another batch, because that of an earlier attempt is not usable. %s", _status_text(batch)
            )
            return None
        if (batch.metadata or {}).get(identity.FINGERPRINT_KEY) == fingerprint:
            log.info("Continuing with the batch of an earlier attempt. %s", _status_text(batch))
            return batch
        if self._operator.on_changed_input == "fail":
            raise RespanInputChangedError(
                f"An earlier attempt of this task made batch {batch.id}, which is {batch.status}, of another input. "
                "Restore the input to go on with that batch, or set on_changed_input='resubmit' to pay for another, "
                "or trigger a new run."
            )
        self._cancel_replaced(batch)
        return None

    def newest_batch(self) -> Batch | None:
        """Return the newest batch of this task: by the note in Airflow, else from the service's list; None if none.

        :raises RespanError: if that cannot be found out
        """
        note = load_note(self._context)
        try:
            if note is not None and note.batch_id is not None:
                batch = self._operator.hook.get_batch(note.batch_id, provider_id=self._operator.provider_id)
                return replace(batch, metadata={**(batch.metadata or {}), identity.FINGERPRINT_KEY: note.fingerprint})
            return self.find_listed() or self._wait_for_listing(note)
        except RespanError as error:
            raise RespanError(
                "Whether an earlier attempt of this task made a batch could not be found out, so none is created: "
                f"{error}"
            ) from error

    def find_listed(self) -> Batch | None:
        """Return the newest batch of this task in the service's list, without waiting; None if there is none.

        :raises RespanError: if that cannot be found out
        """
        return find_batch(
            self._operator.hook,
            self.key,
            since=earliest_start(self._context, after_clear=self._is_after_clear) - CLOCK_MARGIN,
            max_pages=self._operator.search_pages,
            provider_id=self._operator.provider_id,
        )

    def find_uploaded_file(self, fingerprint: str, *, size: int) -> str | None:
        """Return the id of the input that an earlier attempt uploaded; None if there is none.

        :param fingerprint: the fingerprint of this attempt's input
        :param size: bytes
        """
        if self._is_first:
            return None
        name = identity.input_file_name(key=self.key, fingerprint=fingerprint)
        file_id = find_file(self._operator.hook, name, size=size, provider_id=self._operator.provider_id)
        if file_id:
            log.info("Using %s, which an earlier attempt uploaded.", file_id)
        return file_id

    def save_note(self, *, fingerprint: str, input_file_id: str, batch_id: str | None = None) -> None:
        """Record for the next attempt how far this one has come.

        :raises Exception: what Airflow's store raises, if no batch is created yet
        """
        note = Note(fingerprint=fingerprint, input_file_id=input_file_id, sent_at=time.time(), batch_id=batch_id)
        try:
            save_note(self._context, note)
        except Exception as error:
            if batch_id is None:  # nothing is paid yet
                raise
            log.warning("The id of batch %s could not be noted (%s); a retry will search the list.", batch_id, error)

    def _must_be_replaced(self, batch: Batch) -> bool:
        """Return whether a batch is not usable, so that another one may be created and paid."""
        if not batch.is_terminal:
            # A batch that is being cancelled gives no results, so waiting for its end would only cost time.
            return batch.meaning.is_being_cancelled
        accepted = evaluate_batch(
            batch,
            success_statuses=self._operator.success_statuses,
            max_failed_ratio=self._operator.max_failed_ratio,
        ).accepted
        # A batch that is complete but not accepted was paid. Only after a clear, which a person does, pay for another.
        return not accepted and (not batch.meaning.is_complete or self._is_after_clear)

    def _cancel_replaced(self, batch: Batch) -> None:
        log.warning("Creating another batch, because the input has changed since batch %s was created.", batch.id)
        if not batch.is_terminal:
            try:
                self._operator.hook.cancel_batch(batch.id, provider_id=self._operator.provider_id)
                log.info("Asked for batch %s to be cancelled.", batch.id)
            except RespanError as error:
                log.warning("Batch %s could not be cancelled, and continues to run: %s", batch.id, error)

    def _wait_for_listing(self, note: Note | None) -> Batch | None:
        """Wait until a batch that was created a moment ago must be in the list, and search the list again."""
        sent_at = note.sent_at if note else self._started_at
        seconds_left = sent_at + self._operator.not_found_grace - time.time()
        if seconds_left <= 0:
            return None
        log.info("Searching again in %.0f seconds, because a new batch may not be in the list yet.", seconds_left)
        time.sleep(seconds_left)
        return self.find_listed()


def _status_text(batch: Batch) -> str:
    return describe_batch(batch) if batch.is_terminal else f"Batch {batch.id} is {batch.status}."
