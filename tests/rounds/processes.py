"""Runs a task with rounds as Airflow does: each attempt, each resume and each trigger in a process of its own.

A process gets a signal before one of its steps, or at any moment. A step is whatever Python tells an audit hook: a file
in the folder is opened, linked, renamed or removed, a folder is made, a connection is opened, a request is sent.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ctypes import c_int
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import ObjectStoragePath, TaskDeferred  # noqa: F401 (the path is no step)

from airflow_respan.operators.batch import RespanBatchOperator
from airflow_respan.rounds import runner  # noqa: F401 (imported here, so that the import is no step)
from airflow_respan.sandbox import Outcome, RespanSandbox
from tests.operators.landing_process import FILE_STEPS
from tests.operators.modes import context_of, request
from tests.rounds.asking import MODES, rows
from tests.sensors.modes import TRIGGERS, first_event
from tests.task_instance import TaskInstance

# Each process is forked from one that has all imports, and no threads.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])

LONGEST_SECONDS = 120.0

# custom_id -> how the request ends in each round, after which it is not asked again.
ENDS = {
    "a-ok": "ok",
    "a-limit": "429, ok",
    "b-ok": "ok",
    "b-lost": "missing, 503, ok",
    "b-filter": "content_filter",
    "c-wrong": "503, 400",
    "c-down": "503, 429, 503",
    "c-none": "429, missing, missing",
}
ANSWERED = {"a-ok", "a-limit", "b-ok", "b-lost"}
LAST_ERRORS = {"b-filter": 400, "c-wrong": 400, "c-down": 503, "c-none": 429}
PAID = {custom_id: len(ends.split(",")) for custom_id, ends in ENDS.items()}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task that asks all of :data:`ENDS`, in three batches in the first round.

    :param folder: its folder
    :param state: where its processes leave what Airflow keeps in its database
    :param options: further arguments of the operator
    """

    mode: str
    folder: Path
    state: Path
    host: str
    options: dict[str, Any] = field(default_factory=dict)

    def make_operator(self) -> RespanBatchOperator:
        requests = [{**request(0), "custom_id": each, "body": {"model": each[0]}} for each in ENDS]
        defaults: dict[str, Any] = {
            "requests": requests,
            "split_by_model": True,
            "poke_interval": 0.02,
            "not_found_grace": 0,
            "path": str(self.folder),
            **MODES[self.mode],
        }
        return RespanBatchOperator(task_id="ask", **{**defaults, **self.options})


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What Airflow says about an attempt."""

    try_number: int
    max_tries: int = 10
    started_at: str = field(default_factory=lambda: pendulum.now("UTC").isoformat())


def work(task: Task, attempt: Attempt, resume: dict[str, Any] | None, strike: Strike) -> None:
    """Run the task in this process until it ends, fails or defers."""
    prepare(task)
    ti = TaskInstance(try_number=attempt.try_number, max_tries=attempt.max_tries)
    ti.start_date = pendulum.parse(attempt.started_at)  # type: ignore[assignment]
    operator = task.make_operator()
    context: Any = context_of(ti)
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    strike.arm(task.folder)
    try:
        if resume is None:
            result = {"value": operator.execute(context)}
        else:
            result = {"value": operator.resume_execution(resume["method"], resume["kwargs"], context)}
    except TaskDeferred as deferred:
        trigger = deferred.trigger.serialize()
        result = {"trigger": trigger, "method": deferred.method_name, "kwargs": deferred.kwargs}
    except Exception as error:  # noqa: BLE001 (the driver reads it)
        result = {"error": f"{type(error).__name__}: {error}"}
    leave(task, result)


def wait(task: Task, trigger: tuple[str, dict[str, Any]], strike: Strike) -> None:
    """Run a trigger in this process until its event."""
    prepare(task)
    class_path, kwargs = trigger
    strike.arm(task.folder)
    leave(task, {"event": asyncio.run(first_event(TRIGGERS[class_path](**kwargs)))})


def prepare(task: Task) -> None:
    """Connect this process, and let its output go into a file."""
    connection = {"conn_type": "respan", "host": task.host, "password": "sandbox-key"}
    os.environ["AIRFLOW_CONN_RESPAN_DEFAULT"] = json.dumps(connection)
    log = os.open(task.state.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)


def leave(task: Task, result: dict[str, Any]) -> None:
    """Leave what Airflow would keep in its database."""
    part = task.state.with_name(f"{task.state.name}.{os.getpid()}")
    part.write_text(json.dumps(result))
    part.replace(task.state)


@dataclass(kw_only=True)
class Strike:
    """The signal that the processes of one run get, once.

    :param number: the signal
    :param left: steps until then, counted over all processes; or None
    :param name: the name of the event before which it came, for the report
    :param only_creates: whether a step is only that a create is sent, and nothing before it
    """

    number: int = signal.SIGKILL
    left: Any = field(default_factory=lambda: PROCESSES.RawValue(c_int, 0))
    name: Any = field(default_factory=lambda: PROCESSES.RawArray("c", 200))
    only_creates: bool = False

    @classmethod
    def at(cls, step: int, number: int, **options: Any) -> Strike:
        strike = cls(number=number, **options)
        strike.left.value = step
        return strike

    @property
    def has_come(self) -> bool:
        return bool(self.name.value)

    def arm(self, folder: Path) -> None:
        if self.left.value <= 0:
            return
        pid, text = os.getpid(), str(folder)

        def step(event: str, arguments: tuple[Any, ...]) -> None:
            if os.getpid() != pid or self.left.value <= 0:
                return
            is_create = event == SEND and is_create_request(arguments[1])
            is_step = (event in FILE_STEPS and text in str(arguments[:2])) or event in ("socket.connect", SEND)
            if not (is_create if self.only_creates else is_step):
                return
            self.left.value -= 1
            if self.left.value == 0:
                self.name.value = f"{event} {arguments[:2]}".encode(errors="replace")[:150] or b"?"
                os.kill(pid, self.number)

        sys.addaudithook(step)


SEND = "http.client.send"


def is_create_request(sent: bytes) -> bool:
    """Return whether this is the head or the body of a request that creates a batch."""
    return sent.startswith(b"POST /api/v1/batches/ ") or b'"completion_window"' in sent


class Driver:
    """What scheduler and executor do for one task.

    :param task: the task
    :param strike: the signal at a step, or one that never comes
    """

    def __init__(self, task: Task, strike: Strike | None = None) -> None:
        self.task = task
        self.strike = strike or Strike()
        self.process: Any = None
        self.last_error = ""

    def run(self, attempt: Attempt) -> dict[str, Any] | None:
        """Run an attempt; return the manifest, or None if it was killed, was suspended or has failed."""
        resume = None
        while True:
            result = self._in_a_process(work, self.task, attempt, resume, self.strike)
            if result is None or "value" in result:
                return (result or {}).get("value")
            if "error" in result:
                self.last_error = result["error"]
                return None
            while (event := self._in_a_process(wait, self.task, result["trigger"], self.strike)) is None:
                if self.is_suspended:
                    return None
            resume = {"method": result["method"], "kwargs": {**result["kwargs"], "event": event["event"]}}

    @property
    def is_suspended(self) -> bool:
        """Whether the process is suspended now."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def wake(self) -> None:
        """Let the suspended process go on, and wait for its end."""
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.join(LONGEST_SECONDS)
        assert self.process.exitcode is not None

    def _in_a_process(self, target: Callable[..., None], *arguments: Any) -> dict[str, Any] | None:
        self.task.state.unlink(missing_ok=True)
        self.process = PROCESSES.Process(target=target, args=arguments)
        self.process.start()
        deadline = time.monotonic() + LONGEST_SECONDS
        while self.process.is_alive() and not self.is_suspended:
            self.process.join(0.005)
            if time.monotonic() > deadline:
                self.process.kill()
                raise TimeoutError("a process does not end")
        if self.process.is_alive() or self.process.exitcode:
            return None
        return json.loads(self.task.state.read_text())


def make_outcome(custom_id: str, attempt: int) -> Outcome | None:
    """Return how a request ends, for the sandbox."""
    from airflow_respan.sandbox.outcomes import parse_outcomes

    return parse_outcomes(ENDS[custom_id])(custom_id, attempt)


def paid(sandbox: RespanSandbox) -> dict[str, int]:
    """Return how often each request was paid.

    A batch that was cancelled as soon as it was created does not count. The sandbox runs all requests of a batch at
    once, so it counts them.
    """
    cancelled = {batch["id"] for batch in sandbox.batches if batch["status"] in ("cancelling", "cancelled")}
    kept = [ids for batch_id, ids in sandbox.runs_by_batch.items() if batch_id not in cancelled]
    return dict(Counter(custom_id for ids in kept for custom_id in ids))


def faults(sandbox: RespanSandbox, folder: Path, manifest: dict[str, Any] | None) -> list[str]:
    """Return what is wrong after the last attempt: nothing, if each request was paid once in each round."""
    if manifest is None:
        return ["the last attempt has failed"]
    output, errors = rows(folder / "output.jsonl"), rows(folder / "errors.jsonl")
    found = {
        "paid": (paid(sandbox), PAID),
        "answered": (set(output), ANSWERED),
        "errors": ({each: row["response"]["status_code"] for each, row in errors.items()}, LAST_ERRORS),
        "rounds": ([each["requests"] for each in manifest["rounds"]], [8, 5, 3]),
        "counts": (manifest["counts"]["succeeded"], len(ANSWERED)),
        "manifest": (json.loads((folder / "manifest.json").read_text())["counts"], manifest["counts"]),
    }
    return [f"{name}: {value}, not {right}" for name, (value, right) in found.items() if value != right]


def strike_at_random(driver: Driver, number: int, seconds: float) -> threading.Timer:
    """Send a signal to the process that the task has so many seconds from now."""

    def strike() -> None:
        with suppress(ProcessLookupError, AttributeError, TypeError):  # between two processes there is none
            os.kill(driver.process.pid, number)
            driver.strike.name.value = b"at a random moment"

    timer = threading.Timer(seconds, strike)
    timer.daemon = True
    timer.start()
    return timer
