"""Lands a batch in a process that is suspended at its first step in the folder, then at its second, and so on.

``python -m tests.operators.suspending FOLDER SAME OPTIONS``: while it is suspended, another process lands the same
batch or another one in the same folder; then the first one goes on. Says for each step how both ended, and what was
in the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath  # noqa: F401 (not to be counted among the steps)

from tests.operators.landing_process import FILE_STEPS, start
from tests.operators.landings import bad, good, jsonl, land, upload

FIRST = {"output.jsonl": jsonl(good("a"), good("b")), "errors.jsonl": jsonl(bad("c"))}
SECOND = {"output.jsonl": jsonl(good("d")), "errors.jsonl": b""}
"""The second batch has no error file."""


def files_of(content: dict[str, bytes]) -> dict[str, Any]:
    """Upload what a batch has left."""
    return {
        "output_file_id": upload(content["output.jsonl"]),
        "error_file_id": upload(content["errors.jsonl"]) if content["errors.jsonl"] else None,
    }


def whose(folder: Path, first: dict[str, Any], second: dict[str, Any]) -> str:
    """Whose manifest is there, with all files that it names and no other file."""
    if not (folder / "manifest.json").exists():
        return "nobody"
    landing = json.loads((folder / "manifest.json").read_text())["landing"]
    owner, files, content = (
        ("first", first, FIRST) if landing["output_file_id"] == first["output_file_id"] else ("second", second, SECOND)
    )
    expected = {name: data for name, data in content.items() if data}
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    assert landing["error_file_id"] == files["error_file_id"]
    return owner if found == expected else f"{owner}, but there are {sorted(found)}"


def main() -> None:
    """Suspend the first landing at each step."""
    warnings.simplefilter("ignore")
    folder, same, options = Path(sys.argv[1]), sys.argv[2] == "same", json.loads(sys.argv[3])
    before, first, second = files_of(SECOND), files_of(FIRST), files_of(SECOND)
    land(folder, **first)  # for all that is imported, or each child would import it again
    suspend_at = 1
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if options.get("overwrite"):
            land(folder, **before)
        child = start(
            folder,
            {**first, **options},
            at=suspend_at,
            is_step=lambda event, arguments: event in FILE_STEPS and str(folder) in str(arguments[:2]),
        )
        is_suspended = os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
        other = start(folder, {**(first if same else second), **options})
        other_end = os.waitpid(other, 0)[1]
        if not is_suspended:
            return
        os.kill(child, signal.SIGCONT)
        end = os.waitpid(child, 0)[1]
        report = {"first": end, "second": other_end, "folder": whose(folder, first, second)}
        sys.stdout.write(f"STEP {json.dumps(report)}\n")
        sys.stdout.flush()  # or a child would say it again
        suspend_at += 1


if __name__ == "__main__":
    main()
