"""Runs the rounds of a task: plan a round, create its batches, land them, plan the next round, and merge at the end.

Its state is in the folder of the task. So each process continues where the one before has stopped: a retry, an attempt
after a clear, and the process that resumes a deferred task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.counts import count_text
from airflow_respan.exceptions import (
    RespanBatchFailed,
    RespanError,
    RespanInputChangedError,
    RespanTaskKilledError,
)
from airflow_respan.jsonl import decode_object, get_custom_id, read_lines
from airflow_respan.results.destination import Destination
from airflow_respan.results.formats import FORMATS
from airflow_respan.results.requested_ids import make_id_key
from airflow_respan.rounds.folder import RoundsFolder
from airflow_respan.rounds.merge import Merge, MergeKey
from airflow_respan.rounds.outcomes import Outcome, OutcomeRules
from airflow_respan.rounds.part_run import PartOptions, PartRun
from airflow_respan.rounds.plan import Round, input_name
from airflow_respan.rounds.split import Splitter
from airflow_respan.storage import open_for_reading
from airflow_respan.submission.identity import compute_fingerprint, task_key
from airflow_respan.submission.input import EmptyInputError, InputDigest, check_requests
from airflow_respan.submission.previous_attempts import CreatingTask
from airflow_respan.submission.submit import warn_of_several_models
from airflow_respan.waiting.policy import BatchWait

log = logging.getLogger(__name__)

Source = Callable[[], Iterable[tuple[int, Any]]]


@dataclass(frozen=True, kw_only=True)
class RoundsOptions:
    """How a task asks: arguments of the operator, with templates rendered.

    :param path: URI of the folder
    :param max_rounds: how often a request is asked at most
    :param max_active_batches: how many batches are in progress at the same time at most
    :param split_by_model: whether each batch may only have requests for one model
    :param formats: names of the formats besides JSONL
    :param overwrite: whether to take the folder over from another task
    :param allow_empty: whether an input without requests gives an empty output
    :param rules: how the outcome of a request is decided
    :param parts: how the batches are created, awaited and landed
    """

    path: str
    max_rounds: int
    max_active_batches: int
    split_by_model: bool
    formats: tuple[str, ...]
    overwrite: bool
    allow_empty: bool
    rules: OutcomeRules
    parts: PartOptions


@dataclass(kw_only=True)
class Pending:
    """What the task waits for.

    :param waits: the waits for the batches that are in progress
    :param until_any: whether there is something to do as soon as one of them has ended
    :param resume_at: when there is something to do anyway (Unix seconds), or None
    """

    waits: list[BatchWait] = field(default_factory=list)
    until_any: bool = False
    resume_at: float | None = None

    def pause_seconds(self) -> float:
        """Return how long to pause until there may be something to do."""
        pauses = [wait.pause_seconds() for wait in self.waits]
        if self.resume_at is not None:
            pauses.append(max(self.resume_at - time.time(), 0.0))
        return min(pauses)


class RoundsRunner:
    """The rounds of one task, in this process.

    :param options: how the task asks
    :param task: the operator, with its templates rendered
    :param context: Airflow's context
    :param raise_if_killed: raises an error if the task was killed
    """

    def __init__(
        self,
        options: RoundsOptions,
        *,
        task: CreatingTask,
        context: Any,
        raise_if_killed: Callable[[], None],
    ) -> None:
        ti = context["ti"]
        self._options = options
        self._task = task
        self._context = context
        self._raise_if_killed = raise_if_killed
        self._key = task_key(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
        self._folder = RoundsFolder(options.path, task=self._key)
        self._rounds: list[Round] = []
        self._runs: dict[str, list[PartRun]] = {}
        self._replaced_plan: str | None = None
        self._input_name = input_name(ti.try_number)

    @property
    def current_runs(self) -> list[PartRun]:
        """The batches of the current round; none before the first round is planned."""
        return self._runs_of(self._rounds[-1]) if self._rounds else []

    def find_batches(self) -> list[str]:
        """Return the batches of the current round that have not ended, also those that are known only by a note.

        :raises RespanResultsError: if the notes cannot be read
        """
        runs = [run for run in self.current_runs if run.manifest is None]
        return [batch_id for run in runs if (batch_id := run.batch_id) and run.is_active]

    def begin(self, source: Source, *, is_repeatable: bool) -> dict[str, Any] | None:
        """Plan the first round, or find what earlier processes have done; return the manifest if all is done.

        :param source: returns the requests with their numbers
        :param is_repeatable: whether the source gives the same requests each time, so that a change can be found
        :raises RespanInputError: if the service would refuse a request
        :raises EmptyInputError: if there is no request, and that is not allowed
        :raises RespanInputChangedError: if the requests are not those that were asked before
        :raises RespanResultsError: if the folder belongs to another task
        """
        for name in self._options.formats:
            FORMATS[name].check_installed()
        self._folder.claim(overwrite=self._options.overwrite)
        self._rounds = self._folder.load_rounds()
        if self._rounds and is_repeatable and self._is_changed(source):
            self._replace()
        if not self._rounds:
            self._rounds = [self._plan_first(source)]
        manifest = self._destination().find_manifest()
        if manifest and (not manifest["counts"]["unsettled"] or len(self._rounds) >= self._options.max_rounds):
            return manifest
        return None

    def advance(
        self, *, known: Mapping[str, Batch], failed: Mapping[str, RespanError | RespanBatchFailed]
    ) -> dict[str, Any] | Pending:
        """Do everything that can be done now; return the manifest if all rounds have ended, or else what to wait for.

        :param known: batches that have ended, by their ids
        :param failed: errors that have ended the wait for a batch, by its id
        :raises RespanError: if a batch could not be created, awaited or landed, and no other batch is in progress
        :raises RespanBatchFailed: the same, if a batch ended in a way that is not accepted
        """
        while True:
            plan = self._rounds[-1]
            runs = self._runs_of(plan)
            if pending := self._advance_round(runs, known, failed):
                return pending
            for run in runs:
                if error := run.error or run.rejection():
                    raise error
            if (following := self._plan_next(plan, runs)) is None:
                return self._merge()
            self._rounds.append(following)

    def _advance_round(
        self, runs: list[PartRun], known: Mapping[str, Batch], failed: Mapping[str, RespanError | RespanBatchFailed]
    ) -> Pending | None:
        pending = Pending()
        active = sum(run.manifest is None and run.batch_id is not None and run.is_active for run in runs)
        is_refused = False
        for run in runs:
            self._raise_if_killed()
            if run.manifest is not None or (run.error and run.resume_at is None):
                continue
            if run.resume_at is not None and run.resume_at > time.time():
                is_refused = is_refused or run.error is None
                pending.resume_at = min(run.resume_at, pending.resume_at or run.resume_at)
                continue
            batch_id = run.batch_id
            if batch_id is not None and batch_id in failed:
                run.error = failed[batch_id]
                continue
            was_active = run.is_active
            may_submit = not is_refused and active - was_active < self._options.max_active_batches
            run.advance(known=known.get(batch_id) if batch_id else None, may_submit=may_submit)
            active += run.is_active - was_active
            is_refused = is_refused or (run.resume_at is not None and run.error is None)
            if run.is_active and run.wait:
                pending.waits.append(run.wait)
            elif run.resume_at is not None:
                pending.resume_at = min(run.resume_at, pending.resume_at or run.resume_at)
            elif run.manifest is None and run.error is None:
                pending.until_any = True  # it has to wait until another batch has ended
        return pending if pending.waits or is_refused else None

    def _plan_first(self, source: Source) -> Round:
        digest = InputDigest()
        with self._splitter(1) as splitter:
            try:
                for line, request in self._read(source):
                    splitter.add(line, request)
                    digest.add(line, request)
            except EmptyInputError:
                if not self._options.allow_empty:
                    raise
            parts = splitter.finish()
        if not self._options.split_by_model:
            warn_of_several_models(digest.result(), advice="set split_by_model=True")
        plan = Round(task=self._key, number=1, parts=parts, source=self._fingerprint(digest))
        self._log_plan(plan)
        return self._folder.save_plan(plan, replaced=self._replaced_plan)

    def _plan_next(self, plan: Round, runs: list[PartRun]) -> Round | None:
        """Return the next round, with the unsettled requests; None if there is none, or no further round is allowed."""
        if plan.number >= self._options.max_rounds:
            return None
        with self._splitter(plan.number + 1) as splitter:
            for run in runs:
                for line, request in self._unsettled(run):
                    splitter.add(line, request)
            parts = splitter.finish()
        if not parts:
            return None
        following = Round(task=self._key, number=plan.number + 1, parts=parts, previous=plan.plan_id)
        self._log_plan(following)
        return self._folder.save_plan(following)

    def _unsettled(self, run: PartRun) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        """Yield the unsettled requests of a landed part, as lines and as objects."""
        manifest = run.manifest
        assert manifest is not None  # noqa: S101 (all parts of the round are landed)
        outcomes = self._options.rules.read(manifest, self._folder.folder_of(run.part))
        settled = {found.key for found in outcomes if found.outcome is not Outcome.UNSETTLED}
        with open_for_reading(self._folder.input_uri(run.part)) as file:
            for _number, line in read_lines(file.read):
                request = decode_object(line)
                if make_id_key(get_custom_id(request)) not in settled:
                    yield line, request

    def _merge(self) -> dict[str, Any]:
        manifests = {
            run.part.folder: run.manifest
            for plan in self._rounds
            for run in self._runs_of(plan)
            if run.manifest is not None
        }
        merge = Merge(
            self._folder,
            self._rounds,
            manifests,
            rules=self._options.rules,
            key=self._key_of_merge(),
            connection=self._task.hook.get_conn().connection,
        )
        return merge.write(self._destination())

    def _destination(self) -> Destination:
        return Destination(self._folder.root, self._key_of_merge(), overwrite=self._options.overwrite)

    def _key_of_merge(self) -> MergeKey:
        plans = tuple(plan.plan_id for plan in self._rounds)
        return MergeKey(task=self._key, plans=plans, formats=self._options.formats)

    def _read(self, source: Source) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
        """Check the requests, and yield each as a line and as an object, until the task is killed."""

        def until_killed() -> Iterator[tuple[int, Any]]:
            for item in source():
                self._raise_if_killed()
                yield item

        return check_requests(until_killed(), endpoint=self._endpoint, max_requests=None, max_bytes=None)

    def _is_changed(self, source: Source) -> bool:
        """Return whether the requests differ from those that were asked; False if they cannot be read any more."""
        digest = InputDigest()
        try:
            with suppress(EmptyInputError):
                for line, request in self._read(source):
                    digest.add(line, request)
        except RespanTaskKilledError:
            raise
        except RespanError as error:
            log.warning(
                "The input cannot be read, so this attempt continues with the requests that are saved in %s: %s",
                self._options.path,
                error,
            )
            return False
        if self._fingerprint(digest) == self._rounds[0].source:
            return False
        if self._task.on_changed_input == "fail":
            raise RespanInputChangedError(
                "The input has changed: an earlier attempt of this task has asked the requests in "
                f"{self._folder.folder_of(self._rounds[0]).uri}. Restore the input to continue, or set "
                "on_changed_input='resubmit' to pay for all requests of the new input, or trigger a new run."
            )
        return True

    def _replace(self) -> None:
        """Cancel the batches of the earlier input that are in progress, and plan new rounds.

        :raises RespanError: if one cannot be cancelled, because it and the new one would be paid
        """
        for run in self.current_runs:
            if run.manifest is None:
                run.cancel()
        log.warning("The input has changed since an earlier attempt, so all requests of the new input are asked.")
        self._replaced_plan = self._rounds[0].plan_id
        self._rounds, self._runs = [], {}

    def _runs_of(self, plan: Round) -> list[PartRun]:
        if plan.plan_id not in self._runs:
            self._runs[plan.plan_id] = [
                PartRun(
                    plan,
                    part,
                    self._folder,
                    self._options.parts,
                    task=self._task,
                    context=self._context,
                    raise_if_killed=self._raise_if_killed,
                )
                for part in plan.parts
            ]
        return self._runs[plan.plan_id]

    def _splitter(self, number: int) -> Splitter:
        return Splitter(
            self._folder.write_input,
            round_number=number,
            input_name=self._input_name,
            by_model=self._options.split_by_model,
        )

    @property
    def _endpoint(self) -> str:
        return self._options.parts.batch.endpoint

    def _fingerprint(self, digest: InputDigest) -> str:
        return compute_fingerprint(
            content=digest.result().digest, endpoint=self._endpoint, provider_id=self._task.provider_id
        )

    def _log_plan(self, plan: Round) -> None:
        log.info(
            "Round %d of at most %d: %s in %s.",
            plan.number,
            self._options.max_rounds,
            count_text(plan.requests, "request"),
            count_text(len(plan.parts), "batch", "batches"),
        )
