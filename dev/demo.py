"""Run the example ``batch_lifecycle`` in a temporary Airflow, and print its results: ``make demo``.

It uses a local Respan. With ``RESPAN_API_KEY`` in the environment it uses the service, where it costs money.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_respan.sandbox import RespanSandbox
from dev.local_airflow import HOME, airflow, environment, fresh_home
from dev.settings import CHECKOUT, connection_to

EXAMPLES = CHECKOUT / "example_dags"
RESULTS = HOME / "results"

# Only warnings of Airflow itself, and the log of the tasks.
LOG_LEVELS = {
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
        "airflow=WARNING, airflow.task=INFO, alembic=WARNING, httpx=WARNING, task=WARNING, py.warnings=ERROR"
    ),
}


@contextmanager
def respan_connection() -> Iterator[dict[str, object]]:
    """Yield the Airflow connection: to the service if there is a key, else to a local Respan."""
    if key := os.environ.get("RESPAN_API_KEY"):
        extra = {"provider_id": os.environ.get("RESPAN_PROVIDER_ID")}
        host = os.environ.get("RESPAN_BASE_URL")
        print(
            "Using the Respan service: it creates and bills a batch of five requests, which may take a day.", flush=True
        )
        yield {"conn_type": "respan", "host": host, "password": key, "extra": extra}
    else:
        with RespanSandbox(pace=2) as sandbox:
            print(f"Using a local Respan on {sandbox.url}.", flush=True)
            yield connection_to(sandbox)


def show(path: Path) -> None:
    """Print the results that a manifest describes."""
    folder = path.parent
    manifest: dict[str, Any] = json.loads(path.read_text())
    counts, usage = manifest["counts"], manifest["usage"]
    print(f"""
batch     {manifest["batch_id"]}, {manifest["status"]}
requests  {counts["succeeded"]} of {counts["rows"]} succeeded, {counts["failed"]} failed, {counts["missing"]} missing
tokens    {usage["prompt_tokens"]} for the questions, {usage["completion_tokens"]} for the answers
landed    in {folder.relative_to(CHECKOUT)}/""")
    for file in sorted(folder.iterdir()):
        print(f"            {file.name}, {file.stat().st_size} bytes")
    for error in manifest["errors"]:
        print(f"error     {error['count']} times: {error['code']}: {error['message']}")
    if manifest["output_path"]:
        row = (folder / "output.jsonl").read_text().splitlines()[0]
        print(f"a row     {row[:300]}{'...' * (len(row) > 300)}")


def main() -> int:
    """Run the example.

    :return: its exit status
    """
    with respan_connection() as connection:
        env = {**environment(HOME, connection=connection), **LOG_LEVELS}
        print("Setting up an Airflow in .airflow ...", flush=True)
        fresh_home(HOME)
        airflow("db", "migrate", env=env)
        print("Running example_dags/batch_lifecycle.py ...", flush=True)
        paths = (f"file://{EXAMPLES}/questions.jsonl", f"file://{RESULTS}")
        done = subprocess.run([sys.executable, EXAMPLES / "batch_lifecycle.py", *paths], env=env, check=False)
    for manifest in RESULTS.glob("*/manifest.json"):
        show(manifest)
    print(f"\nThe run {'failed' if done.returncode else 'succeeded'}.")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
