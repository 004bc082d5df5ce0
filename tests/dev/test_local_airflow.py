"""The DAGs of ``make airflow``, which has Airflow's default ``load_examples``."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager

from dev.local_airflow import with_examples
from tests.conftest import CHECKOUT


def test_airflow_finds_our_examples_once_beside_its_own_and_logs_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for name, value in with_examples({}, dags=tmp_path).items():
        monkeypatch.setenv(name, value)

    with caplog.at_level(logging.WARNING):
        folders = [Path(bundle.path) for bundle in DagBundlesManager().get_all_dag_bundles()]

    ours = [file for folder in folders for file in folder.rglob("batch_lifecycle.py")]
    assert ours == [CHECKOUT / "example_dags" / "batch_lifecycle.py"]
    assert any(folder.match("airflow/example_dags") for folder in folders)
    assert tmp_path in folders
    assert "respan" not in caplog.text
