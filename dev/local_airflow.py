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

from airflow_respan.sandbox import RespanSandbox
from dev.processes import Processes
from dev.settings import CHECKOUT, NO_PROXY_FOR_LOOPBACK, connection_to

HOME = CHECKOUT / ".airflow"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


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


def answers(url: str) -> bool:
    """Return whether a GET of the URL returns 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (our own server on loopback)
            return bool(response.status == 200)
    except OSError:
        return False


def main() -> int:
    """Run until Ctrl-C, or until a component ends by itself.

    :return: the exit status: 1 if a component has ended
    """
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # in the background of a shell SIGINT is ignored
        signal.signal(signal_number, signal.default_int_handler)
    port = free_port()
    temporary = HOME / "tmp"  # the examples write their results there by default
    env = {**whole_airflow(environment(HOME), port=port), "TMPDIR": str(temporary)}
    try:
        with RespanSandbox(pace=5) as sandbox:
            print("Setting up ...", flush=True)
            fresh_home(HOME)
            temporary.mkdir()
            airflow("db", "migrate", env=env)
            airflow("connections", "add", "respan_default", "--conn-json", json.dumps(connection_to(sandbox)), env=env)
            with running(env, HOME, port=port) as processes:
                url = f"http://127.0.0.1:{port}"
                while not answers(f"{url}/api/v2/version") and not processes.ended():
                    time.sleep(0.5)
                print(f"Airflow:        {url} (no login; trigger batch_lifecycle or large_input)")
                print(f"Results:        {temporary.relative_to(CHECKOUT)}/")
                print(f"Respan sandbox: {sandbox.url}")
                print(f"Logs:           {HOME.relative_to(CHECKOUT)}/*.log. Ctrl-C ends everything.", flush=True)
                while not (ended := processes.ended()):
                    time.sleep(0.5)
                print(f"{ended} has ended by itself; the end of its log:", file=sys.stderr)
                print(processes.log(ended).read_text(errors="replace")[-3000:], file=sys.stderr)
                return 1
    except KeyboardInterrupt:
        print("Ended.")
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
