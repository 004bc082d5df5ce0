"""Lands in one folder from several processes that start at the same moment, again and again.

``python -m tests.operators.racing FOLDER ROUNDS OPTIONS BATCH...``: each further argument is one process, and names the
batch that it lands: ``first`` or ``second``. Says for each round which of them succeeded, and whose results are there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from pathlib import Path

from tests.operators.landing_process import start
from tests.operators.landings import land
from tests.operators.suspending import FIRST, SECOND, files_of, whose


def main() -> None:
    """Run the rounds."""
    warnings.simplefilter("ignore")
    folder, rounds, options, batches = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]
    files = {"first": files_of(FIRST), "second": files_of(SECOND)}
    land(folder, **files["first"])  # for all that is imported
    for _round in range(rounds):
        shutil.rmtree(folder)
        pipe = os.pipe()
        children = [start(folder, {**files[batch], **options}, after=pipe) for batch in batches]
        for end in reversed(pipe):
            os.close(end)
        ends = [os.waitpid(child, 0)[1] for child in children]
        report = {
            "succeeded": [batch for batch, end in zip(batches, ends, strict=True) if end == 0],
            "folder": whose(folder, files["first"], files["second"]),
        }
        sys.stdout.write(f"STEP {json.dumps(report)}\n")
        sys.stdout.flush()  # or a child would say it again


if __name__ == "__main__":
    main()
