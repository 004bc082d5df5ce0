"""The servers and the environment of an Airflow with PostgreSQL, and the DAG that waits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dev.deployment.servers import postgresql, redis
from dev.local_airflow import environment, whole_airflow
from dev.settings import CHECKOUT

DAG_FILE = CHECKOUT / "tests" / "dags" / "under_fire.py"
STEP_TIMES = Path(__file__).parent / "step_times"
"""A folder for ``PYTHONPATH``: with it a process prints which steps of its event loop are long."""


@contextmanager
def infrastructure(home: Path, executor: str, *, port: int) -> Iterator[dict[str, str]]:
    """Run PostgreSQL, and Redis if the executor needs it, and yield the environment of this Airflow.

    :param executor: ``LocalExecutor`` or ``CeleryExecutor``
    :param port: the port of the API server
    """
    (home / "dags").mkdir()
    shutil.copy(DAG_FILE, home / "dags")
    with ExitStack() as stack:
        database = stack.enter_context(postgresql(home / "postgresql"))
        env = {
            **whole_airflow(environment(home), port=port),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__EXECUTOR": executor,
            "AIRFLOW__CORE__PARALLELISM": "12",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
            "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "false",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
            "FIRE_SEEN": str(home / "seen.jsonl"),
        }
        if executor == "CeleryExecutor":
            env["AIRFLOW__CELERY__BROKER_URL"] = stack.enter_context(redis(home / "redis"))
            env["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+postgresql+psycopg2://{database}"
            env["AIRFLOW__CELERY__WORKER_CONCURRENCY"] = "6"
        yield env
