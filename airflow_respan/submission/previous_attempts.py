"""Decides whether an attempt continues with the batch of an earlier attempt, so that no batch is paid twice."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pendulum

from airflow_respan.compat import earliest_start, is_after_clear
from airflow_respan.exceptions import RespanError, RespanInputChangedError, RespanNotFoundError
from airflow_respan.submission import identity
from airflow_respan.submission.note import Note, NoteStore, TaskStateNotes
from airflow_respan.submission.search import BatchSearch, find_file
from airflow_respan.waiting.outcome import describe_batch, evaluate_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_respan.api.batch import Batch
    from airflow_respan.hooks.respan import RespanHook

log = logging.getLogger(__name__)

CLOCK_MARGIN = pendulum.duration(hours=1)
"""The largest expected difference between the clocks of Airflow and of the service."""

MIN_SUSPENDED_SECONDS = 5.0
"""A process that needs less than this between its note and its create was not suspended."""

_NOT_CREATED = "No batch was created, because an earlier attempt of this task may have created one."


class CreatingTask(Protocol):
    """The attributes of the create operator that this module reads."""

    retries: int | None
    provider_id: str | None
    on_changed_input: str
    search_pages: int
    not_found_grace: float
    success_statuses: Collection[str]
    max_failed_ratio: float

    @property
    def hook(self) -> RespanHook:
        """The hook of the operator."""


class PreviousAttempts:
    """The attempts of a task before this one.

    :param operator: the operator, with its templates rendered
    :param context: Airflow's context
    :param input_file_id: the file that the operator was given, or None if the input is uploaded
    :param part: which of several batches of the task this is about; empty if the task makes one batch
    :param notes: where the notes about this batch are, instead of Airflow's ``task_state_store``
    :param is_first: whether it is certain that no earlier attempt sent a create; None to decide by the try number
    :param started_at: when this attempt began (Unix seconds); a batch of the attempt before may not be listed for
        ``not_found_grace`` after it. The current time by default
    :param must_be_replaced: returns whether a batch of an earlier attempt is not usable, given the batch and whether
        the task was cleared; None for the rule of a task that waits for one batch
    """

    def __init__(
        self,
        operator: CreatingTask,
        context: Any,
        *,
        input_file_id: str | None = None,
        part: str = "",
        notes: NoteStore | None = None,
        is_first: bool | None = None,
        started_at: float | None = None,
        must_be_replaced: Callable[[Batch, bool], bool] | None = None,
    ) -> None:
        ti = context["ti"]
        self.key = identity.task_key(
            dag_id=ti.dag_id, task_id=f"{ti.task_id}{part}", run_id=ti.run_id, map_index=ti.map_index
        )
        self._operator = operator
        self._context = context
        self._given_file_id = input_file_id
        self._notes = TaskStateNotes(context) if notes is None else notes
        self._is_first = ti.try_number <= 1 if is_first is None else is_first
        self._max_tries: int | None = ti.max_tries
        self._noted = None if self._is_first else self._notes.load()
        self._is_after_clear = is_after_clear(
            context, retries=operator.retries, earlier_max_tries=self._noted.max_tries if self._noted else None
        )
        self._started = time.time() if started_at is None else started_at
        self._noted_at = self._started
        self._search: BatchSearch | None = None
        self._decide_replacement = must_be_replaced or self._ended_badly

    def reusable_batch(self, fingerprint: str) -> Batch | None:
        """Return the batch that this attempt continues with, or None if it must create one.

        :param fingerprint: the fingerprint of this attempt's input
        :raises RespanInputChangedError: if that batch is of another input or provider, and ``on_changed_input`` is
            ``fail``
        :raises RespanError: if the search leaves it unclear whether there is a batch, or if a batch of another input
            cannot be cancelled
        """
        if self._is_first:
            return None
        batch = self._newest(fingerprint)
        if self._leads_to_payment(batch, fingerprint) and not self._is_noted(batch):
            # A batch that was created a moment ago may not be listed yet, although an older one is.
            batch = self._newest(fingerprint) if self._waited_for_listing() else batch
        if self._leads_to_payment(batch, fingerprint) and not self._is_noted(batch):
            self._refuse_if_unclear()
        if batch is None:
            log.info("No batch of an earlier attempt was found.")
            return None
        if self._must_be_replaced(batch):
            log.info(
                "Creating another batch, because the batch of an earlier attempt is not usable. %s", _status_text(batch)
            )
            return None
        if not self._is_changed(batch, fingerprint):
            log.info("Continuing with the batch of an earlier attempt. %s", _status_text(batch))
            return batch
        if self._operator.on_changed_input == "fail":
            raise RespanInputChangedError(
                f"The input has changed: an earlier attempt of this task made batch {batch.id}, which is "
                f"{batch.status}, of another input. Restore the input to continue with that batch, or set "
                "on_changed_input='resubmit' to pay for another, or trigger a new run."
            )
        if not batch.is_terminal:
            self._cancel_replaced(batch)
        log.warning("Creating another batch: the input is not that of batch %s.", batch.id)
        return None

    def newest_batch(self) -> Batch | None:
        """Return the newest batch of this task, of any input, or None if there is none.

        :raises RespanError: if the search leaves it unclear
        """
        return self._newest(None) or (self._newest(None) if self._waited_for_listing() else None)

    def cancel_newest(self) -> None:
        """Cancel the newest batch of this task, of any input, if it is in progress.

        :raises RespanError: if it cannot be cancelled, or the search leaves it unclear whether there is one
        """
        batch = None if self._is_first else self.newest_batch()
        if batch and not batch.is_terminal and not batch.meaning.is_being_cancelled:
            self._cancel_replaced(batch)

    def find_listed(self) -> Batch | None:
        """Return the newest batch of this task in the service's list; do not wait for one that is not listed yet.

        :raises RespanError: if the search leaves it unclear
        """
        self._search = None  # its hook may be in the middle of a request, which a signal has interrupted
        return next(iter(self._listed(None)), None)

    def find_uploaded_file(self, fingerprint: str, *, size: int) -> str | None:
        """Return the id of the input file that an earlier attempt uploaded, or None if there is no usable one.

        :param fingerprint: the fingerprint of this attempt's input
        :param size: bytes
        """
        if self._is_first:
            return None
        names = identity.input_file_names(key=self.key, fingerprint=fingerprint)
        file_id = find_file(self._operator.hook, names, size=size, provider_id=self._operator.provider_id)
        if file_id:
            log.info("Using %s, which an earlier attempt has uploaded.", file_id)
        return file_id

    def save_note(
        self, *, fingerprint: str, input_file_id: str, batch_id: str | None = None, sent_at: float | None = None
    ) -> None:
        """Save for the next attempt how far this attempt has come.

        :param batch_id: the batch, or None before it is created
        :param sent_at: when an earlier attempt sent the create (Unix seconds); None if this one does it
        :raises Exception: the error of Airflow's store, if ``batch_id`` is None. Later errors are only logged, because
            the batch already exists
        """
        self._noted_at = time.time()
        note = Note(
            fingerprint=fingerprint,
            input_file_id=input_file_id,
            sent_at=self._noted_at if sent_at is None else sent_at,
            batch_id=batch_id,
            provider_id=self._provider_id(),
            max_tries=self._max_tries,
        )
        try:
            self._notes.save(note)
        except Exception as error:
            if batch_id is None:  # nothing is paid yet
                raise
            log.warning(
                "The id of batch %s could not be saved (%s); a retry will search Respan's list.", batch_id, error
            )

    def refuse_if_suspended(self) -> None:
        """Refuse to send a create long after the note about it: another attempt may have sent one meanwhile.

        Another attempt waits for ``not_found_grace`` after the note before it creates a batch.

        :raises RespanError: if this process was suspended since :meth:`save_note`
        """
        seconds = time.time() - self._noted_at
        if seconds > max(self._operator.not_found_grace / 2, MIN_SUSPENDED_SECONDS):
            raise RespanError(
                f"This attempt was suspended for {seconds:.0f} seconds just before it created a batch, so another "
                "attempt may have created it. The next attempt of this task, a retry or after a clear, searches for it."
            )

    def _newest(self, fingerprint: str | None) -> Batch | None:
        """Return the newest batch of this task, from the note of an earlier attempt or else from the service's list."""
        try:
            return self._noted_batch() or next(iter(self._listed(fingerprint)), None)
        except RespanError as error:
            raise RespanError(f"{error} {_NOT_CREATED}") from error

    def _noted_batch(self) -> Batch | None:
        noted = self._noted
        if noted is None or noted.batch_id is None:
            return None
        try:
            batch = self._operator.hook.get_batch(noted.batch_id, provider_id=noted.provider_id)
        except RespanNotFoundError as error:
            if not self._is_after_clear:
                raise RespanError(
                    f"{error} If batch {noted.batch_id} does not exist any more, clear the task."
                ) from error
            log.warning(
                "Batch %s of an earlier attempt was not found, and the task was cleared: %s", noted.batch_id, error
            )
            return None
        return replace(batch, metadata={**(batch.metadata or {}), identity.FINGERPRINT_KEY: noted.fingerprint})

    def _listed(self, fingerprint: str | None) -> list[Batch]:
        """Return the batches of this task that the service lists, the newest first.

        Of batches that were created in the same second, usable ones come first.
        """
        if self._search is None:
            self._search = BatchSearch(
                self._operator.hook,
                task_key=self.key,
                fingerprint=fingerprint,
                given_file_id=self._given_file_id,
                since=earliest_start(self._context) - CLOCK_MARGIN,
                max_pages=self._operator.search_pages,
            )
        providers = [self._operator.provider_id]
        if self._noted and self._noted.provider_id not in (None, self._provider_id()):
            providers.append(self._noted.provider_id)
        found = self._search.find(providers)

        def rank(batch: Batch) -> tuple[float, bool]:
            return -batch.created_at.timestamp() if batch.created_at else 0.0, self._must_be_replaced(batch)

        return sorted(found, key=rank)

    def _leads_to_payment(self, batch: Batch | None, fingerprint: str) -> bool:
        """Return whether this attempt would create another batch, which costs money."""
        if batch is None or self._must_be_replaced(batch):
            return True
        return self._is_changed(batch, fingerprint) and self._operator.on_changed_input == "resubmit"

    def _is_noted(self, batch: Batch | None) -> bool:
        return batch is not None and self._noted is not None and batch.id == self._noted.batch_id

    def _is_changed(self, batch: Batch, fingerprint: str) -> bool:
        """Return whether a batch is of another input, or went to another provider."""
        if (batch.metadata or {}).get(identity.FINGERPRINT_KEY) != fingerprint:
            return True
        noted = self._noted
        # Notes of 0.1.0 have neither max_tries nor a provider.
        return noted is not None and noted.max_tries is not None and noted.provider_id != self._provider_id()

    def _provider_id(self) -> str | None:
        """Return the provider that a new batch is sent to: that of the task, or else that of the connection."""
        return self._operator.provider_id or self._operator.hook.get_conn().connection.provider_id

    def _refuse_if_unclear(self) -> None:
        """Refuse to create a batch while another batch may be this task's.

        After a clear, only log a batch that cannot be read: by the clear, the user has decided that it is not this
        task's. A search that was not complete is refused after a clear too.

        :raises RespanError: says why, and what to do
        """
        if self._search is None:
            return
        if self._search.incomplete:
            raise RespanError(f"{self._search.incomplete} {_NOT_CREATED}")
        for reason in self._search.unclear.values():
            if not self._is_after_clear:
                raise RespanError(
                    f"{reason} {_NOT_CREATED} If that batch is not this task's, clear the task: an attempt after a "
                    "clear ignores such a batch."
                )
            log.warning("Ignoring a batch that may be this task's, as the task was cleared: %s", reason)

    def _must_be_replaced(self, batch: Batch) -> bool:
        return self._decide_replacement(batch, self._is_after_clear)

    def _ended_badly(self, batch: Batch, is_after_clear: bool) -> bool:
        """Return whether a batch ended, or is about to end, without usable results."""
        if not batch.is_terminal:
            # A batch that is being cancelled will have no complete results, so there is no reason to wait for its end.
            return batch.meaning.is_being_cancelled
        outcome = evaluate_batch(
            batch,
            success_statuses=self._operator.success_statuses,
            max_failed_ratio=self._operator.max_failed_ratio,
        )
        if outcome.accepted or outcome.is_unknown:  # what is not known is no reason to pay again
            return False
        # A completed batch is paid, even if it is not accepted. So only a clear creates another one, and no retry.
        return not batch.meaning.is_complete or is_after_clear

    def _cancel_replaced(self, batch: Batch) -> None:
        """Cancel a batch of another input.

        :raises RespanError: if the batch is still running after the cancel failed, because both batches would be paid
        """
        hook, provider_id = self._operator.hook, self._noted_provider(batch)
        try:
            hook.cancel_batch(batch.id, provider_id=provider_id)
            log.info("Asked for batch %s to be cancelled.", batch.id)
        except RespanError as error:
            now = hook.get_batch(batch.id, provider_id=provider_id)
            if not (now.is_terminal or now.meaning.is_being_cancelled):
                raise RespanError(
                    f"{error} So batch {batch.id} of another input is still running, and no other batch was created."
                ) from error

    def _noted_provider(self, batch: Batch) -> str | None:
        return self._noted.provider_id if self._noted and self._is_noted(batch) else self._operator.provider_id

    def _waited_for_listing(self) -> bool:
        """Wait until ``not_found_grace`` has passed, so that a new batch is listed; return whether it had to wait."""
        sent_at = self._noted.sent_at if self._noted else self._started
        left = sent_at + self._operator.not_found_grace - time.time()
        if left > 0:
            log.info(
                "Searching again in %.0f seconds: a batch that was created a moment ago may not be listed yet.", left
            )
            time.sleep(left)
        return left > 0


def _status_text(batch: Batch) -> str:
    return describe_batch(batch) if batch.is_terminal else f"Batch {batch.id} is {batch.status}."
