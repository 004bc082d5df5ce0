"""Lands large results, and says by how many megabytes the process has grown: ``python -m tests.operators.measured``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.operators.landings import good, jsonl, land, upload


def peak() -> float:
    """The most memory that the process has had since its peak was reset (megabytes)."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    """Land something small, for all that is imported, and then what was asked for."""
    path, options = sys.argv[1], json.loads(sys.argv[2])
    requests = path + "-warm-up.jsonl"
    Path(requests).write_bytes(jsonl({"custom_id": "a"}))
    land(
        f"{path}-warm-up",
        output_file_id=upload(jsonl(good("a"))),
        input_path=requests,
        parquet=options.get("parquet", False),
    )
    # Not getrusage's peak, which the process has from the one that started it.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    manifest = land(path, **options)["return_value"]
    sys.stdout.write(f"MEASURED {json.dumps({'manifest': manifest, 'grown_by': peak() - before})}\n")


if __name__ == "__main__":
    main()
