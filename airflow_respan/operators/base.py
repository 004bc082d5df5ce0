"""The base class of every task that may have batches in progress at Respan: its hook and its kill."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_respan.compat import BaseOperator, push_xcoms
from airflow_respan.exceptions import RespanError, RespanTaskKilledError
from airflow_respan.killed import is_batch_abandoned
from airflow_respan.operators.rendered import read_mapping, read_text

if TYPE_CHECKING:
    from airflow_respan.compat import Context
    from airflow_respan.hooks.respan import RespanHook

LONGEST_SLEEP = 1.0
"""Seconds: a sleep continues after the signal that kills the task, and Airflow ends its process 5 seconds later."""


class RespanOperator(BaseOperator):
    """A task that may have batches in progress when Airflow kills it.

    A subclass sets the attributes below from its arguments, and says by :meth:`_batches_in_progress` what to cancel.
    """

    respan_conn_id: str
    respan_params: Mapping[str, Any] | None
    provider_id: str | None
    cancel_on_kill: bool
    _context: Context | None = None
    """Airflow's context, for :meth:`on_kill`, which does not get it."""
    _is_killed = False
    _is_abandoned = False
    """Whether the task was killed, and no attempt can use its batches."""
    _cancelled_batch_ids: frozenset[str] = frozenset()

    @cached_property
    def hook(self) -> RespanHook:
        """The hook that sends the requests of this task."""
        from airflow_respan.hooks.respan import RespanHook

        return RespanHook(self.respan_conn_id)

    def on_kill(self) -> None:
        """End this attempt at its next step; if ``cancel_on_kill`` is set, cancel the batches that nobody can use.

        Airflow calls this when the task is killed on a worker, or ``execution_timeout`` has passed. From Airflow 3.0
        on, :meth:`execute` continues after it.
        """
        self._is_killed = True
        if not self.cancel_on_kill:
            return
        self._is_abandoned = self._context is not None and is_batch_abandoned(self._context["ti"])
        if self._is_abandoned:
            for batch_id in self._find_batches_in_progress():
                self._cancel_abandoned(batch_id)

    def _batches_in_progress(self) -> list[str]:
        """Return the batches of this task that are known to this process and have not ended."""
        return []

    def _find_batches_in_progress(self) -> list[str]:
        """Return the batches to cancel, also one whose create has no response yet."""
        return self._batches_in_progress()

    def _cancel_abandoned(self, batch_id: str) -> None:
        """Cancel a batch that nobody can use, unless that was done before."""
        if batch_id in self._cancelled_batch_ids:
            return
        self._cancelled_batch_ids |= {batch_id}
        try:
            self.hook.cancel_batch(batch_id, provider_id=self.provider_id)
            self.log.info("Asked for batch %s to be cancelled.", batch_id)
        except (RespanError, ValueError) as error:
            self.log.warning("Batch %s could not be cancelled: %s", batch_id, error)

    def _raise_if_killed(self) -> None:
        """End this attempt if :meth:`on_kill` was called.

        :raises RespanTaskKilledError: so that Airflow retries the task if it has attempts left, as it does not retry
            after a batch that ended badly; the cancellation of the killed task's own batch must not look like one
        """
        if not self._is_killed:
            return
        batch_ids = self._batches_in_progress()
        if not batch_ids:
            raise RespanTaskKilledError(
                "Airflow has killed this attempt before it created a batch. The next attempt, a retry or after a "
                "clear, creates it."
            )
        is_one = len(batch_ids) == 1
        raise RespanTaskKilledError(
            f"Airflow has killed this attempt of task {self.task_id!r} ({'batch' if is_one else 'batches'} "
            f"{', '.join(batch_ids)}): a person has ended or cleared it, its worker is shut down, or Airflow's API "
            "server did not accept its heartbeats. The next attempt, a retry or after a clear, continues with the "
            f"{'batch if it was' if is_one else 'batches that were'} not cancelled."
        )

    def _begin(self, context: Context) -> None:
        """Keep the context, and read the arguments that templates have rendered."""
        self._context = context
        self.provider_id = read_text("provider_id", self.provider_id, task_id=self.task_id)
        self.respan_params = read_mapping("respan_params", self.respan_params, task_id=self.task_id)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._raise_if_killed()
            time.sleep(min(left, LONGEST_SLEEP))
        self._raise_if_killed()

    def _push(self, context: Context, **xcoms: Any) -> None:
        if self.do_xcom_push:
            push_xcoms(context, xcoms)
