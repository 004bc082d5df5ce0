"""Run the example ``batch_lifecycle`` in a throw-away Airflow, and print what its tasks pushed: ``make demo``.

Against a local Respan; with ``RESPAN_API_KEY`` in the environment against the service, where it costs money.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_respan.sandbox import RespanSandbox
from dev.local_airflow import CHECKOUT, HOME, airflow, environment, fresh_home

# Airflow's own log is left out but for its warnings, and for what it only calls an error: reading mapped XComs.
QUIET = {
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
        "airflow=WARNING, airflow.task=INFO, airflow.sdk.api.client=CRITICAL, alembic=WARNING, httpx=WARNING, "
        "task=WARNING, py.warnings=ERROR"
    ),
}


@contextmanager
def respan_connection() -> Iterator[dict[str, object]]:
    """Choose whom to talk to."""
    if key := os.environ.get("RESPAN_API_KEY"):
        extra = {"provider_id": os.environ.get("RESPAN_PROVIDER_ID")}
        host = os.environ.get("RESPAN_BASE_URL")
        print("Talking to the Respan service: two batches are made and paid for, and may take a day.", flush=True)
        yield {"conn_type": "respan", "host": host, "password": key, "extra": extra}
    else:
        with RespanSandbox(pace=2) as sandbox:
            print(f"Talking to a local Respan on {sandbox.url}.", flush=True)
            yield {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}


def print_xcoms(run_id: str) -> None:
    """Print what each task of a run pushed."""
    # Only importable once the environment says where Airflow lives.
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(select(XComModel).where(XComModel.run_id == run_id).order_by(XComModel.timestamp))
        print("\nWhat the tasks pushed to XCom:")
        for row in rows:
            task = row.task_id if row.map_index < 0 else f"{row.task_id}[{row.map_index}]"
            value = XComModel.deserialize_value(row)
            print(f"  {task:<14} {row.key:<16} {json.dumps(value)[:150]}")


def main() -> int:
    """Set up, run, show."""
    with respan_connection() as connection:
        env = environment(HOME, connection=connection)
        env.update(QUIET)
        os.environ.update(env)
        print("Setting up an Airflow in .airflow ...", flush=True)
        fresh_home(HOME)
        airflow("db", "migrate", env=env)
        print("Running example_dags/batch_lifecycle.py ...", flush=True)
        sys.path.insert(0, str(CHECKOUT / "example_dags"))
        run = importlib.import_module("batch_lifecycle").batch_lifecycle_dag.test()
    print_xcoms(run.run_id)
    print(f"\nThe run ended as: {run.state}")
    return int(run.state != "success")


if __name__ == "__main__":
    raise SystemExit(main())
