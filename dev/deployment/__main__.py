"""A whole Airflow, with two triggerers and PostgreSQL, under fire: ``make test-deployment``.

Waits for many batches in every mode, throws the faults of ``storm.py`` at it, and then holds what became of each wait
against what should have (``ledger.py``). Ends with a status other than 0 if anything is amiss.
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
from dev.deployment.ledger import answers, blocked, long_steps, looks_too_soon, wrong_outcomes, wrongly_let_go
from dev.deployment.storm import (
    LONGEST_END,
    Deployment,
    Wait,
    key_replaced,
    nonsense,
    outage,
    rate_limited,
    scheduler_restarted,
    touched_by_hand,
    triggerer_killed,
)
from dev.deployment.surroundings import MEASURED, surroundings
from dev.local_airflow import airflow, free_port, start
from dev.processes import Processes

SHORT_FAULTS: list[Callable[[Deployment], None]] = [triggerer_killed, partial(outage, seconds=30)]
ALL_FAULTS: list[Callable[[Deployment], None]] = [
    triggerer_killed,
    outage,
    rate_limited,
    nonsense,
    key_replaced,
    scheduler_restarted,
    touched_by_hand,
]
MODES: dict[str, dict[str, Any]] = {
    "deferred": {"deferrable": True},
    "rescheduled": {"mode": "reschedule"},
    "poking": {},
}
BY_HAND = {
    "marked_failed": {"deferrable": True},
    "marked_failed_cancelling": {"deferrable": True, "cancel_on_kill": True},
    "cleared": {"deferrable": True},
    "cleared_cancelling": {"deferrable": True, "cancel_on_kill": True},
}
TROUBLE = re.compile(r"\[(warning|error|critical) |Traceback|deadlock")
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer#1", "triggerer#2")
LONGEST_STEP = 0.5
"""Seconds of processor time; a garbage collection within a step was seen to take 0.2."""


def ends_as(number: int, batch_id: str) -> tuple[dict[str, Any], str]:
    """Choose how a batch ends, and what is to become of its task: four in twenty badly."""
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
    """Make the batches of a task."""
    waits = []
    for map_index in range(number):
        batch_id = sandbox.add_batch(id=f"batch_{task_id}_{map_index}")
        ending, state = ends_as(map_index, batch_id)
        waits.append(Wait(task_id=task_id, map_index=map_index, batch_id=batch_id, ends_as=ending, state=state))
    return waits


def call(url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask Airflow's public API."""
    answer = requests.request(method, f"{url}/api/v2{path}", json=body, timeout=60)
    if not answer.ok:
        raise RuntimeError(f"{method} {path} was answered {answer.status_code}: {answer.text[:1000]}")
    return answer.json()


def is_there(url: str, path: str) -> bool:
    """Say whether Airflow's API knows something."""
    try:
        return requests.get(f"{url}/api/v2{path}", timeout=60).ok
    except requests.ConnectionError:
        return False


def endure(deployment: Deployment, faults: list[Callable[[Deployment], None]]) -> None:
    """Let everything begin to wait, throw the faults, let batches end all the while, and wait for the run's end."""
    deferred = sum(wait.task_id == "deferred" for wait in deployment.waits) + len(deployment.by_hand)
    took = deployment.until(lambda: deployment.count("deferred") == deferred, f"{deferred} tasks are deferred")
    took += deployment.until(deployment.all_looked_at(0), "all waits have begun")
    print(f"  all wait, {took:.0f} s after the run was triggered", flush=True)
    for number, fault in enumerate(faults):
        deployment.finish(deployment.waits[number :: len(faults) + 1])
        fault(deployment)
    deployment.finish(deployment.ongoing())
    deployment.until(deployment.run_has_ended, "the run has ended", seconds=LONGEST_END)


def found(deployment: Deployment, seen: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Collect what has become of each wait: from Airflow's API, and from what the DAG noted."""
    outcomes: dict[tuple[str, int], dict[str, Any]] = defaultdict(lambda: {"ends": [], "errors": [], "xcoms": {}})
    for ti in deployment.task_instances():
        outcomes[ti["task_id"], ti["map_index"]].update(state=ti["state"], tries=ti["try_number"])
    for line in seen.read_text().splitlines():
        about = json.loads(line)
        outcome = outcomes[about["task_id"], about["map_index"]]
        if "xcoms" in about:
            outcome["xcoms"] = about["xcoms"]
        else:
            outcome["ends"].append(about["end"])
            outcome["errors"].append(about["error"])
    return outcomes


def judge(deployment: Deployment, outcomes: Mapping[tuple[str, int], Mapping[str, Any]], interval: float) -> list[str]:
    """Find what is amiss."""
    every = [*deployment.waits, *deployment.by_hand.values()]
    let_go = [wait for wait in every if wait.let_go_at is not None]
    tries = {wait.path: outcomes[wait.task_id, wait.map_index]["tries"] for wait in every}
    looks = deployment.sandbox.requests
    return [
        *wrong_outcomes((wait for wait in every if wait.let_go_at is None), outcomes),
        *wrongly_let_go(let_go, outcomes, looks),
        *looks_too_soon(looks, interval=interval, tries=tries),
    ]


@contextmanager
def deployed(
    home: Path, sandbox: RespanSandbox, tasks: Mapping[str, tuple[dict[str, Any], list[Wait]]], executor: str
) -> Iterator[Deployment]:
    """Run Airflow and the DAG.

    :param tasks: task id -> the sensor's options, and its waits
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with surroundings(home, executor, port=port) as env, Processes(home) as processes:
        env["FIRE_WAITS"] = json.dumps(
            {
                task_id: {"options": options, "batch_ids": [wait.batch_id for wait in waits]}
                for task_id, (options, waits) in tasks.items()
            }
        )

        def start_one(name: str) -> None:
            more = {f"AIRFLOW__LOGGING__{kind}_LOG_SERVER_PORT": str(free_port()) for kind in ("TRIGGER", "WORKER")}
            if name.startswith("triggerer"):
                more["PYTHONPATH"] = str(MEASURED)
            start(processes, name, env={**env, **more}, port=port)

        airflow("db", "migrate", env=env)
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        airflow("connections", "add", "respan_default", "--conn-json", json.dumps(connection), env=env)
        for component in [*COMPONENTS, *(["celery worker"] if executor == "CeleryExecutor" else [])]:
            start_one(component)
        deployment = Deployment(
            sandbox=sandbox,
            waits=[wait for task_id, (_options, waits) in tasks.items() if task_id not in BY_HAND for wait in waits],
            by_hand={task_id: waits[0] for task_id, (_options, waits) in tasks.items() if task_id in BY_HAND},
            call=partial(call, url),
            start=start_one,
            end=lambda name, by: processes.end(name, by=by),
            until=processes.until,
        )
        deployment.until(lambda: is_there(url, "/dags/under_fire"), "Airflow knows the DAG")
        run = deployment.call("POST", "/dags/under_fire/dagRuns", {"logical_date": None})["dag_run_id"]
        deployment.run_path = f"/dags/under_fire/dagRuns/{run}"
        yield deployment


def report(deployment: Deployment, amiss: list[str], logs: list[Path]) -> None:
    """Print the figures."""
    stalls, steps = blocked(logs), long_steps(logs)
    looks = deployment.sandbox.requests
    numbers = Counter(wait.task_id for wait in (*deployment.waits, *deployment.by_hand.values()))
    print(f"""
Versions    Airflow {version("apache-airflow")}, airflow-provider-respan {airflow_respan.__version__}, \
Python {platform.python_version()}, {os.cpu_count()} cores
Waits       {", ".join(f"{number} {task_id}" for task_id, number in numbers.items())}
Faults      {len(deployment.happened)}
Requests    {len(looks)}: {answers(looks)}
Event loop  longest step {max(steps, default=0):.2f} s of processor time; Airflow's "async thread was blocked": \
{len(stalls)} times, at most {max(stalls, default=0):.2f} s
Losses      {len(amiss)}""")
    for line in amiss:
        print(f"  {line}")


def keep_requests(deployment: Deployment, path: Path) -> None:
    """Write the requests down, beside the logs: what is amiss may only be understood from those around it."""
    with path.open("w") as out:
        for request in deployment.sandbox.requests:
            about = {name: getattr(request, name) for name in ("at", "peer", "method", "path", "query", "status")}
            out.write(json.dumps(about) + "\n")


def explain(deployment: Deployment, home: Path) -> None:
    """Print whatever may tell why something was waited for in vain, as nobody may see the logs later."""
    for log in sorted(home.glob("*.log")):
        lines = [line for line in log.read_text(errors="replace").splitlines() if TROUBLE.search(line)]
        for line in lines[-20:]:
            print(f"{log.stem}: {line[:300]}")
    for ti in deployment.task_instances():
        if ti["state"] not in ("success", "failed"):
            print(f"{ti['task_id']}[{ti['map_index']}] is {ti['state']}, try {ti['try_number']}")
            for log in home.glob(f"logs/*/*/task_id={ti['task_id']}/map_index={ti['map_index']}/*"):
                for line in log.read_text(errors="replace").splitlines()[-3:]:
                    print(f"  {log.name}: {line[:300]}")


def main() -> int:
    """Set up, endure, judge, print."""
    parser = argparse.ArgumentParser(prog="make test-deployment", description=__doc__)
    parser.add_argument("--executor", default="LocalExecutor", choices=["LocalExecutor", "CeleryExecutor"])
    parser.add_argument("--waits", type=int, default=200, help="deferred waits (default: %(default)s)")
    parser.add_argument(
        "--interval", type=float, default=15, help="their poke_interval, seconds (default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="one kill -9 and one outage of 30 seconds")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends all that it has started
    home = Path(tempfile.mkdtemp(prefix="airflow-respan-deployment-"))
    home.chmod(0o755)  # PostgreSQL runs as another user
    began = time.monotonic()
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
                endure(deployment, SHORT_FAULTS if options.short else ALL_FAULTS)
            except TimeoutError:
                explain(deployment, home)
                raise
            finally:
                keep_requests(deployment, home / "requests.jsonl")
            amiss = judge(deployment, found(deployment, home / "seen.jsonl"), options.interval)
        logs = list(home.glob("triggerer*.log"))
        amiss += [f"a step of a triggerer took {step:.2f} s" for step in long_steps(logs) if step > LONGEST_STEP]
        report(deployment, amiss, logs)
    print(f"Took        {(time.monotonic() - began) / 60:.1f} minutes")
    if not amiss:
        shutil.rmtree(home)
    return int(bool(amiss))


if __name__ == "__main__":
    raise SystemExit(main())
