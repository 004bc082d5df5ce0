"""Lands large results, and says by how many megabytes the process has grown: ``python -m tests.operators.measured``."""

from __future__ import annotations

import json
import resource
import sys

from tests.operators.landings import good, jsonl, land, upload


def main() -> None:
    """Land something small, for all that is imported, and then what was asked for."""
    path, options = sys.argv[1], json.loads(sys.argv[2])
    requests = path + "-warm-up.jsonl"
    with open(requests, "wb") as file:  # noqa: PTH123 (a text is what the arguments have)
        file.write(jsonl({"custom_id": "a"}))
    land(
        f"{path}-warm-up",
        output_file_id=upload(jsonl(good("a"))),
        input_path=requests,
        parquet=options.get("parquet", False),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = land(path, **options)["return_value"]
    grown_by = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    sys.stdout.write(f"MEASURED {json.dumps({'manifest': manifest, 'grown_by': grown_by})}\n")


if __name__ == "__main__":
    main()
