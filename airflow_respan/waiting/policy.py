"""One wait for one batch: when to look, what a look means, what to log. No I/O; poking and deferred waits share it."""

from __future__ import annotations

import logging
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import pendulum

from airflow_respan.api.batch import Batch
from airflow_respan.api.exceptions import (
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanTransientError,
)
from airflow_respan.api.statuses import STATUSES
from airflow_respan.waiting.progress import describe_progress, duration_text

log = logging.getLogger(__name__)

JITTER_RATIO = 0.1
HEARTBEAT_SECONDS = 600.0
MISSING_CONNECTION_GRACE_SECONDS = 600.0
MAX_SECONDS = 100 * 365 * 24 * 3600.0
DEADLINE_SLACK_SECONDS = 0.1
"""Seconds before the deadline within which a look is put off to it, instead of being followed by another at once."""


@dataclass(frozen=True)
class TimedOut:
    """The end of a wait whose deadline passed before the batch had ended.

    :param message: what is known of the batch, and what to do next
    """

    message: str


@dataclass(kw_only=True)
class BatchWait:
    """The rules of a wait, and what it has seen in this process.

    What it is made of is plain JSON, and travels as it is in the arguments of the trigger.

    :param batch_id: the batch
    :param started_at: when the wait began (ISO 8601 with offset): the deadline hangs on it, whoever goes on waiting
    :param timeout: seconds from ``started_at`` to the deadline
    :param poke_interval: seconds between two looks; up to a tenth is added at random, so that waits which began
        together do not look together
    :param exponential_backoff: make each pause as long as the wait so far, hence double the wait each time
    :param max_wait: the longest pause that this may come to (seconds), or None
    :param not_found_grace: seconds from ``started_at``, or since the batch was last found, during which a 404 may pass
    :param silent_fail: wait on through errors of the API too
    :param next_check_at: when the one who waited before meant to look again (ISO 8601), if that is to come yet
    :param last_logged: what the log has been told last, be it by the one who waited before: no need to repeat that
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
    batch: Batch | None = field(default=None, init=False)
    error: RespanError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Check what may come from another release, or by hand.

        :raises ValueError: names the field at fault
        """
        for name in ("timeout", "poke_interval", "max_wait", "not_found_grace"):
            value = getattr(self, name)
            if value is None and name == "max_wait":
                continue
            if not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
                raise ValueError(f"{name} is {value!r}; it is a number of seconds, from 0 to {MAX_SECONDS:.0f}")
        # Not in the future, whatever the clock of the machine says that it began on.
        # In Unix seconds from here on: there are thousands of waits, and pendulum's arithmetic is slow.
        self._start = min(_unix_seconds("started_at", self.started_at), time.time())
        self._planned = _unix_seconds("next_check_at", self.next_check_at) if self.next_check_at else self._start
        self._logged_at = self._start
        self._warned: set[str] = set()
        self._unavailable_since: float | None = None

    def options(self) -> dict[str, Any]:
        """Give the fields that make the same wait go on elsewhere, as plain JSON."""
        return {name: getattr(self, name) for name in self.option_names()}

    @staticmethod
    def option_names() -> tuple[str, ...]:
        """Name the fields that :meth:`options` gives, and that a wait can be made of."""
        return _OPTIONS

    def seconds_left(self) -> float:
        """Seconds to the deadline; negative after it."""
        # Rounded, lest a clock that woke us a microsecond early cost another look.
        return round(self._start + self.timeout - time.time(), 3)

    def on_batch(self, batch: Batch) -> bool:
        """Take in what a look brought, and log it if it is news.

        :return: whether the batch has ended
        """
        if self.error:
            log.info("Respan answers again about batch %s.", self.batch_id)
        elif batch is self.batch and not self._heartbeat_is_due():
            return batch.is_terminal  # as most looks bring nothing new, when there are thousands of waits
        self.batch, self.error, self._unavailable_since = batch, None, None
        if batch.status not in STATUSES and batch.status not in self._warned:
            self._warned.add(batch.status)
            log.warning("Batch %s has the status %r, which is not documented; waiting on.", batch.id, batch.status)
        if not batch.is_terminal:  # what has become of a terminal one is told with the verdict
            self._log_if_new(logging.INFO, _log_key(batch), lambda: describe_progress(batch, now=pendulum.now("UTC")))
        return batch.is_terminal

    def on_error(self, error: RespanError) -> None:
        """Take in a look that brought nothing; returns if the wait goes on.

        :param error: what stood in the way
        :raises RespanError: that error, if it is none that passes
        """
        if not (self.silent_fail or isinstance(error, RespanTransientError) or self._is_within_grace(error)):
            raise error
        self.error = error
        # A number for the text: what a service says has no place in the arguments of a trigger.
        news = zlib.crc32(str(error).encode(errors="replace"))
        self._log_if_new(logging.WARNING, news, lambda: f"Waiting on for batch {self.batch_id}: {error}")

    def pause_seconds(self) -> float:
        """Choose the seconds until the next look: never past the deadline, never against a ``retry_after``."""
        left = max(0.0, self.seconds_left())
        seconds = self._planned - time.time()
        if seconds <= 0 or self.batch or self.error:  # what the one before planned is over with a look, be it early
            seconds = self._usual_pause()
        return seconds if seconds < left - DEADLINE_SLACK_SECONDS else left

    def timed_out(self) -> TimedOut:
        """Return the timeout of this wait, with all that is known of the batch."""
        parts = [f"Batch {self.batch_id} has not ended within the timeout of {duration_text(self.timeout)}."]
        if self.batch:
            parts.append(describe_progress(self.batch, now=pendulum.now("UTC")))
        if self.error:
            parts.append(f"The last look failed: {self.error}")
        parts.append("The batch itself goes on, and is billed: clear the task to wait again.")
        return TimedOut(" ".join(parts))

    def _usual_pause(self) -> float:
        seconds = self.poke_interval
        if self.exponential_backoff:
            seconds = max(seconds, time.time() - self._start)
            if self.max_wait is not None:
                seconds = min(seconds, self.max_wait)
        if isinstance(self.error, RespanTransientError):
            seconds = max(seconds, self.error.retry_after or 0)
        return seconds * (1 + JITTER_RATIO * random.random())  # noqa: S311 (spreads load, keeps no secret)

    def _is_within_grace(self, error: RespanError) -> bool:
        """Say whether a refusal is one that time may heal."""
        now = time.time()
        if isinstance(error, RespanNotFoundError):
            # A batch that was there was seen to be gone for a moment elsewhere.
            grace, began = self.not_found_grace, now if self.batch else self._start
        elif isinstance(error, RespanMissingConnectionError) and (self.batch or self.next_check_at):
            # Somebody has looked by this connection before: Airflow may just be unable to ask its own database.
            grace, began = MISSING_CONNECTION_GRACE_SECONDS, now
        else:
            return False
        self._unavailable_since = self._unavailable_since or began
        return now - self._unavailable_since < grace

    def _heartbeat_is_due(self) -> bool:
        return time.time() - self._logged_at >= HEARTBEAT_SECONDS

    def _log_if_new(self, level: int, news: object, text: Callable[[], str]) -> None:
        """Log what is news, and what is not every ten minutes; the rest is for DEBUG."""
        if news != self.last_logged or self._heartbeat_is_due():
            self.last_logged, self._logged_at = news, time.time()
            log.log(level, text())
        elif log.isEnabledFor(logging.DEBUG):
            log.debug(text())


_OPTIONS = tuple(f.name for f in fields(BatchWait) if f.init)


def _unix_seconds(name: str, text: str) -> float:
    """Read a moment as Unix seconds."""
    try:
        moment = pendulum.parse(text)
    except (TypeError, ValueError):
        moment = None
    if not isinstance(moment, pendulum.DateTime):
        raise ValueError(f"{name} is {text!r}; it is a moment, ISO 8601 with offset")
    return moment.timestamp()


def _log_key(batch: Batch) -> list[Any]:
    """Give what a line of log is worth when it changes: the status, whole percents of requests, the first failure.

    Not each request: of 50,000 in a batch some are done between any two looks.

    :return: plain JSON, as all that a wait is made of
    """
    counts = batch.request_counts
    if counts is None or not counts.total:
        return [batch.status, counts.to_dict() if counts else None]
    return [batch.status, counts.total, 100 * counts.done // counts.total, bool(counts.failed)]
