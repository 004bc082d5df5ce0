"""PostgreSQL and Redis from Debian's packages, on loopback, with new data, until the end of a block."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.local_airflow import free_port
from dev.processes import Processes

MAX_START_SECONDS = 60.0


@contextmanager
def postgresql(home: Path) -> Iterator[str]:
    """Run a PostgreSQL with an empty database ``airflow``.

    :param home: an empty folder for its data and log
    :return: its address as a URL, without a scheme
    """
    programs = _installed("initdb", "postgresql", "/usr/lib/postgresql/*/bin").resolve().parent
    # PostgreSQL refuses to run as root.
    account = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    as_account = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    runner = as_account if os.getuid() == 0 else []
    data, port = home / "data", free_port()
    data.mkdir(parents=True)
    os.chown(data, account.pw_uid, account.pw_gid)
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    _run([*runner, programs / "initdb", "-D", data, "-U", "airflow", "--auth=trust", "--no-sync"], env=env)
    options = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", str(data), "-c", "max_connections=300"]
    # Its data need not survive a power failure.
    options += ["-c", "fsync=off", "-c", "full_page_writes=off"]
    with Processes(home) as processes:
        processes.start("postgresql", [*runner, str(programs / "postgres"), "-D", str(data), *options], env=env)
        address = ["-h", "127.0.0.1", "-p", str(port), "-U", "airflow"]
        _wait_for([programs / "pg_isready", *address], "postgresql", processes)
        _run([programs / "createdb", *address, "airflow"], env=env)
        try:
            yield f"airflow@127.0.0.1:{port}/airflow"
        finally:
            processes.end("postgresql", by=signal.SIGINT)  # after SIGTERM it would wait for its clients


@contextmanager
def redis(home: Path) -> Iterator[str]:
    """Run a Redis that saves nothing, and yield its URL."""
    program, port = _installed("redis-server", "redis-server", "/usr/bin"), free_port()
    home.mkdir(parents=True)
    with Processes(home) as processes:
        command = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(home)]
        processes.start("redis", command, env=os.environ)
        _wait_for([program.with_name("redis-cli"), "-p", str(port), "ping"], "redis", processes)
        yield f"redis://127.0.0.1:{port}/0"


def _installed(program: str, package: str, folders: str) -> Path:
    """Return the path of a program; if it is missing, install its Debian package."""
    for _attempt in range(2):
        on_path = shutil.which(program)
        if found := sorted(Path("/").glob(f"{folders[1:]}/{program}")) or ([Path(on_path)] if on_path else []):
            return found[-1]
        if os.getuid() != 0 or not shutil.which("apt-get"):
            break
        print(f"Installing Debian's package {package} ...", flush=True)
        _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package])
    sys.exit(f"{program} is missing. Install it (Debian: apt-get install {package}) and try again.")


def _run(command: list[str | Path], *, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}\n{done.stderr}")


def _wait_for(probe: list[str | Path], name: str, processes: Processes) -> None:
    """Run a probe until it succeeds."""
    deadline = time.monotonic() + MAX_START_SECONDS
    while subprocess.run(probe, capture_output=True, check=False).returncode:
        if processes.ended() or time.monotonic() > deadline:
            sys.exit(f"{name} does not respond:\n{processes.log(name).read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
