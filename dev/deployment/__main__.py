"""A whole Airflow with two triggerers and PostgreSQL, with faults: ``make test-deployment``.

It waits for many batches in every mode and causes the faults of ``faults.py``. Then it compares the outcome of each
wait with the expected one (``ledger.py``). The exit status is not 0 if they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import requests

import airflow_respan
from airflow_respan.sandbox import RespanSandbox
from dev.deployment.faults import (
    MAX_END_SECONDS,
    Deployment,
    Wait,
    changed_by_hand,
    key_replaced,
    outage,
    rate_limited,
    scheduler_restarted,
    triggerer_killed,
    unusable_responses,
)
from dev.deployment.infrastructure import STEP_TIMES, infrastructure
from dev.deployment.ledger import (
    blocked_seconds,
    count_statuses,
    early_checks,
    long_step_seconds,
    wrong_ends_by_hand,
    wrong_outcomes,
)
from dev.local_airflow import airflow, free_port, start
from dev.processes import Processes
from dev.settings import connection_to

SHORT_FAULTS: list[Callable[[Deployment], None]] = [triggerer_killed, partial(outage, seconds=30)]
ALL_FAULTS: list[Callable[[Deployment], None]] = [
    triggerer_killed,
    outage,
    rate_limited,
    unusable_responses,
    key_replaced,
    scheduler_restarted,
    changed_by_hand,
]
MODES: dict[str, dict[str, Any]] = {
    "deferred": {"deferrable": True},
    "rescheduled": {"mode": "reschedule"},
    "poking": {},
}
BY_HAND = {
    "marked_failed": {"deferrable": True},
    "marked_failed_cancelling": {"deferrable": True, "cancel_on_kill": True},
    "marked_success_cancelling": {"deferrable": True, "cancel_on_kill": True},
    "cleared": {"deferrable": True},
    "cleared_cancelling": {"deferrable": True, "cancel_on_kill": True},
}
PROBLEM = re.compile(r"\[(warning|error|critical) |Traceback|deadlock")
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer#1", "triggerer#2")
MAX_STEP_SECONDS = 0.5
"""The most processor time of a step; a garbage collection within a step was seen to take 0.2 s."""


def choose_end(number: int, batch_id: str) -> tuple[dict[str, Any], str]:
    """Choose the end of a batch: 4 of 20 end badly.

    :return: the fields of the batch at its end, and the state that its task must end in
    """
    out, err = f"file-out-{batch_id}", f"file-err-{batch_id}"

    def counts(completed: int, failed: int) -> dict[str, int]:
        return {"total": number + 10, "completed": completed, "failed": failed}

    kind = number % 20
    if kind == 16:
        return {"status": "failed", "request_counts": counts(0, 0), "errors": "no"}, "failed"
    if kind == 17:
        ended = {"status": "expired", "request_counts": counts(number + 9, 1)}
        return {**ended, "output_file_id": out, "error_file_id": err}, "failed"
    if kind == 18:
        return {"status": "cancelled", "request_counts": counts(1, 0), "output_file_id": out}, "failed"
    if kind == 19:
        return {"status": "completed", "request_counts": counts(0, number + 10), "error_file_id": err}, "failed"
    return {"status": "completed", "request_counts": counts(number + 10, 0), "output_file_id": out}, "success"


def make_waits(sandbox: RespanSandbox, task_id: str, number: int) -> list[Wait]:
    """Create the batches of a task, and return its waits."""
    waits = []
    for map_index in range(number):
        batch_id = sandbox.add_batch(id=f"batch_{task_id}_{map_index}")
        fields, state = choose_end(map_index, batch_id)
        waits.append(Wait(task_id=task_id, map_index=map_index, batch_id=batch_id, final_fields=fields, state=state))
    return waits


def call(url: str, method: str, path: str, body: Any = None) -> Any:
    """Call Airflow's public API, and return the JSON of the response.

    :raises RuntimeError: if the status is 400 or more
    """
    response = requests.request(method, f"{url}/api/v2{path}", json=body, timeout=60)
    if not response.ok:
        raise RuntimeError(f"{method} {path} returned {response.status_code}: {response.text[:1000]}")
    return response.json()


def exists(url: str, path: str) -> bool:
    """Return whether Airflow's API has something at this path."""
    try:
        return requests.get(f"{url}/api/v2{path}", timeout=60).ok
    except requests.ConnectionError:
        return False


def run_faults(deployment: Deployment, faults: list[Callable[[Deployment], None]]) -> None:
    """Wait until all waits have begun, cause each fault while some batches end, and wait for the end of the run."""
    deferred = sum(wait.task_id == "deferred" for wait in deployment.waits) + len(deployment.by_hand)
    seconds = deployment.until(lambda: deployment.count("deferred") == deferred, f"{deferred} tasks are deferred")
    seconds += deployment.until(deployment.all_checked_since(0), "all waits have begun")
    print(f"  all waits have begun, {seconds:.0f} s after the run was triggered", flush=True)
    for number, fault in enumerate(faults):
        deployment.finish(deployment.waits[number :: len(faults) + 1])
        fault(deployment)
    deployment.finish(deployment.ongoing())
    deployment.until(deployment.run_has_ended, "the run has ended", seconds=MAX_END_SECONDS)


def collect_outcomes(deployment: Deployment, seen: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the outcome of each wait, from Airflow's API and from the file that the DAG wrote.

    :param seen: that file
    """
    outcomes: dict[tuple[str, int], dict[str, Any]] = defaultdict(lambda: {"ends": [], "errors": [], "xcoms": {}})
    for ti in deployment.task_instances():
        outcomes[ti["task_id"], ti["map_index"]].update(state=ti["state"], tries=ti["try_number"])
    for line in seen.read_text().splitlines():
        record = json.loads(line)
        outcome = outcomes[record["task_id"], record["map_index"]]
        if "xcoms" in record:
            outcome["xcoms"] = record["xcoms"]
        else:
            outcome["ends"].append(record["end"])
            outcome["errors"].append(record["error"])
    return outcomes


def find_losses(
    deployment: Deployment, outcomes: Mapping[tuple[str, int], Mapping[str, Any]], interval: float
) -> list[str]:
    """Return what differs from the expected outcomes and requests, in words."""
    all_waits = [*deployment.waits, *deployment.by_hand.values()]
    ended_by_hand = [wait for wait in all_waits if wait.ended_by_hand_at is not None]
    tries = {wait.path: outcomes[wait.task_id, wait.map_index]["tries"] for wait in all_waits}
    received = deployment.sandbox.requests
    return [
        *wrong_outcomes((wait for wait in all_waits if wait.ended_by_hand_at is None), outcomes),
        *wrong_ends_by_hand(ended_by_hand, outcomes, received),
        *early_checks(received, interval=interval, tries=tries),
    ]


@contextmanager
def deployed(
    home: Path, sandbox: RespanSandbox, tasks: Mapping[str, tuple[dict[str, Any], list[Wait]]], executor: str
) -> Iterator[Deployment]:
    """Run Airflow, start a run of the DAG, and yield the deployment.

    :param tasks: task id -> the sensor's options, and its waits
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with infrastructure(home, executor, port=port) as env, Processes(home) as processes:
        env["FIRE_WAITS"] = json.dumps(
            {
                task_id: {"options": options, "batch_ids": [wait.batch_id for wait in waits]}
                for task_id, (options, waits) in tasks.items()
            }
        )

        def start_component(name: str) -> None:
            settings = {f"AIRFLOW__LOGGING__{kind}_LOG_SERVER_PORT": str(free_port()) for kind in ("TRIGGER", "WORKER")}
            if name.startswith("triggerer"):
                settings["PYTHONPATH"] = str(STEP_TIMES)
            start(processes, name, env={**env, **settings}, port=port)

        airflow("db", "migrate", env=env)
        airflow("connections", "add", "respan_default", "--conn-json", json.dumps(connection_to(sandbox)), env=env)
        for component in [*COMPONENTS, *(["celery worker"] if executor == "CeleryExecutor" else [])]:
            start_component(component)
        deployment = Deployment(
            sandbox=sandbox,
            waits=[wait for task_id, (_options, waits) in tasks.items() if task_id not in BY_HAND for wait in waits],
            by_hand={task_id: waits[0] for task_id, (_options, waits) in tasks.items() if task_id in BY_HAND},
            call=partial(call, url),
            start=start_component,
            end=lambda name, by: processes.end(name, by=by),
            until=processes.until,
        )
        deployment.until(lambda: exists(url, "/dags/under_fire"), "Airflow has loaded the DAG")
        run = deployment.call("POST", "/dags/under_fire/dagRuns", {"logical_date": None})["dag_run_id"]
        deployment.run_path = f"/dags/under_fire/dagRuns/{run}"
        yield deployment


def report(deployment: Deployment, losses: list[str], logs: list[Path]) -> None:
    """Print the figures."""
    stalls, steps = blocked_seconds(logs), long_step_seconds(logs)
    received = deployment.sandbox.requests
    numbers = Counter(wait.task_id for wait in (*deployment.waits, *deployment.by_hand.values()))
    print(f"""
Versions    Airflow {version("apache-airflow")}, airflow-respan {airflow_respan.__version__}, \
Python {platform.python_version()}, {os.cpu_count()} cores
Waits       {", ".join(f"{number} {task_id}" for task_id, number in numbers.items())}
Faults      {len(deployment.events)}
Requests    {len(received)}: {count_statuses(received)}
Event loop  longest step {max(steps, default=0):.2f} s of processor time; Airflow's "async thread was blocked": \
{len(stalls)} times, at most {max(stalls, default=0):.2f} s
Losses      {len(losses)}""")
    for line in losses:
        print(f"  {line}")


def write_requests(deployment: Deployment, path: Path) -> None:
    """Write all requests beside the logs, because a loss may be understood only from the requests around it."""
    with path.open("w") as out:
        for request in deployment.sandbox.requests:
            record = {name: getattr(request, name) for name in ("at", "peer", "method", "path", "query", "status")}
            out.write(json.dumps(record) + "\n")


def print_log_ends(deployment: Deployment, home: Path) -> None:
    """Print the parts of the logs that may explain a timeout; on CI nobody can read the logs later."""
    for log in sorted(home.glob("*.log")):
        lines = [line for line in log.read_text(errors="replace").splitlines() if PROBLEM.search(line)]
        for line in lines[-20:]:
            print(f"{log.stem}: {line[:300]}")
    for ti in deployment.task_instances():
        if ti["state"] not in ("success", "failed"):
            print(f"{ti['task_id']}[{ti['map_index']}] is {ti['state']}, try {ti['try_number']}")
            for log in home.glob(f"logs/*/*/task_id={ti['task_id']}/map_index={ti['map_index']}/*"):
                for line in log.read_text(errors="replace").splitlines()[-3:]:
                    print(f"  {log.name}: {line[:300]}")


def main() -> int:
    """Run the deployment, and print the report.

    :return: the exit status: 1 if there were losses
    """
    parser = argparse.ArgumentParser(prog="make test-deployment", description=__doc__)
    parser.add_argument("--executor", default="LocalExecutor", choices=["LocalExecutor", "CeleryExecutor"])
    parser.add_argument("--waits", type=int, default=200, help="deferred waits (default: %(default)s)")
    parser.add_argument(
        "--interval", type=float, default=15, help="their poke_interval, seconds (default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="one kill -9 and one outage of 30 seconds")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM ends all programs too
    home = Path(tempfile.mkdtemp(prefix="airflow-respan-deployment-"))
    home.chmod(0o755)  # PostgreSQL runs as another user
    started = time.monotonic()
    print(f"{options.executor}, {options.waits} deferred waits; logs in {home}", flush=True)
    with RespanSandbox(pace=3) as sandbox:
        numbers = {"deferred": options.waits, "rescheduled": 4, "poking": 4}
        modes = {**MODES, **({} if options.short else BY_HAND)}
        tasks = {
            task_id: (
                {"poke_interval": options.interval, **mode},
                make_waits(sandbox, task_id, numbers.get(task_id, 1)),
            )
            for task_id, mode in modes.items()
        }
        with deployed(home, sandbox, tasks, options.executor) as deployment:
            try:
                run_faults(deployment, SHORT_FAULTS if options.short else ALL_FAULTS)
            except TimeoutError:
                print_log_ends(deployment, home)
                raise
            finally:
                write_requests(deployment, home / "requests.jsonl")
            losses = find_losses(deployment, collect_outcomes(deployment, home / "seen.jsonl"), options.interval)
        logs = list(home.glob("triggerer*.log"))
        losses += [
            f"a step of a triggerer took {step:.2f} s" for step in long_step_seconds(logs) if step > MAX_STEP_SECONDS
        ]
        report(deployment, losses, logs)
    print(f"Took        {(time.monotonic() - started) / 60:.1f} minutes")
    if not losses:
        shutil.rmtree(home)
    return int(bool(losses))


if __name__ == "__main__":
    raise SystemExit(main())
