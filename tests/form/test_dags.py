"""The DAGs that ``make airflow`` shows in its UI: the examples, and a new file; ``make test-form``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from dev.local_airflow import running
from tests.conftest import CHECKOUT
from tests.form.conftest import Server

EXAMPLES = sorted(path.stem for path in (CHECKOUT / "example_dags").glob("*.py"))
NEW_DAG = """
import pendulum
from airflow.providers.common.compat.sdk import dag
from airflow_respan.sensors.batch import RespanBatchSensor

@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), tags=["new"])
def new_dag():
    RespanBatchSensor(task_id="wait", batch_id="batch_1")

new_dag()
"""
MAX_START_SECONDS = 120.0
MAX_NEW_DAG_SECONDS = 20.0


@pytest.fixture(scope="module")
def log(server: Server) -> Iterator[Path]:
    """The log of a DAG processor that runs beside the API server."""
    home = Path(server.env["AIRFLOW_HOME"])
    with running(server.env, home, port=0, components=["dag-processor"]) as processes:
        yield processes.log("dag-processor")


def wait_until_shown(page: Page, dags: list[str], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    found = page.get_by_test_id("dag-id")
    while found.all_inner_texts() != dags:
        assert time.monotonic() < deadline, f"{found.all_inner_texts()} instead of {dags} after {seconds:.0f} seconds"
        page.reload()
        page.wait_for_timeout(1000)


def test_the_examples_are_shown_once_and_no_error_names_the_package(page: Page, server: Server, log: Path) -> None:
    page.goto(f"{server.url}/dags?tags=respan")
    wait_until_shown(page, EXAMPLES, seconds=MAX_START_SECONDS)

    lines = log.read_text().splitlines()
    assert [
        line for line in lines if "respan" in line and any(word in line.lower() for word in ("[error", "traceback"))
    ] == []


def test_a_new_dag_is_shown_within_seconds(page: Page, server: Server, log: Path) -> None:
    (Path(server.env["AIRFLOW__CORE__DAGS_FOLDER"]) / "new.py").write_text(NEW_DAG)

    page.goto(f"{server.url}/dags?tags=new")
    wait_until_shown(page, ["new_dag"], seconds=MAX_NEW_DAG_SECONDS)
