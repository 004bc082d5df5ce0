"""One wait for one batch: when to check it, what the result of a check means, and what to log.

Poking, rescheduled and deferred waits share these rules. No I/O.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import pendulum

from airflow_respan.api.batch import Batch
from airflow_respan.api.exceptions import (
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanTransientError,
    RespanWrongIdError,
)
from airflow_respan.api.statuses import STATUSES
from airflow_respan.waiting.grace import GracePeriod
from airflow_respan.waiting.pauses import jittered_pause_seconds
from airflow_respan.waiting.progress import describe_progress, duration_text, progress_key
from airflow_respan.waiting.seconds import parse_seconds
from airflow_respan.waiting.times import read_times

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 600.0
"""After so long the progress is logged again, even if nothing has changed."""

MISSING_CONNECTION_GRACE_SECONDS = 600.0
"""How long a connection that was used before may be missing."""

MAX_UNKNOWN_STATUSES = 10
"""After a warning for so many statuses that are not documented, further ones are not logged as warnings."""

DEADLINE_SLACK_SECONDS = 0.1
"""A check that would come less than this before the deadline is moved to the deadline, so that one check is enough."""


@dataclass(frozen=True)
class TimedOut:
    """The end of a wait whose deadline passed before the batch ended.

    :param message: the state of the batch as last seen, and what to do next
    """

    message: str


@dataclass(kw_only=True)
class BatchWait:
    """The rules of a wait, and the results of its checks in this process.

    A wait may move from a worker to a triggerer and to another triggerer. Its arguments are plain JSON, because they
    are saved with the arguments of the trigger. :meth:`options` returns them for the process that continues the wait.

    Each check ends in :meth:`on_batch` or in :meth:`on_error`. Then :meth:`pause_seconds` is the time until the next
    check. The wait is over when :meth:`on_batch` returns True, :meth:`on_error` raises, or a check was made and
    :meth:`seconds_left` is 0 or less.

    :param batch_id: the batch
    :param started_at: when the wait began (ISO 8601 with offset); the process that continues a wait keeps it, and so
        the deadline
    :param timeout: seconds from ``started_at`` to the deadline
    :param poke_interval: seconds between two checks; up to a tenth is added at random, so that waits which began
        together do not check together
    :param exponential_backoff: make each pause as long as the wait so far, so that the wait doubles each time
    :param max_wait: the longest pause that this may give (seconds), or None
    :param not_found_grace: seconds since the first of several 404s, or of responses about another batch, in which they
        do not end the wait; a check that finds the batch ends this period
    :param silent_fail: whether the wait continues after every error, also of the API or of the connection
    :param next_check_at: when the process that waited before had planned the next check (ISO 8601), or None
    :param checked_at: when that process made its last check (ISO 8601), or None
    :param missing_since: when that process got the first of several 404s (ISO 8601); None if it got none, or found the
        batch since
    :param last_logged: what was logged last, perhaps by the process that waited before, so that it is not repeated
    """

    batch_id: str
    started_at: str = field(default_factory=lambda: pendulum.now("UTC").isoformat())
    timeout: float = 7 * 24 * 3600.0
    poke_interval: float = 60.0
    exponential_backoff: bool = False
    max_wait: float | None = None
    not_found_grace: float = 60.0
    silent_fail: bool = False
    next_check_at: str | None = None
    last_logged: Any = None
    checked_at: str | None = None
    missing_since: str | None = None
    batch: Batch | None = field(default=None, init=False)
    error: RespanError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Check the arguments, which may come from another release or from a DAG.

        :raises ValueError: if an argument is not a number of seconds, or not a time; the message names it
        """
        for name in ("timeout", "poke_interval", "max_wait", "not_found_grace"):
            value = getattr(self, name)
            if name != "max_wait" or value is not None:
                parse_seconds(name, value)
        past = {"started_at": self.started_at, "checked_at": self.checked_at, "missing_since": self.missing_since}
        times = read_times(past, {"next_check_at": self.next_check_at})
        self._started_at_unix = times["started_at"] or 0.0
        self._planned_check_at_unix = times["next_check_at"]
        # If the planned check is overdue, another process has perhaps made it, and found the batch. A wait whose batch
        # it did not find would have ended.
        is_overdue = self._planned_check_at_unix is not None and self._planned_check_at_unix < time.time()
        missing_since = None if is_overdue else times["missing_since"]
        self._batch_grace = GracePeriod(self.not_found_grace, missing_since=missing_since)
        self._connection_grace = GracePeriod(MISSING_CONNECTION_GRACE_SECONDS)
        self._logged_at = self._started_at_unix
        self._warned_statuses: set[str] = set()

    def options(self) -> dict[str, Any]:
        """Return the arguments with which another process continues this wait, as plain JSON."""
        return {name: getattr(self, name) for name in self.option_names()}

    @staticmethod
    def option_names() -> tuple[str, ...]:
        """Return the names of the arguments."""
        return _OPTIONS

    def seconds_left(self) -> float:
        """Return the seconds to the deadline; negative after it."""
        # Rounded, because a timer may end a microsecond early, and that would take one more check.
        return round(self._started_at_unix + self.timeout - time.time(), 3)

    def on_batch(self, batch: Batch) -> bool:
        """Record the batch that a check returned, and log its progress if that has changed.

        :param batch: the batch; if it is the same object as last time, nothing has changed
        :return: whether the batch has ended
        """
        if self.error:
            log.info("Batch %s can be checked again.", self.batch_id)
        elif batch is self.batch and not self._heartbeat_is_due():
            return batch.is_terminal  # saves time: with thousands of waits, most checks return nothing new
        self.batch, self.error, self.missing_since = batch, None, None
        self._batch_grace.end()
        self._connection_grace.end()
        is_new = batch.status not in STATUSES and batch.status not in self._warned_statuses
        if is_new and len(self._warned_statuses) < MAX_UNKNOWN_STATUSES:
            self._warned_statuses.add(batch.status)
            log.warning(
                "Batch %s has the status %r, which is not documented; the wait continues.", batch.id, batch.status
            )
        if not batch.is_terminal:  # the outcome of a terminal batch is logged when it is evaluated
            self._log_if_new(
                logging.INFO, progress_key(batch), lambda: describe_progress(batch, now=pendulum.now("UTC"))
            )
        return batch.is_terminal

    def on_error(self, error: RespanError) -> None:
        """Record and log the error of a check, if the wait continues after it.

        :param error: the error
        :raises RespanConfigurationError: if the first check of the wait found a certificate that is not accepted
        :raises RespanError: the same error, if it ends the wait: it is permanent, or its grace period has passed
        """
        is_untrusted = isinstance(error, RespanTransientError) and error.is_untrusted
        if is_untrusted and not (self._was_checked or self.silent_fail):
            # A certificate that was accepted before may be accepted again, but this one never was.
            raise RespanConfigurationError(str(error))
        is_transient = isinstance(error, RespanTransientError) and not isinstance(error, RespanWrongIdError)
        if not (self.silent_fail or is_transient or self._is_within_grace(error)):
            raise error
        self.error = error
        # A checksum, because it is saved with the arguments of the trigger, where no text of the service belongs.
        key = zlib.crc32(str(error).encode(errors="replace"))
        text = f"Batch {self.batch_id} could not be checked; the wait continues: {error}"
        self._log_if_new(logging.WARNING, key, lambda: text)

    def pause_seconds(self) -> float:
        """Return the seconds until the next check: at least a ``retry_after``, but never past the deadline.

        If the process that waited before had planned a check, the first check of this process keeps that time. It is 0
        if that time has passed. While the batch is missing, a check is made when its grace period ends.
        """
        left = max(0.0, self.seconds_left())
        if self._planned_check_at_unix is not None and not self.batch and not self.error:
            seconds = max(0.0, self._planned_check_at_unix - time.time())
        else:  # this process has made the first check, perhaps early
            seconds = self._regular_pause_seconds()
        return seconds if seconds < left - DEADLINE_SLACK_SECONDS else left

    def must_stay(self, pause_seconds: float) -> bool:
        """Return whether the process that made the last check has to make the next one, too.

        That is so while the batch, or the connection, is missing: another process would not know since when.

        :param pause_seconds: from :meth:`pause_seconds`
        """
        grace = self._grace_of(self.error)
        return grace is not None and grace.is_running and pause_seconds <= grace.seconds_left()

    def timed_out(self) -> TimedOut:
        """Return the timeout of this wait, with the progress and the error of the last check."""
        timeout = duration_text(self.timeout)
        parts = [f"The timeout of {timeout} has passed, and no check has shown the end of batch {self.batch_id}."]
        if self.batch:
            last_seen = "When it was last seen: " if self.error else ""
            parts.append(last_seen + describe_progress(self.batch, now=pendulum.now("UTC")))
            if self.batch.status not in STATUSES:
                parts.append("This release does not know this status, so the batch may have ended.")
        if self.error:
            parts.append(f"The last check failed: {self.error}")
        parts.append("The batch may still be running at the service, and be billed: clear the task to wait again.")
        return TimedOut(" ".join(parts))

    @property
    def _was_checked(self) -> bool:
        """Whether this wait was checked before, in this process or in another."""
        return bool(self.batch or self.next_check_at or self.checked_at)

    def _regular_pause_seconds(self) -> float:
        seconds = jittered_pause_seconds(
            self.poke_interval,
            age_seconds=time.time() - self._started_at_unix if self.exponential_backoff else None,
            max_wait=self.max_wait,
            retry_after=(isinstance(self.error, RespanTransientError) and self.error.retry_after) or 0.0,
        )
        grace = self._grace_of(self.error)
        return min(seconds, grace.seconds_left()) if grace and grace.is_running else seconds

    def _is_within_grace(self, error: RespanError) -> bool:
        """Return whether an error may pass because the batch or the connection may be missing for a short time."""
        grace = self._grace_of(error)
        if grace is None:
            return False
        if grace is self._batch_grace:
            self._connection_grace.end()  # it was there for this check
            if not grace.is_running:
                self.missing_since = pendulum.now("UTC").isoformat()
        grace.start()
        return grace.seconds_left() > 0

    def _grace_of(self, error: RespanError | None) -> GracePeriod | None:
        """Return the grace period of an error, or None if it has none."""
        if isinstance(error, RespanNotFoundError | RespanWrongIdError):
            # A new batch may not be shown yet. Seen at another service: a batch that was found before was missing.
            return self._batch_grace
        if isinstance(error, RespanMissingConnectionError) and self._was_checked:
            # The connection was used before, so it exists: perhaps Airflow cannot reach its own database.
            return self._connection_grace
        return None

    def _heartbeat_is_due(self) -> bool:
        # Less than 0 if the clock of the machine was set back.
        return not 0 <= time.time() - self._logged_at < HEARTBEAT_SECONDS

    def _log_if_new(self, level: int, key: object, text: Callable[[], str]) -> None:
        """Log a line if its key has changed, or the heartbeat is due; else log it for DEBUG only."""
        if key != self.last_logged or self._heartbeat_is_due():
            self.last_logged, self._logged_at = key, time.time()
            log.log(level, text())
        elif log.isEnabledFor(logging.DEBUG):
            log.debug(text())


_OPTIONS = tuple(f.name for f in fields(BatchWait) if f.init)
