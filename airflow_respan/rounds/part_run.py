"""The batch of one part: created once, checked, and landed when it has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.exceptions import (
    RespanBatchFailed,
    RespanError,
    RespanResultsError,
    RespanTaskKilledError,
    RespanTransientError,
)
from airflow_respan.landing_options import Deletable, LandingOptions
from airflow_respan.results.landing import Landing
from airflow_respan.results.temporary_errors import is_temporary_code
from airflow_respan.rounds.folder import RoundsFolder
from airflow_respan.rounds.plan import Part, Round
from airflow_respan.submission.previous_attempts import CreatingTask, PreviousAttempts
from airflow_respan.submission.submit import BatchOptions, Submission
from airflow_respan.waiting.outcome import describe_batch, is_queue_full
from airflow_respan.waiting.pauses import jittered_pause_seconds
from airflow_respan.waiting.policy import BatchWait

log = logging.getLogger(__name__)

LONGEST_RESUBMIT_SECONDS = 1800.0
"""The longest pause before a batch is created again, if it was refused because the provider's queue was full."""

BEFORE_THIS_ATTEMPT = 0.0
"""The time of a create about which there is no note (Unix seconds): an attempt with another folder has sent it."""


@dataclass(frozen=True, kw_only=True)
class PartOptions:
    """How the batches of a task are created, awaited and landed.

    :param batch: what each batch is created with
    :param wait: arguments of :class:`~airflow_respan.waiting.policy.BatchWait` but ``batch_id``
    :param success_statuses: the terminal statuses after which the task goes on
    :param delete_files: what to delete at the service after a batch is landed
    :param started_at: when this attempt of the task began (Unix seconds)
    """

    batch: BatchOptions
    wait: dict[str, Any]
    success_statuses: Collection[str]
    delete_files: Sequence[Deletable]
    started_at: float


class PartRun:
    """The batch of one part, in this process.

    :param plan: the round
    :param part: the part
    :param folder: the folder of the task
    :param options: how batches are created, awaited and landed
    :param task: the operator, with its templates rendered
    :param context: Airflow's context
    :param raise_if_killed: raises an error if the task was killed
    """

    def __init__(
        self,
        plan: Round,
        part: Part,
        folder: RoundsFolder,
        options: PartOptions,
        *,
        task: CreatingTask,
        context: Any,
        raise_if_killed: Callable[[], None],
    ) -> None:
        self.part = part
        self.batch: Batch | None = None
        """The batch as last seen."""
        self.wait: BatchWait | None = None
        """The wait for the batch, once its id is known."""
        self.error: RespanError | RespanBatchFailed | None = None
        """Why nothing more is done about the batch for now."""
        self.resume_at: float | None = None
        """When to try again to create the batch (Unix seconds), or None."""
        self.submission: Submission | None = None
        """The create that is in progress, or the last one."""
        self._plan = plan
        self._folder = folder
        self._notes = folder.notes_of(plan, part)
        self._options = options
        self._task = task
        self._context = context
        self._raise_if_killed = raise_if_killed
        self._manifest: dict[str, Any] | None = None
        self._is_manifest_read = False
        self._sent_at = plan.planned_at

    @property
    def label(self) -> str:
        """The part in messages: ``round 1``, or ``round 1, part 2 of 3``."""
        of_parts = f", part {self.part.number} of {len(self._plan.parts)}" if len(self._plan.parts) > 1 else ""
        return f"round {self._plan.number}{of_parts}"

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the part, once it is landed by this process or an earlier one."""
        if not self._is_manifest_read:
            self._manifest = self._folder.landed_manifest(self._plan, self.part)
            self._is_manifest_read = True
        return self._manifest

    @property
    def batch_id(self) -> str | None:
        """The batch, once it is known to this process or by the note."""
        if self.wait is None and (note := self._notes.load_of_plan()) and note.batch_id:
            self._follow(note.batch_id, sent_at=note.sent_at)
        return self.wait.batch_id if self.wait else None

    @property
    def is_active(self) -> bool:
        """Whether the batch is in progress, as far as this process knows."""
        return self.wait is not None and self._manifest is None and not (self.batch and self.batch.is_terminal)

    def rejection(self) -> RespanBatchFailed | None:
        """Return why the task must not continue after this part, which is landed; None if it may.

        If an earlier attempt has created the batch, the task may continue, because the user has cleared or retried it.
        """
        manifest, is_of_earlier_attempt = self.manifest, self.batch_id and self._sent_at < self._options.started_at
        if manifest is None or is_of_earlier_attempt or manifest["status"] in self._options.success_statuses:
            return None
        return RespanBatchFailed(
            f"Batch {manifest['batch_id']} of {self.label} is {manifest['status']}, and only "
            f"{' or '.join(map(repr, self._options.success_statuses))} counts as success. Its results are in "
            f"{manifest['path']}. To ask the requests without an answer again, clear the task."
        )

    def advance(self, *, known: Batch | None, may_submit: bool) -> None:
        """Do what can be done now: create the batch, check it, or land its results.

        :param known: the batch that has ended, if it is known without a retrieve
        :param may_submit: whether a batch may be created now
        :raises RespanTaskKilledError: if the task was killed
        :raises RespanInputChangedError: if the batch of an earlier attempt has another input
        """
        self.error = self.resume_at = None
        try:
            if self.batch_id is None:
                if may_submit:
                    self._submit()
            elif known is not None:
                self._see(known)
            elif not (self.batch and self.batch.is_terminal):
                self._check()
            if self.batch and self.batch.is_terminal:
                self._end(self.batch, may_submit=may_submit)
        except RespanTaskKilledError:
            raise
        except RespanTransientError as error:
            self.error = error
            self.resume_at = time.time() + max(self._resubmit_seconds(), error.retry_after or 0.0)
        except (RespanError, RespanBatchFailed) as error:
            self.error = error
        if self.error:
            log.warning("There was an error with the batch of %s: %s", self.label, self.error)

    def cancel(self) -> None:
        """Cancel the batch, if it is in progress, because the input was replaced.

        :raises RespanError: if it cannot be cancelled, or it is unclear whether there is one
        """
        self._notes.load()
        self._previous_attempts().cancel_newest()

    def _submit(self) -> None:
        """Create the batch, or continue with that of an earlier attempt."""
        noted = self._notes.load()
        attempts = self._previous_attempts()
        self.submission = Submission(
            self._options.batch,
            hook=self._task.hook,
            previous_attempts=attempts,
            push=lambda **_xcoms: None,
            raise_if_killed=self._raise_if_not_to_be_created,
        )
        self.wait = self.batch = None
        part, sent_at = self.part, time.time()
        batch = self.submission.submit_checked(self._folder.input_uri(part), size=part.size, digest=part.digest)
        self._refuse_if_superseded(batch)
        if self.submission.is_found:
            # It was found in the list, or by a note about an earlier plan. Without a note about this plan, the next
            # process would search again.
            sent_at = noted.sent_at if noted else BEFORE_THIS_ATTEMPT
            attempts.save_note(
                fingerprint=self.submission.fingerprint or "",
                input_file_id=batch.input_file_id or "",
                batch_id=batch.id,
                sent_at=sent_at,
            )
            self._refuse_if_superseded(None)
        self._follow(batch.id, sent_at=sent_at)
        self._see(batch)
        self._raise_if_killed()

    def _refuse_if_superseded(self, created: Batch | None) -> None:
        """End this attempt if another one has created the batch of the part while this process was suspended.

        :param created: the batch that this attempt has created nevertheless, because it was suspended just before the
            create was sent; it is cancelled at once
        :raises RespanResultsError: if another attempt has taken over
        """
        if not self._notes.is_superseded:
            return
        outcome = "this attempt does not create it"
        if created is not None:
            try:
                self._task.hook.cancel_batch(created.id, provider_id=self._options.batch.provider_id)
                outcome = f"batch {created.id} of this attempt was cancelled"
            except RespanError as error:
                outcome = f"batch {created.id} of this attempt is not needed, but could not be cancelled: {error}"
        raise RespanResultsError(
            f"Another attempt of this task has created the batch of {self.label} while this attempt was suspended, so "
            f"{outcome}. The next attempt, a retry or after a clear, continues with that batch."
        )

    def _previous_attempts(self) -> PreviousAttempts:
        return PreviousAttempts(
            self._task,
            self._context,
            part=f"#{self._plan.number}.{self.part.number}",
            notes=self._notes,
            # An earlier attempt may have had another folder, or the files in this one were deleted. So only the first
            # attempt is certain.
            is_first=self._notes.is_empty and self._context["ti"].try_number <= 1,
            started_at=self._options.started_at,
            must_be_replaced=lambda batch, _is_after_clear: self._is_refused(batch),
        )

    def _raise_if_not_to_be_created(self) -> None:
        self._raise_if_killed()
        self._folder.check_plan(self._plan)
        self._notes.check_last()

    def _follow(self, batch_id: str, *, sent_at: float) -> None:
        self.wait = BatchWait(batch_id=batch_id, **self._options.wait)
        self._sent_at = sent_at

    def _check(self) -> None:
        assert self.wait is not None  # noqa: S101 (batch_id has set it)
        try:
            batch = self._task.hook.get_batch(self.wait.batch_id, provider_id=self._options.batch.provider_id)
        except RespanError as error:
            self.wait.on_error(error)
        else:
            self._see(batch)

    def _see(self, batch: Batch) -> None:
        assert self.wait is not None  # noqa: S101 (batch_id or _submit has set it)
        self.batch = batch
        self.wait.on_batch(batch)

    def _end(self, batch: Batch, *, may_submit: bool) -> None:
        """Land the results of a batch that has ended, or create it again if it was refused."""
        if not self._is_refused(batch):
            self._land(batch)
        elif is_queue_full(batch):
            due = self._sent_at + self._resubmit_seconds()
            if may_submit and time.time() >= due:
                log.info("Creating the batch of %s again, as the provider's queue was full.", self.label)
                self._submit()
            else:
                self.resume_at = max(due, time.time() + self._options.wait["poke_interval"])
        elif self._sent_at < self._options.started_at:
            if may_submit:  # a retry, or a clear, after which the user wants another try
                self._submit()
        else:
            raise RespanBatchFailed(
                f"{describe_batch(batch)} No request of {self.label} was processed. Remove the cause, and clear the "
                "task to create the batch again."
            )

    def _is_refused(self, batch: Batch) -> bool:
        """Return whether a batch has ended before any of its requests was processed, and not in an accepted way."""
        if not batch.is_terminal or batch.status in self._options.success_statuses:
            return False
        has_temporary_error = any(is_temporary_code(error.code) for error in batch.service_errors())
        return not (batch.output_file_id or batch.error_file_id or has_temporary_error) or is_queue_full(batch)

    def _land(self, batch: Batch) -> None:
        self._manifest = Landing(
            LandingOptions(
                path=self._folder.folder_of(self.part).uri,
                batch_id=batch.id,
                output_file_id=None,
                error_file_id=None,
                input_path=self._folder.input_uri(self.part),
                input_file_id=None,
                on_missing="warn",
                on_bad_rows="drop",  # their requests count as without a row, and are asked again
                formats=(),
                overwrite=True,  # results that are in this folder are of an input that was replaced
                delete_files=self._options.delete_files,
                provider_id=self._options.batch.provider_id,
                allow_no_files=True,
                not_found_grace=self._options.wait["not_found_grace"],
            ),
            self._task.hook,
        ).run()

    def _resubmit_seconds(self) -> float:
        """Return the least time between two creates: at first ``poke_interval``, then twice as long, and so on."""
        return jittered_pause_seconds(
            self._options.wait["poke_interval"],
            age_seconds=max(self._sent_at - self._plan.planned_at, 0.0),
            max_wait=LONGEST_RESUBMIT_SECONDS,
            retry_after=0.0,
        )
