"""The faults that ``make test-deployment`` throws at an Airflow full of waits, one after the other."""

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
FAULTS_OF_A_KIND = 10
RETRY_AFTER = 20.0
LONGEST_END = 900.0
"""Seconds; Airflow takes five minutes to miss a worker that died, and ten to miss a task that nobody took up."""


@dataclass(kw_only=True)
class Wait:
    """One wait, and what is to become of it.

    :param task_id: its task
    :param map_index: which of the task's
    :param batch_id: the batch
    :param ends_as: the fields of the batch when it has ended
    :param state: what is then to become of the task
    :param is_over: whether the batch has ended, or nobody is to look at it any more
    :param let_go_at: when somebody ended the wait by hand (seconds of ``time.monotonic``), or None
    """

    task_id: str
    map_index: int
    batch_id: str
    ends_as: dict[str, Any]
    state: str
    is_over: bool = False
    let_go_at: float | None = None

    @property
    def path(self) -> str:
        """The path under which the batch is looked at."""
        return f"/api/v1/batches/{self.batch_id}/"


@dataclass(kw_only=True)
class Deployment:
    """What the storm blows on.

    :param sandbox: the service
    :param waits: all waits that nobody touches by hand
    :param by_hand: task id -> a wait that somebody does touch by hand
    :param call: asks Airflow's API: method, path, body
    :param start: starts a component
    :param end: ends a component by a signal
    :param until: waits for a condition, in words, at most ``seconds``; gives the seconds that it took
    :param run_path: the path of the DAG run in that API, once there is one
    :param happened: what was done, with figures, for the report
    """

    sandbox: RespanSandbox
    waits: list[Wait]
    by_hand: dict[str, Wait]
    call: Callable[..., Any]
    start: Callable[[str], None]
    end: Callable[[str, signal.Signals], None]
    until: Callable[..., float]
    run_path: str = ""
    happened: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        """Say what has happened, and keep it for the report."""
        print(f"  {text}", flush=True)
        self.happened.append(text)

    def ongoing(self) -> list[Wait]:
        """Give the waits whose batches go on."""
        return [wait for wait in (*self.waits, *self.by_hand.values()) if not wait.is_over]

    def finish(self, waits: Iterable[Wait]) -> None:
        """Let batches end."""
        for wait in waits:
            self.sandbox.change_batch(wait.batch_id, **wait.ends_as)
            wait.is_over = True

    def all_looked_at(self, since: float, *, status: int = 200) -> Callable[[], bool]:
        """Make a condition: each batch that goes on has been looked at since a moment, and the look was answered.

        The list shows the batches of all deferred waits.
        """

        def looked_at() -> bool:
            seen = {
                request.path for request in self.sandbox.requests if request.at > since and request.status == status
            }
            deferred = {"deferred", *self.by_hand} if LIST in seen else set()
            return all(wait.path in seen or wait.task_id in deferred for wait in self.ongoing())

        return looked_at

    def answered(self, status: int, *, since: float) -> int:
        """Count the requests that were answered so since a moment."""
        return sum(request.status == status and request.at > since for request in self.sandbox.requests)

    def batch(self, task_id: str) -> dict[str, Any]:
        """Give the batch of a wait that is touched by hand, as the service has it, without what is None."""
        batch = self.sandbox.service.batches.get(self.by_hand[task_id].batch_id) or {}
        return {key: value for key, value in batch.items() if value is not None}

    def batch_is(self, task_id: str, status: str) -> bool:
        """Say whether the batch of a wait that is touched by hand has a status."""
        return bool(self.batch(task_id)["status"] == status)

    def none_is_left_to_who_died_by(self, moment: str) -> bool:
        """Say whether each deferred task has a triggerer that was heard of since a moment (ISO 8601, UTC)."""
        jobs = [ti["triggerer_job"] for ti in self.task_instances("state=deferred&")]
        return all(job is not None and job["latest_heartbeat"] >= moment for job in jobs)

    def task_instances(self, query: str = "") -> Iterator[dict[str, Any]]:
        """Give the run's task instances as Airflow's API has them, page by page.

        :param query: which of them, and an ``&``
        """
        for offset in range(0, len(self.waits) + 100, 100):
            path = f"{self.run_path}/taskInstances?{query}limit=100&offset={offset}"
            yield from self.call("GET", path)["task_instances"]

    def run_has_ended(self) -> bool:
        """Say whether the DAG run is over, well or badly."""
        return str(self.call("GET", self.run_path)["state"]) in ("success", "failed")

    def count(self, state: str) -> int:
        """Count the task instances in a state."""
        found = self.call("GET", f"{self.run_path}/taskInstances?state={state}&limit=1")
        return int(found["total_entries"])


def triggerer_killed(deployment: Deployment) -> None:
    """Kill one of two triggerers at once; the other takes its waits over."""
    deployment.end("triggerer#1", signal.SIGKILL)
    killed_at = datetime.now(UTC).isoformat()
    is_over = partial(deployment.none_is_left_to_who_died_by, killed_at)
    took = deployment.until(is_over, "the other triggerer has taken all waits over")
    deployment.until(deployment.all_looked_at(time.monotonic()), "the other triggerer looks for all")
    deployment.tell(f"kill -9 of a triggerer: all its waits were taken over after {took:.0f} s")
    deployment.start("triggerer#3")


def outage(deployment: Deployment, seconds: float = 120) -> None:
    """Let the service be down: connections are refused."""
    deployment.sandbox.stop()
    time.sleep(seconds)  # the fault itself
    deployment.sandbox.start()
    took = deployment.until(deployment.all_looked_at(time.monotonic()), "all waits have found the service again")
    deployment.tell(f"service down for {seconds:.0f} s: all waits looked again within {took:.0f} s")


def rate_limited(deployment: Deployment) -> None:
    """Tell everybody to wait."""
    began = time.monotonic()
    deployment.sandbox.inject(Fault.rate_limit(retry_after=RETRY_AFTER), times=None)
    deployment.until(lambda: deployment.answered(429, since=began) >= FAULTS_OF_A_KIND, "429 has been met often enough")
    deployment.sandbox.heal()
    deployment.until(deployment.all_looked_at(time.monotonic()), "all waits look again")
    deployment.tell(f"burst of 429 with retry_after {RETRY_AFTER:.0f}: {deployment.answered(429, since=began)} met")


def nonsense(deployment: Deployment) -> None:
    """Let a proxy answer with pages, of which 203 looks like success, and cut connections."""
    faults = (Fault.html(502), Fault.html(203), Fault.cut(), Fault.cut(after=5))
    for fault in faults:
        deployment.sandbox.inject(fault, times=FAULTS_OF_A_KIND)
    deployment.until(lambda: not deployment.sandbox.service.faults, "all faults have been met")
    deployment.until(deployment.all_looked_at(time.monotonic()), "all waits look again")
    deployment.tell(f"HTML pages and cut connections of {len(faults)} kinds, {FAULTS_OF_A_KIND} of each")


def key_replaced(deployment: Deployment) -> None:
    """Put a new key into the connection, and revoke the old one."""
    key = "another-sandbox-key"
    deployment.call(
        "PATCH",
        "/connections/respan_default?update_mask=password",
        {"connection_id": "respan_default", "conn_type": "respan", "password": key},
    )
    deployment.sandbox.api_key = key
    deployment.until(deployment.all_looked_at(time.monotonic()), "all waits look with the new key")
    deployment.tell("key replaced in the connection and the old one revoked")


def scheduler_restarted(deployment: Deployment) -> None:
    """Let the scheduler go, and come back."""
    deployment.end("scheduler", signal.SIGTERM)
    deployment.start("scheduler")
    began = time.monotonic()
    # A LocalExecutor's workers may die with their scheduler.
    deployment.until(deployment.all_looked_at(began), "all waits look again", seconds=LONGEST_END)
    deployment.tell("scheduler restarted")


def touched_by_hand(deployment: Deployment) -> None:
    """Mark waits failed and clear others by hand, with and without ``cancel_on_kill``."""
    for task_id in ("marked_failed", "marked_failed_cancelling"):
        deployment.call("PATCH", f"{deployment.run_path}/taskInstances/{task_id}/0", {"new_state": "failed"})
        deployment.by_hand[task_id].let_go_at = time.monotonic()
    dag_path, run_id = deployment.run_path.split("/dagRuns/")
    cleared = [["cleared", 0], ["cleared_cancelling", 0]]
    deployment.call(
        "POST",
        f"{dag_path}/clearTaskInstances",
        {"dag_run_id": run_id, "task_ids": cleared, "dry_run": False, "only_failed": False},
    )
    for task_id in ("marked_failed_cancelling", "cleared_cancelling"):
        is_cancelled = partial(deployment.batch_is, task_id, "cancelled")
        deployment.until(is_cancelled, f"the wait {task_id} has cancelled its batch")
        deployment.by_hand[task_id].ends_as = deployment.batch(task_id)
        deployment.by_hand[task_id].state = "failed"
    for task_id, wait in deployment.by_hand.items():
        wait.is_over = task_id != "cleared"
    deployment.until(deployment.all_looked_at(time.monotonic()), "the cleared wait looks again")
    deployment.tell("one wait marked failed and one cleared by hand, with and without cancel_on_kill")
