"""Tasks in processes of their own, and disks that are soon full."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = 4096

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
