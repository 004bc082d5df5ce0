"""Each status of the table, a status that the table does not have, and a status that is added to the table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pendulum
import pytest

from airflow_respan.api.batch import Batch
from airflow_respan.api.statuses import STATUSES, TERMINAL_STATUSES, canonical_status, status_of
from airflow_respan.waiting.outcome import describe_batch, evaluate_batch, parse_success_statuses
from airflow_respan.waiting.policy import BatchWait
from airflow_respan.waiting.progress import describe_progress
from airflow_respan.waiting.xcom import batch_xcoms
from tests.conftest import CHECKOUT

NOW = pendulum.datetime(2026, 1, 1, 12)
HOUR_AGO, MINUTE_AGO = NOW.int_timestamp - 3600, NOW.int_timestamp - 60
TABLE_START = """\
    status.name: status
    for status in (
"""
NEW_ROW = """\
        BatchStatus(name="archived", meaning="The batch was archived.", is_terminal=True),
"""
CHECK_NEW_STATUS = """
from airflow_respan.api.batch import Batch
from airflow_respan.waiting.outcome import evaluate_batch, parse_success_statuses
from airflow_respan.waiting.policy import BatchWait

data = {"id": "batch_1", "status": "archived", "created_at": 1767225600, "archived_at": 1767229200}
batch = Batch.from_dict({**data, "output_file_id": "file-out"})
assert BatchWait(batch_id="batch_1").on_batch(batch)
assert not evaluate_batch(batch).accepted
outcome = evaluate_batch(batch, success_statuses=parse_success_statuses(["archived"]))
assert outcome.accepted, outcome
assert Batch.from_dict(batch.to_dict()).ended_at == batch.ended_at
print(outcome.message)
"""


def batch_in(status: str) -> Batch:
    counts = {"total": 10, "completed": 5, "failed": 0}
    timestamps = {"created_at": HOUR_AGO, "in_progress_at": HOUR_AGO, f"{status}_at": MINUTE_AGO}
    return Batch.from_dict({"id": "batch_1", "status": status, "request_counts": counts, **timestamps})


def test_the_terminal_statuses_are_the_documented_ones() -> None:
    assert {"completed", "failed", "expired", "cancelled"} == TERMINAL_STATUSES


@pytest.mark.parametrize("status", [*STATUSES, "queued", "Scheduled", "rescheduled"])
def test_every_status_has_one_meaning_everywhere(status: str) -> None:
    batch = batch_in(status)
    meaning = status_of(status)

    assert batch.is_terminal is meaning.is_terminal is (status in TERMINAL_STATUSES)
    assert (batch.ended_at and batch.ended_at.int_timestamp) == (MINUTE_AGO if meaning.is_terminal else None)
    assert BatchWait(batch_id="batch_1").on_batch(batch) is meaning.is_terminal
    assert evaluate_batch(batch).accepted is meaning.is_complete
    assert evaluate_batch(batch, success_statuses=[status]).accepted
    assert describe_batch(batch).startswith(f"Batch batch_1 is {status}")
    assert ("expected to end" in describe_progress(batch, now=NOW)) is meaning.has_pace
    assert batch_xcoms(batch)["status"] == status
    assert Batch.from_dict(batch.to_dict()) == batch


@pytest.mark.parametrize(
    ("spelling", "status"),
    [
        ("COMPLETED", "completed"),
        ("Completed", "completed"),
        (" completed\n", "completed"),
        ("canceled", "cancelled"),
        ("CANCELLED ", "cancelled"),
        ("Canceling", "cancelling"),
        ("in-progress", "in_progress"),
        ("In Progress", "in_progress"),
        ("inProgress", "in_progress"),
        ("finalising", "finalizing"),
        ("Failed", "failed"),
        ("EXPIRED", "expired"),
    ],
)
def test_another_spelling_of_a_status_means_the_same(spelling: str, status: str) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": spelling})

    assert (canonical_status(spelling), status_of(spelling), batch.status) == (status, STATUSES[status], status)
    assert batch.is_terminal is (status in TERMINAL_STATUSES)
    assert batch_xcoms(batch)["status"] == status


@pytest.mark.parametrize("status", ["succeeded", "complete", "Scheduled", "not completed", "?"])
def test_another_word_is_an_unknown_status_and_stays_as_it_is(status: str) -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": f" {status} "})

    assert (batch.status, batch.is_terminal) == (status, False)


def test_the_time_of_an_end_is_read_in_another_spelling() -> None:
    batch = Batch.from_dict({"id": "batch_1", "status": "canceled", "canceled_at": MINUTE_AGO})

    assert batch.ended_at is not None
    assert batch.ended_at.int_timestamp == MINUTE_AGO
    assert Batch.from_dict(batch.to_dict()) == batch


def test_a_dag_may_spell_a_status_in_another_way() -> None:
    assert parse_success_statuses(["COMPLETED", "canceled"]) == ("completed", "cancelled")
    assert parse_success_statuses("Expired") == ("expired",)


def test_a_new_terminal_status_needs_only_a_row_in_the_table(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "airflow_respan", tmp_path / "airflow_respan")
    table = tmp_path / "airflow_respan" / "api" / "statuses.py"
    source = table.read_text()
    assert TABLE_START in source
    table.write_text(source.replace(TABLE_START, TABLE_START + NEW_ROW))

    # Without coverage, because its report would have to read the copy.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", CHECK_NEW_STATUS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Batch batch_1 is archived after 1 hour (no request counts; output file file-out).\n"
