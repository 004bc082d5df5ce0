"""A temporary Airflow inside the checkout, with a local Respan: ``make airflow``.

Each component is a session of its own, because ``airflow standalone`` leaves its scheduler and API server running when
it gets a signal.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from airflow_respan.sandbox import RespanSandbox
from dev.processes import Processes
from dev.settings import CHECKOUT, NO_PROXY_FOR_LOOPBACK, connection_to

HOME = CHECKOUT / ".airflow"
DAGS = CHECKOUT / "dags"
"""The folder for the user's own DAGs. It is outside of :data:`HOME`, which each start deletes."""
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
EXAMPLES_BUNDLE = "airflow-respan-example-dags"
REFRESH_SECONDS = 2
"""How often the DAG processor looks for new files; Airflow's default is five minutes."""


def environment(home: Path, *, connection: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return the environment of an Airflow with its files in ``home``, which loads the example DAGs.

    :param connection: the Respan connection, or None if Airflow has it in its database
    """
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "true",
        **NO_PROXY_FOR_LOOPBACK,
    }
    if connection is not None:
        settings["AIRFLOW_CONN_RESPAN_DEFAULT"] = json.dumps(connection)
    return {**os.environ, **settings}


def airflow(*arguments: str, env: Mapping[str, str]) -> None:
    """Run an Airflow command; if it fails, exit with its output."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"airflow {' '.join(arguments[:2])} failed:\n{done.stdout}\n{done.stderr}")


def fresh_home(home: Path) -> None:
    """Create an empty folder for an Airflow; an existing one is deleted."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    env: Mapping[str, str], home: Path, *, port: int, components: Iterable[str] = COMPONENTS
) -> Iterator[Processes]:
    """Run components of Airflow until the end of the block."""
    with Processes(home) as processes:
        for component in components:
            start(processes, component, env=env, port=port)
        yield processes


def start(processes: Processes, component: str, *options: str, env: Mapping[str, str], port: int) -> None:
    """Start one component of Airflow.

    :param component: its command; ``#`` and a number distinguish several of the same kind
    :param options: further options of the command
    :param port: where the API server listens
    """
    command, *_number = component.split("#")
    if command == "api-server":
        options = ("--host", "127.0.0.1", "--port", str(port), *options)
    processes.start(component, [sys.executable, "-m", "airflow", *command.split(), *options], env=env)


def whole_airflow(env: Mapping[str, str], *, port: int) -> dict[str, str]:
    """Return the environment with what all processes of one Airflow must share, and without a login page."""
    return {
        **env,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }


def with_examples(env: Mapping[str, str], *, dags: Path) -> dict[str, str]:
    """Return the environment with Airflow's default of all examples, in which new DAGs are shown within seconds.

    Airflow looks for the examples of a provider inside its package, where the wheel has them. The checkout has them
    beside the package. So they are a bundle here, which has the name that Airflow would give it. All DAGs are paused at
    first, which is Airflow's default, because some of its own examples have a schedule.

    :param dags: the folder of the user's own DAGs
    """
    bundles = {"dags-folder": dags, EXAMPLES_BUNDLE: CHECKOUT / "example_dags"}
    return {
        **env,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "true",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "true",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": str(REFRESH_SECONDS),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [
                {
                    "name": name,
                    "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                    "kwargs": {"path": str(path), "refresh_interval": REFRESH_SECONDS},
                }
                for name, path in bundles.items()
            ]
        ),
    }


def answers(url: str) -> bool:
    """Return whether a GET of the URL returns 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (our own server on loopback)
            return bool(response.status == 200)
    except OSError:
        return False


def stop(*_signal: object) -> NoReturn:
    """Say that everything is being stopped, and end the program's ``with`` blocks, which stop it."""
    print("\nStopping ...", flush=True)
    raise KeyboardInterrupt


def main() -> int:
    """Run until Ctrl-C, or until a component ends by itself.

    :return: the exit status: 1 if a component has ended
    """
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # in the background of a shell SIGINT is ignored
        signal.signal(signal_number, stop)
    port = free_port()
    temporary = HOME / "tmp"  # the examples write their results there by default
    env = {**with_examples(whole_airflow(environment(HOME), port=port), dags=DAGS), "TMPDIR": str(temporary)}
    try:
        with RespanSandbox(pace=5) as sandbox:
            print("Setting up ...", flush=True)
            fresh_home(HOME)
            temporary.mkdir()
            DAGS.mkdir(exist_ok=True)
            airflow("db", "migrate", env=env)
            airflow("connections", "add", "respan_default", "--conn-json", json.dumps(connection_to(sandbox)), env=env)
            with running(env, HOME, port=port) as processes:
                url = f"http://127.0.0.1:{port}"
                while not answers(f"{url}/api/v2/version") and not processes.ended():
                    time.sleep(0.5)
                print(f"Airflow:        {url}/dags?tags=respan shows our examples (no login; trigger batch_lifecycle)")
                print(f"Your DAGs:      put files into {DAGS.relative_to(CHECKOUT)}/; they are shown within seconds")
                print(f"Results:        {temporary.relative_to(CHECKOUT)}/")
                print(f"Respan sandbox: {sandbox.url}, Airflow connection respan_default")
                print(f"Logs:           {HOME.relative_to(CHECKOUT)}/*.log")
                print("Ctrl-C stops everything.", flush=True)
                while not (ended := processes.ended()):
                    time.sleep(0.5)
                print(f"{ended} has ended by itself; the end of its log:", file=sys.stderr)
                print(processes.log(ended).read_text(errors="replace")[-3000:], file=sys.stderr)
                return 1
    except KeyboardInterrupt:
        print("Stopped.")
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
