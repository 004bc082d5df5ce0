"""What earlier attempts of a task have left behind, and what is to become of it: nothing is paid twice."""

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
"""How far the clocks of Airflow and of the service may be apart."""


class CreatingTask(Protocol):
    """What is asked of the operator."""

    retries: int | None
    provider_id: str | None
    on_changed_input: str
    search_pages: int
    not_found_grace: float
    success_statuses: Collection[str]
    max_failed_ratio: float

    @property
    def hook(self) -> RespanHook:
        """The hook that the operator calls through."""


class PreviousAttempts:
    """The attempts of a task before this one.

    :param operator: the operator, templates rendered
    :param context: Airflow's
    """

    def __init__(self, operator: CreatingTask, context: Any) -> None:
        ti = context["ti"]
        self.key = identity.task_key(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
        self._operator = operator
        self._context = context
        self._is_first = ti.try_number <= 1
        self._cleared = is_after_clear(context, retries=operator.retries)
        self._started = time.time()

    def reusable_batch(self, fingerprint: str) -> Batch | None:
        """Give the batch that this attempt goes on with; None if it is to create one.

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
            log.info("Submitting anew: the batch of an earlier attempt is of no use. %s", _what_became_of(batch))
            return None
        if (batch.metadata or {}).get(identity.FINGERPRINT_KEY) == fingerprint:
            log.info("Going on with the batch of an earlier attempt. %s", _what_became_of(batch))
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
        """Find the newest batch of this task: by what was noted in Airflow, then in the service's list.

        :raises RespanError: if that cannot be found out
        """
        noted = load_note(self._context)
        try:
            if noted is not None and noted.batch_id is not None:
                batch = self._operator.hook.get_batch(noted.batch_id, provider_id=self._operator.provider_id)
                return replace(batch, metadata={**(batch.metadata or {}), identity.FINGERPRINT_KEY: noted.fingerprint})
            return self.find_listed() or self._wait_for_listing(noted)
        except RespanError as error:
            raise RespanError(
                "Whether an earlier attempt of this task made a batch could not be found out, so none is created: "
                f"{error}"
            ) from error

    def find_listed(self) -> Batch | None:
        """Find the newest batch of this task in the service's list.

        :raises RespanError: if that cannot be found out
        """
        return find_batch(
            self._operator.hook,
            self.key,
            since=earliest_start(self._context, after_clear=self._cleared) - CLOCK_MARGIN,
            most_pages=self._operator.search_pages,
            provider_id=self._operator.provider_id,
        )

    def find_uploaded_file(self, name: str, *, size: int) -> str | None:
        """Find the input that an earlier attempt has uploaded."""
        if self._is_first:
            return None
        file_id = find_file(self._operator.hook, name, size=size, provider_id=self._operator.provider_id)
        if file_id:
            log.info("Using %s, which an earlier attempt has uploaded.", file_id)
        return file_id

    def save_note(self, *, fingerprint: str, input_file_id: str, batch_id: str | None = None) -> None:
        """Tell the next attempt how far this one has come."""
        what = Note(fingerprint=fingerprint, input_file_id=input_file_id, sent_at=time.time(), batch_id=batch_id)
        try:
            save_note(self._context, what)
        except Exception as error:
            if batch_id is None:  # nothing is paid yet
                raise
            log.warning("The id of batch %s could not be noted (%s); a retry will list.", batch_id, error)

    def _must_be_replaced(self, batch: Batch) -> bool:
        """Say whether a batch ended, or is about to, in a way that nobody wants."""
        if not batch.is_terminal:
            # What is being cancelled comes to nothing; waiting for that would only cost time.
            return batch.meaning.is_being_cancelled
        accepted = evaluate_batch(
            batch,
            success_statuses=self._operator.success_statuses,
            max_failed_ratio=self._operator.max_failed_ratio,
        ).accepted
        # One that completed badly was paid for. Only somebody who clears the task asks for another.
        return not accepted and (not batch.meaning.is_complete or self._cleared)

    def _cancel_replaced(self, batch: Batch) -> None:
        log.warning("Submitting anew, as the input has changed since batch %s was made of it.", batch.id)
        if not batch.is_terminal:
            try:
                self._operator.hook.cancel_batch(batch.id, provider_id=self._operator.provider_id)
                log.info("Asked for batch %s to be cancelled.", batch.id)
            except RespanError as error:
                log.warning("Batch %s could not be cancelled, and goes on: %s", batch.id, error)

    def _wait_for_listing(self, noted: Note | None) -> Batch | None:
        """Find a batch that was asked for a moment ago, when it must be in the list."""
        sent_at = noted.sent_at if noted else self._started
        left = sent_at + self._operator.not_found_grace - time.time()
        if left <= 0:
            return None
        log.info("Looking again in %.0f seconds, lest a batch be missed that the list does not show yet.", left)
        time.sleep(left)
        return self.find_listed()


def _what_became_of(batch: Batch) -> str:
    return describe_batch(batch) if batch.is_terminal else f"Batch {batch.id} is {batch.status}."
