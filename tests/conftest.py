"""An Airflow home for each test process, and a local Respan with a connection to it for each test."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

# Airflow reads these when it is first imported.
HOME = tempfile.TemporaryDirectory(prefix="airflow-respan-tests-")
os.environ.update(
    {
        "AIRFLOW_HOME": HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
)

from airflow_respan.api import endpoints  # noqa: E402
from airflow_respan.api.async_client import AsyncRespanClient  # noqa: E402
from airflow_respan.api.batch import Batch  # noqa: E402
from airflow_respan.api.client import RespanClient  # noqa: E402
from airflow_respan.api.connection import RespanConnection  # noqa: E402
from airflow_respan.api.request import Request  # noqa: E402
from airflow_respan.hooks.respan import RespanHook  # noqa: E402
from airflow_respan.sandbox import RespanSandbox  # noqa: E402
from tests.sensors.outcome_run import MODES  # noqa: E402

if TYPE_CHECKING:
    from tests.look_ups import CountingBackend

# "suite": the same examples in each run. "search" looks further, and elsewhere each time.
settings.register_profile("suite", derandomize=True, database=None, deadline=None, max_examples=100)
settings.register_profile(
    "search",
    settings.get_profile("suite"),
    derandomize=False,
    max_examples=5000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

CHECKOUT = Path(__file__).parent.parent
FIXTURES = Path(__file__).parent / "fixtures"
PAGE = 4096
MAX_DAG_RUN_SECONDS = 300.0


SLOW_FILES = {
    "test_supervised.py",
    "test_example_dags.py",
    "test_in_airflow.py",
    "test_large_files.py",
    "test_folder.py",
    "test_claim.py",
    "test_package.py",
    "test_input.py",
}
"""Their tests run first, so that at the end no process waits for a long test of another one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first."""
    items.sort(key=lambda item: item.path.name not in SLOW_FILES)


def environment_without_coverage() -> dict[str, str]:
    """Return the environment for a program whose lines are covered elsewhere: to measure them takes 60 % longer."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each test to a process that is free, but all that share one DAG run to the same process."""
    from xdist.scheduler import LoadScopeScheduling

    class LoadTestScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _separator, test = nodeid.partition("::")
            if file.endswith("test_outcomes.py"):
                return next(mode for mode in MODES if f"-{mode}-" in test)
            return file if file.endswith(("test_supervised.py", "test_example_dags.py")) else nodeid

    return LoadTestScheduling(config, log)


@pytest.fixture
def seed_batch() -> dict[str, Any]:
    """The example of the document that the project was ordered with."""
    return json.loads((FIXTURES / "seed_batch.json").read_text())


@pytest.fixture
def sandbox() -> Iterator[RespanSandbox]:
    """A local Respan whose batches move by hand."""
    with RespanSandbox(pace=None) as running:
        yield running


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write an Airflow connection, as its environment variable."""

    def write(*, conn_id: str = "respan_default", **fields: Any) -> None:
        variable = f"AIRFLOW_CONN_{conn_id.upper()}"
        monkeypatch.setenv(variable, json.dumps({"conn_type": "respan", **fields}))

    return write


@pytest.fixture
def connected(sandbox: RespanSandbox, connect: Callable[..., None]) -> RespanSandbox:
    """A local Respan, with ``respan_default`` pointing at it."""
    connect(host=sandbox.url, password=sandbox.api_key)
    return sandbox


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[CountingBackend]]:
    """The look-ups of connections: their number, and an event that a test clears to let them hang."""
    from tests.look_ups import CountingBackend

    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "tests.look_ups.CountingBackend")
    CountingBackend.look_ups.clear()
    CountingBackend.answers.set()
    yield CountingBackend
    CountingBackend.answers.set()


@pytest.fixture(params=["worker", "triggerer"])
def get_batch(request: pytest.FixtureRequest) -> Callable[..., Batch]:
    """Retrieve a batch on either side: over requests, and over aiohttp inside an event loop."""

    def on_worker(batch_id: str, *, conn_id: str = "respan_default", **options: Any) -> Batch:
        return RespanHook(conn_id).get_batch(batch_id, **options)

    def on_triggerer(batch_id: str, *, conn_id: str = "respan_default", **options: Any) -> Batch:
        async def ask() -> Batch:
            async with aclosing(RespanHook(conn_id)) as hook:
                return await hook.aget_batch(batch_id, **options)

        return asyncio.run(ask())

    return on_worker if request.param == "worker" else on_triggerer


@pytest.fixture(params=["worker", "triggerer"])
def get_batch_once(request: pytest.FixtureRequest) -> Callable[[RespanConnection], Batch]:
    """Retrieve ``batch_abc123`` on either side, without the second try and the pause before it."""

    def asked(connection: RespanConnection) -> Request[Batch]:
        return replace(endpoints.get_batch(connection, "batch_abc123"), idempotent=False)

    def on_worker(connection: RespanConnection) -> Batch:
        with closing(RespanClient(connection)) as client:
            return client.send(asked(connection))

    def on_triggerer(connection: RespanConnection) -> Batch:
        async def ask() -> Batch:
            async with aclosing(await AsyncRespanClient.open(connection)) as client:
                return await client.send(asked(connection))

        return asyncio.run(ask())

    return on_worker if request.param == "worker" else on_triggerer


@pytest.fixture(scope="session")
def airflow_db(request: pytest.FixtureRequest) -> None:
    """A migrated metadata database: a copy of one that is kept in pytest's cache, as a migration takes 10 seconds."""
    versions = f"{version('apache-airflow')}-python-{platform.python_version()}"
    kept = request.config.cache.mkdir("airflow-db") / f"{versions}.db"
    database = Path(HOME.name) / "airflow.db"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of one run migrate once
        if not kept.exists():
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            subprocess.run(command, env=environment_without_coverage(), check=True, capture_output=True)
            part = kept.with_suffix(".part")
            shutil.copyfile(database, part)
            part.replace(kept)
    shutil.copyfile(kept, database)


@pytest.fixture(scope="session")
def run_dag_file(airflow_db: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a DAG file as a program, in a process of its own; one that hangs fails with its log."""

    def run(path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        own = {"AIRFLOW__CORE__DAGS_FOLDER": str(path.parent), **environment}
        try:
            return subprocess.run(
                [sys.executable, str(path), *arguments],
                env=environment_without_coverage() | own,
                capture_output=True,
                text=True,
                check=False,
                timeout=MAX_DAG_RUN_SECONDS,
            )
        except subprocess.TimeoutExpired as hung:
            log = b"".join(filter(None, (hung.stdout, hung.stderr))).decode(errors="replace")
            pytest.fail(f"{path.name} did not end within {MAX_DAG_RUN_SECONDS:.0f} s; its log ends:\n{log[-5000:]}")

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a disk of so many pages, which is full soon."""
    mounted = []

    def mount(pages: int) -> Path:
        path = tmp_path / f"disk-{len(mounted)}"
        path.mkdir()
        options = f"size={pages * PAGE}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a full disk needs the right to mount one: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)
