"""Lands large results, and says by how many megabytes the process has grown: ``python -m tests.operators.measured``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.memory import peak_megabytes, reset_peak
from tests.operators.landings import good, jsonl, land, upload


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
    before = reset_peak()
    manifest = land(path, **options)["return_value"]
    sys.stdout.write(f"MEASURED {json.dumps({'manifest': manifest, 'grown_by': peak_megabytes() - before})}\n")


if __name__ == "__main__":
    main()
