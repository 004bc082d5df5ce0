"""A large input of which many requests fail, and a task in a process of its own that asks it.

``python -m tests.rounds.large [REQUESTS BYTES]`` says what the task needs for 120,000 requests of 500 MB.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_respan.sandbox import Outcome, RespanSandbox
from tests.conftest import CHECKOUT, environment_without_coverage


def make_outcome(custom_id: str, attempt: int) -> Outcome | None:
    """Let 30 % of the requests fail in each round: half of them in a way that may pass, half in one that does not."""
    position = hashlib.sha256(f"{custom_id} {attempt}".encode()).digest()[0] / 256
    if position < 0.15:
        return Outcome.error(503) if attempt % 2 else Outcome.missing()
    return Outcome.error(400) if position < 0.3 else None


def requests(count: int, size: int) -> Iterator[str]:
    """Yield so many requests of so many bytes each."""
    for number in range(count):
        text = (f"{number:012} é word \\ " * (size // 20))[: size - 200]
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
        request = {
            "custom_id": f"row-{number:08}-of-the-table-of-questions",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
        yield json.dumps(request, ensure_ascii=False)


def measure(place: Path, count: int, size: int, *profile: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Ask them, and return what the process has measured, and how often each request was paid."""
    source = place / "in.jsonl"
    with source.open("w") as file:
        file.writelines(f"{line}\n" for line in requests(count, size))
    with RespanSandbox(pace=0.0, outcomes=make_outcome) as sandbox:
        connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
        done = subprocess.run(
            [sys.executable, "-m", "tests.rounds.measured", str(place / "out"), str(source), *profile],
            env={**environment_without_coverage(), "AIRFLOW_CONN_RESPAN_DEFAULT": json.dumps(connection)},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-5000:]
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
        paid = {custom_id: runs for custom_id, runs in sandbox.runs.items() if custom_id.startswith("row-")}
        return json.loads(line.removeprefix("MEASURED ")), paid


def main() -> None:
    """Measure, and say it."""
    count, size = map(int, sys.argv[1:3] or ("120000", "4200"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        measured, paid = measure(Path(place), count, size, *sys.argv[3:])
        source = (Path(place) / "in.jsonl").stat().st_size
    rounds = [each["requests"] for each in measured["manifest"]["rounds"]] if measured["manifest"] else []
    sys.stdout.write(
        f"{count:,} requests, {source / 1e6:.0f} MB, {measured['error']}: grown by {measured['grown_by']:.1f} MB, "
        f"{measured['cpu_seconds']:.1f} s of CPU, {measured['seconds']:.0f} s. Rounds: {rounds}. "
        f"Paid: {sum(paid.values()):,}.\n"
    )


if __name__ == "__main__":
    main()
