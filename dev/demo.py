"""Run the example ``ask_rows`` in a temporary Airflow, and print its rounds: ``make demo``.

It uses a local Respan, at which some requests fail at first. With ``RESPAN_API_KEY`` in the environment it uses the
service, where it costs money.
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

from airflow_respan.api.counts import count_text
from airflow_respan.sandbox import RespanSandbox
from dev.local_airflow import HOME, airflow, environment, fresh_home
from dev.settings import CHECKOUT, connection_to

EXAMPLES = CHECKOUT / "example_dags"
RESULTS = HOME / "results"
OUTCOMES = {"r-2": "429, ok", "r-4": "expired, missing, ok", "r-6": "503, ok"}
"""How requests end at the local Respan in the first round, the second and so on."""

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
            "Using the Respan service: it creates and bills a batch of six requests, which may take a day.", flush=True
        )
        yield {"conn_type": "respan", "host": host, "password": key, "extra": extra}
    else:
        with RespanSandbox(pace=1, outcomes=OUTCOMES) as sandbox:
            print(f"Using a local Respan on {sandbox.url}, at which three of six requests fail at first.", flush=True)
            yield connection_to(sandbox)


def show(path: Path) -> None:
    """Print the results that a manifest describes."""
    folder = path.parent
    manifest: dict[str, Any] = json.loads(path.read_text())
    counts, usage = manifest["counts"], manifest["usage"]
    print()
    for each in manifest["rounds"]:
        for batch in each["batches"]:
            print(
                f"round {each['round']}   {count_text(batch['requests'], 'request')} in {batch['batch_id']} "
                f"({batch['status']}): "
                f"{batch['counts']['succeeded']} answered"
            )
            for error in json.loads((folder / f"round-{each['round']}/manifest.json").read_text())["errors"]:
                print(f"            {error['count']} failed: {error['code']}")
    print(f"""requests  {counts["succeeded"]} of {counts["requests"]} have an answer
tokens    {usage["prompt_tokens"]} for the questions, {usage["completion_tokens"]} for the answers
landed    in {folder.relative_to(CHECKOUT)}/""")
    for file in sorted(folder.iterdir()):
        print(f"            {file.name}" + (f", {file.stat().st_size} bytes" if file.is_file() else "/"))


def main() -> int:
    """Run the example.

    :return: its exit status
    """
    with respan_connection() as connection:
        env = {**environment(HOME, connection=connection), **LOG_LEVELS}
        print("Setting up an Airflow in .airflow ...", flush=True)
        fresh_home(HOME)
        airflow("db", "migrate", env=env)
        print("Running example_dags/ask_rows.py ...", flush=True)
        command = [sys.executable, str(EXAMPLES / "ask_rows.py"), f"file://{RESULTS}"]
        done = subprocess.run(command, env=env, check=False)
    for manifest in RESULTS.glob("*/manifest.json"):
        show(manifest)
    print(f"\nThe run {'failed' if done.returncode else 'succeeded'}.")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
