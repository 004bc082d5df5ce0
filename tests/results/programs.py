"""Programs of these tests, which are processes of their own."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.forked import run_program


def run(module: str, *arguments: object) -> list[Any]:
    """Run a program, and return the JSON of each line that it marks."""
    with TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        status = run_program(f"tests.operators.{module}", *arguments, output=output)
        printed = output.read_text()
    assert status == 0, printed[-5000:]
    lines = (line.split(" ", 1) for line in printed.splitlines())
    return [json.loads(words[1]) for words in lines if words[0] in ("STEP", "MEASURED")]
