"""Many deferred tasks in a real triggerer, with PostgreSQL: ``make benchmark-triggerer``.

It includes the cost of reading the connection, and all that a triggerer does around a trigger. It does not include how
tasks are deferred, which would take a scheduler and workers minutes. Instead, the tasks are written into Airflow's
database by Airflow's own models, as if their sensors had just deferred them. Until then the triggerer has no trigger.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import requests

from dev.benchmark.figures import WINDOW_SECONDS, max_in_window, percentile
from dev.benchmark.providers import OURS
from dev.benchmark.service import serving
from dev.deployment.infrastructure import STEP_TIMES, infrastructure
from dev.deployment.ledger import blocked_seconds, long_step_seconds
from dev.local_airflow import airflow, free_port, start
from dev.processes import Processes

TASK = "deferred"
EMPTY_SECONDS = 20.0
"""How long the triggerer is measured without triggers."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The resources that the processes of a program have used so far.

    :param at: when (``time.monotonic``)
    :param cpu: seconds of processor time
    :param memory: bytes
    """

    at: float
    cpu: float
    memory: int


def usage_of(members: list[psutil.Process]) -> Usage:
    """Return what the operating system reports for these processes."""
    times = [member.cpu_times() for member in members]
    return Usage(
        at=time.monotonic(),
        cpu=sum(each.user + each.system for each in times),
        memory=sum(member.memory_full_info().pss for member in members),
    )


def defer(batch_ids: Mapping[int, str], interval: float) -> None:
    """Write deferred tasks into the database of the Airflow in the environment.

    :param batch_ids: map index -> batch
    :param interval: their ``poke_interval`` (seconds)
    """
    # Airflow reads the environment when it is imported.
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_respan.triggers.batch import RespanBatchTrigger

    with create_session() as session:
        chosen = TaskInstance.task_id == TASK, TaskInstance.map_index.in_(batch_ids)
        instances = session.scalars(select(TaskInstance).where(*chosen)).all()
        assert len(instances) == len(batch_ids)  # noqa: S101 (otherwise Airflow has changed, and this program must change)
        for instance in instances:
            batch_id = batch_ids[instance.map_index]
            instance.trigger = Trigger.from_object(RespanBatchTrigger(batch_id=batch_id, poke_interval=interval))
            instance.state = "deferred"
            instance.next_method = "resume"


def ended_at(batch_ids: Mapping[int, str]) -> dict[str, float]:
    """Return when waits ended, from Airflow's database: batch id -> seconds of ``time.monotonic``."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    clock_offset = time.time() - time.monotonic()
    with create_session() as session:
        chosen = TaskInstance.task_id == TASK, TaskInstance.map_index.in_(batch_ids)
        ended = select(TaskInstance).where(*chosen, TaskInstance.state == "scheduled")
        return {
            batch_ids[instance.map_index]: instance.updated_at.timestamp() - clock_offset
            for instance in session.scalars(ended)
            if instance.updated_at
        }


def measure(waits: int, *, options: argparse.Namespace) -> dict[str, str]:
    """Measure a triggerer with this number of waits.

    :return: the rows of the report
    """
    home, port = Path(tempfile.mkdtemp(prefix="airflow-respan-benchmark-")), free_port()
    home.chmod(0o755)  # PostgreSQL runs as another user
    print(f"{waits:,} waits; logs in {home}", flush=True)
    first, rest = {0: "other_0"}, {number + 1: f"batch_{number:05d}" for number in range(waits)}
    with serving(waits) as url, infrastructure(home, "LocalExecutor", port=port) as env, Processes(home) as processes:
        env["FIRE_WAITS"] = json.dumps(
            {TASK: {"options": {"deferrable": True}, "batch_ids": [*first.values(), *rest.values()]}}
        )
        env["AIRFLOW__TRIGGERER__CAPACITY"] = env["AIRFLOW__CORE__MAX_MAP_LENGTH"] = str(waits + 1)
        os.environ.update(env)

        def control(path: str) -> Any:
            return requests.get(f"{url}/control/{path}", timeout=60).json()

        airflow("db", "migrate", env=env)
        connection = {"password": "benchmark-key", **OURS.connection(url, options.budget)}
        airflow("connections", "add", "respan_default", "--conn-json", json.dumps(connection), env=env)
        airflow("dags", "reserialize", env=env)
        airflow("dags", "trigger", "under_fire", env=env)
        start(processes, "triggerer", env={**env, "PYTHONPATH": str(STEP_TIMES)}, port=port)
        # One whole wait first, because the first call imports and loads things.
        defer(first, 1)
        processes.until(lambda: bool(ended_at(first)), "the triggerer has ended its first wait")
        before = usage_of(processes.members("triggerer"))
        time.sleep(EMPTY_SECONDS)
        empty = usage_of(processes.members("triggerer"))
        empty_cpu = (empty.cpu - before.cpu) / (empty.at - before.at)

        defer(rest, options.interval)
        deferred_at = time.monotonic()
        processes.until(lambda: control("all-checked"), "every batch has been checked", seconds=900)
        usage_before = usage_of(processes.members("triggerer"))
        number = round(options.seconds / 60 * 10)
        ends: Mapping[str, float] = control(f"end?number={number}&seconds={options.seconds}")
        time.sleep(options.seconds)
        usage_after = usage_of(processes.members("triggerer"))
        try:
            processes.until(
                lambda: ends.keys() <= ended_at(rest).keys(), "every end had its event", seconds=options.drain
            )
        except TimeoutError as error:
            print(error, flush=True)
        events, service = ended_at(rest), control("log")

    log = processes.log("triggerer")
    stalls, steps = blocked_seconds([log]), long_step_seconds([log])
    shutil.rmtree(home)
    delays = [at - ends[batch_id] for batch_id, at in events.items() if batch_id in ends]
    requested_at = [at for at, *_what in service["requests"]]
    minutes = (usage_after.at - usage_before.at) / 60
    start_cpu = usage_before.cpu - empty.cpu - empty_cpu * (usage_before.at - empty.at)
    steady_cpu = usage_after.cpu - usage_before.cpu - empty_cpu * (usage_after.at - usage_before.at)
    return {
        "waits": f"{waits:,}",
        "every batch checked after, s": f"{service['all_checked_at'] - deferred_at:.0f}",
        "CPU until then, s": f"{start_cpu:.1f}",
        "CPU per batch and minute after that, ms": f"{steady_cpu * 1000 / waits / minutes:.2f}",
        "CPU of an empty triggerer, s per minute": f"{empty_cpu * 60:.1f}",
        "memory on top of an empty triggerer, MB": f"{(usage_after.memory - empty.memory) / 1e6:.0f}",
        "memory of an empty triggerer, MB": f"{empty.memory / 1e6:.0f}",
        "requests a minute": f"{sum(usage_before.at <= at < usage_after.at for at in requested_at) / minutes:.0f}",
        "most in any 60 s": f"{max_in_window(requested_at, WINDOW_SECONDS)}",
        "connections opened": f"{service['connections']}",
        '"async thread was blocked"': f"{len(stalls)} times, at most {max(stalls, default=0):.2f} s",
        "longest step, s of CPU": f"{max(steps, default=0):.2f}",
        "event after the end, p50, s": f"{percentile(delays, 0.5):.1f}",
        "event after the end, longest, s": f"{max(delays, default=math.nan):.1f}",
        "ends seen": f"{len(delays)} of {len(ends)}",
        "events for batches that had not ended": f"{len(events.keys() - ends.keys())}",
    }


def main() -> int:
    """Measure each number of waits, and print a table."""
    parser = argparse.ArgumentParser(prog="make benchmark-triggerer", description=__doc__)
    parser.add_argument("--waits", type=int, nargs="+", default=[200, 1000], help="default: %(default)s")
    parser.add_argument("--interval", type=float, default=60, help="poke_interval, seconds (default: %(default)s)")
    parser.add_argument(
        "--budget", type=int, default=60, help="requests per minute, 0: no limit (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=120, help="measured after start-up (default: %(default)s)")
    parser.add_argument("--drain", type=float, default=180, help="seconds at most, until every end had its event")
    options = parser.parse_args()
    # A process imports Airflow once, with one database. So each measurement needs a process of its own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        columns = list(pool.map(partial(measure, options=options), options.waits))
    print(
        f"\nAirflow {version('apache-airflow')}, airflow-respan {version(OURS.package)}, "
        f"Python {platform.python_version()}, {psutil.cpu_count()} cores; every {options.interval:.0f} s, "
        f"{options.budget} requests a minute\n"
    )
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")
        if name == "waits":
            print(f"|---|{'--:|' * len(columns)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
