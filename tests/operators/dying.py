"""Lands results in a process that is killed at its first step, then at its second, and so on; each time tries again.

``python -m tests.operators.dying FOLDER TEMPORARY OPTIONS``: says for each step what was there after the death, and
after the second try. A step is whatever Python tells an audit hook: a file is opened, renamed or removed, a folder
is made or read, a connection is opened.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath  # noqa: F401 (not to be counted among the steps)

from tests.operators.landing_process import FILE_STEPS, start
from tests.operators.landings import bad, good, jsonl, land, upload

OUTPUT = jsonl(*(good(f"request-{number}", "word " * 800) for number in range(60)))
ERRORS = jsonl(*(bad(f"failed-{number}") for number in range(60)))


def is_step(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether the process may be killed before this event."""
    in_folders = event in FILE_STEPS and any(place in str(arguments[:1]) for place in sys.argv[1:3])
    return in_folders or event == "socket.connect"


def in_a_process(folder: Path, options: dict[str, Any], *, die_at: int | None) -> int:
    """Land in a process of its own, and return what ``waitpid`` says of its end."""
    return os.waitpid(start(folder, options, signal_number=signal.SIGKILL, at=die_at, is_step=is_step), 0)[1]


def contents(folder: Path) -> dict[str, str]:
    """What is there: whole, or not."""
    whole = {"output.jsonl": OUTPUT, "errors.jsonl": ERRORS}
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes()
        if path.name == "manifest.json":
            is_whole = json.loads(content)["counts"]["rows"] == 120
        elif path.name == "results.parquet":
            is_whole = content[:4] == content[-4:] == b"PAR1"
        else:
            is_whole = whole.get(path.name) == content
        found[path.name] = "whole" if is_whole else "not whole"
    return found


def main() -> None:
    """Die at each step."""
    warnings.simplefilter("ignore")
    folder, temporary, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    tempfile.tempdir = str(temporary)
    files = {"output_file_id": upload(OUTPUT), "error_file_id": upload(ERRORS)}
    land(folder, **{**options, **files})  # for all that is imported, or each child would import it again
    die_at = 1
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        files = {"output_file_id": upload(OUTPUT), "error_file_id": upload(ERRORS)}
        end = in_a_process(folder, {**options, **files}, die_at=die_at)
        after_death = contents(folder)
        second = in_a_process(folder, {**options, **files}, die_at=None)
        after_retry = {**contents(folder), **contents(temporary)}
        report = {"end": end, "after_death": after_death, "second": second, "after_retry": after_retry}
        sys.stdout.write(f"STEP {json.dumps(report)}\n")
        sys.stdout.flush()  # or a child would say it again
        if end == 0:
            return
        die_at += 1


if __name__ == "__main__":
    main()
