"""The faults that ``make test-deployment`` causes one after the other, while an Airflow waits for many batches."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airflow_respan.sandbox import Fault, RespanSandbox

LIST = "/api/v1/batches/"
REQUESTS_PER_FAULT = 10
RETRY_AFTER_SECONDS = 20.0
MAX_END_SECONDS = 900.0
"""Airflow takes five minutes to detect a worker that died, and ten to detect a task that no worker started."""


@dataclass(kw_only=True)
class Wait:
    """One wait, and its expected end.

    :param map_index: the index of the mapped task instance
    :param final_fields: the fields of the batch when it has ended
    :param state: the state that the task must end in
    :param is_over: whether the batch has ended, or must not be checked any more
    :param ended_by_hand_at: when somebody ended the wait by hand (seconds of ``time.monotonic``), or None
    """

    task_id: str
    map_index: int
    batch_id: str
    final_fields: dict[str, Any]
    state: str
    is_over: bool = False
    ended_by_hand_at: float | None = None

    @property
    def path(self) -> str:
        """The path of a retrieve of the batch."""
        return f"/api/v1/batches/{self.batch_id}/"


@dataclass(kw_only=True)
class Deployment:
    """The Airflow and the sandbox that the faults change.

    :param sandbox: the service
    :param waits: all waits whose tasks are not changed by hand
    :param by_hand: task id -> a wait whose task is changed by hand
    :param call: calls Airflow's API: method, path, body
    :param start: starts a component
    :param end: ends a component by a signal
    :param until: waits for a condition, described in words, at most ``seconds``; returns the seconds that it took
    :param run_path: the path of the DAG run in that API, once there is one
    :param events: what happened, with figures, for the report
    """

    sandbox: RespanSandbox
    waits: list[Wait]
    by_hand: dict[str, Wait]
    call: Callable[..., Any]
    start: Callable[[str], None]
    end: Callable[[str, signal.Signals], None]
    until: Callable[..., float]
    run_path: str = ""
    events: list[str] = field(default_factory=list)

    def record(self, text: str) -> None:
        """Print an event, and record it for the report."""
        print(f"  {text}", flush=True)
        self.events.append(text)

    def ongoing(self) -> list[Wait]:
        """Return the waits that are not over."""
        return [wait for wait in (*self.waits, *self.by_hand.values()) if not wait.is_over]

    def finish(self, waits: Iterable[Wait]) -> None:
        """End the batches of these waits."""
        for wait in waits:
            self.sandbox.change_batch(wait.batch_id, **wait.final_fields)
            wait.is_over = True

    def all_checked_since(self, since: float, *, status: int = 200) -> Callable[[], bool]:
        """Return a condition: each running batch has been checked since a moment, with this status as the response.

        A page of the list counts as a check of all deferred waits.

        :param since: seconds of ``time.monotonic``
        """

        def all_checked() -> bool:
            checked = {
                request.path for request in self.sandbox.requests if request.at > since and request.status == status
            }
            deferred = {"deferred", *self.by_hand} if LIST in checked else set()
            return all(wait.path in checked or wait.task_id in deferred for wait in self.ongoing())

        return all_checked

    def count_responses(self, status: int, *, since: float) -> int:
        """Return how many requests since a moment (``time.monotonic``) got a response with this status."""
        return sum(request.status == status and request.at > since for request in self.sandbox.requests)

    def batch(self, task_id: str) -> dict[str, Any]:
        """Return the fields of the batch of a wait that is changed by hand, without those that are None."""
        batch = self.sandbox.service.batches.get(self.by_hand[task_id].batch_id) or {}
        return {key: value for key, value in batch.items() if value is not None}

    def batch_is(self, task_id: str, status: str) -> bool:
        """Return whether the batch of a wait that is changed by hand has a status."""
        return bool(self.batch(task_id)["status"] == status)

    def all_have_a_triggerer_since(self, moment: str) -> bool:
        """Return whether each deferred task has a triggerer with a heartbeat since a moment (ISO 8601, UTC)."""
        jobs = [ti["triggerer_job"] for ti in self.task_instances("state=deferred&")]
        return all(job is not None and job["latest_heartbeat"] >= moment for job in jobs)

    def task_instances(self, query: str = "") -> Iterator[dict[str, Any]]:
        """Yield the task instances of the run from Airflow's API, page by page.

        :param query: a filter that ends with ``&``
        """
        for offset in range(0, len(self.waits) + 100, 100):
            path = f"{self.run_path}/taskInstances?{query}limit=100&offset={offset}"
            yield from self.call("GET", path)["task_instances"]

    def run_has_ended(self) -> bool:
        """Return whether the DAG run has succeeded or failed."""
        return str(self.call("GET", self.run_path)["state"]) in ("success", "failed")

    def count(self, state: str) -> int:
        """Return the number of task instances in a state."""
        found = self.call("GET", f"{self.run_path}/taskInstances?state={state}&limit=1")
        return int(found["total_entries"])


def triggerer_killed(deployment: Deployment) -> None:
    """Kill one of two triggerers with ``kill -9``; the other takes over its waits."""
    deployment.end("triggerer#1", signal.SIGKILL)
    killed_at = datetime.now(UTC).isoformat()
    is_over = partial(deployment.all_have_a_triggerer_since, killed_at)
    took = deployment.until(is_over, "the other triggerer has taken all waits over")
    deployment.until(deployment.all_checked_since(time.monotonic()), "the other triggerer has checked all")
    deployment.record(f"kill -9 of a triggerer: all its waits were taken over after {took:.0f} s")
    deployment.start("triggerer#3")


def outage(deployment: Deployment, seconds: float = 120) -> None:
    """Stop the service for a while: connections are refused."""
    deployment.sandbox.stop()
    time.sleep(seconds)  # the length of the outage
    deployment.sandbox.start()
    took = deployment.until(deployment.all_checked_since(time.monotonic()), "all waits have checked again")
    deployment.record(f"service down for {seconds:.0f} s: all waits checked again within {took:.0f} s")


def rate_limited(deployment: Deployment) -> None:
    """Respond to every request with 429 and ``retry_after``."""
    started = time.monotonic()
    deployment.sandbox.inject(Fault.rate_limit(retry_after=RETRY_AFTER_SECONDS), times=None)
    deployment.until(
        lambda: deployment.count_responses(429, since=started) >= REQUESTS_PER_FAULT, "enough requests got 429"
    )
    deployment.sandbox.heal()
    deployment.until(deployment.all_checked_since(time.monotonic()), "all waits have checked again")
    deployment.record(
        f"burst of 429 with retry_after {RETRY_AFTER_SECONDS:.0f}: {deployment.count_responses(429, since=started)} met"
    )


def unusable_responses(deployment: Deployment) -> None:
    """Respond with the HTML pages of a proxy, of which one looks like success (203), and cut connections."""
    faults = (Fault.html(502), Fault.html(203), Fault.cut(), Fault.cut(after=5))
    for fault in faults:
        deployment.sandbox.inject(fault, times=REQUESTS_PER_FAULT)
    deployment.until(lambda: not deployment.sandbox.service.faults, "all faults have been responses")
    deployment.until(deployment.all_checked_since(time.monotonic()), "all waits have checked again")
    deployment.record(f"HTML pages and cut connections of {len(faults)} kinds, {REQUESTS_PER_FAULT} of each")


def key_replaced(deployment: Deployment) -> None:
    """Put a new key into the connection, and revoke the old one."""
    key = "another-sandbox-key"
    deployment.call(
        "PATCH",
        "/connections/respan_default?update_mask=password",
        {"connection_id": "respan_default", "conn_type": "respan", "password": key},
    )
    deployment.sandbox.api_key = key
    deployment.until(deployment.all_checked_since(time.monotonic()), "all waits have checked with the new key")
    deployment.record("key replaced in the connection and the old one revoked")


def scheduler_restarted(deployment: Deployment) -> None:
    """End the scheduler, and start it again."""
    deployment.end("scheduler", signal.SIGTERM)
    deployment.start("scheduler")
    started = time.monotonic()
    # A LocalExecutor's workers may die with their scheduler.
    deployment.until(deployment.all_checked_since(started), "all waits have checked again", seconds=MAX_END_SECONDS)
    deployment.record("scheduler restarted")


def changed_by_hand(deployment: Deployment) -> None:
    """Mark waits failed or successful and clear others by hand, with and without ``cancel_on_kill``.

    :raises RuntimeError: if a batch was cancelled whose task needs it
    """
    marked = {"marked_failed": "failed", "marked_failed_cancelling": "failed", "marked_success_cancelling": "success"}
    for task_id, state in marked.items():
        deployment.call("PATCH", f"{deployment.run_path}/taskInstances/{task_id}/0", {"new_state": state})
        deployment.by_hand[task_id].ended_by_hand_at = time.monotonic()
        deployment.by_hand[task_id].state = state
    dag_path, run_id = deployment.run_path.split("/dagRuns/")
    cleared = [["cleared", 0], ["cleared_cancelling", 0]]
    deployment.call(
        "POST",
        f"{dag_path}/clearTaskInstances",
        {"dag_run_id": run_id, "task_ids": cleared, "dry_run": False, "only_failed": False},
    )
    is_cancelled = partial(deployment.batch_is, "marked_failed_cancelling", "cancelled")
    deployment.until(is_cancelled, "the wait marked_failed_cancelling has cancelled its batch")
    deployment.by_hand["marked_failed_cancelling"].final_fields = deployment.batch("marked_failed_cancelling")
    for task_id, wait in deployment.by_hand.items():
        wait.is_over = task_id in marked
    deployment.until(deployment.all_checked_since(time.monotonic()), "the cleared waits have checked again")
    for task_id in ("marked_success_cancelling", "cleared_cancelling"):
        if deployment.batch_is(task_id, "cancelling") or deployment.batch_is(task_id, "cancelled"):
            raise RuntimeError(f"the wait {task_id} has cancelled its batch")
    deployment.record("waits marked failed, marked successful and cleared by hand, with and without cancel_on_kill")
