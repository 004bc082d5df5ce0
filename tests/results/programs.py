"""Programs of these tests, which are processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.conftest import CHECKOUT, environment_without_coverage


def run(module: str, *arguments: object) -> list[Any]:
    """Run a program, and return the JSON of each line that it marks."""
    command = [sys.executable, "-m", f"tests.operators.{module}", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment_without_coverage(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    lines = (line.split(" ", 1) for line in done.stdout.splitlines())
    return [json.loads(words[1]) for words in lines if words[0] in ("STEP", "MEASURED")]
