"""Tasks in processes of their own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

WITHOUT = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name.split('.')[0]!r}")

sys.meta_path.insert(0, Refuse())
from tests.operators.landings import land
try:
    land(**json.loads(sys.argv[2]))
except Exception as error:
    print(f"\\n{error}", end="")
"""


@pytest.fixture
def run_without() -> Callable[..., str]:
    """Run the task where a module is not installed; gives the last line of what it said."""

    def run(module: str, **options: Any) -> str:
        command = [sys.executable, "-c", WITHOUT, module, json.dumps(options)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]

    return run


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Give all that was logged until now: by Airflow's own logger on the output, by ours as usual."""
    caplog.set_level(logging.INFO)
    return lambda: capsys.readouterr().out + caplog.text
