"""Runs DAG files as programs one after the other in one process, so that Airflow is imported only once.

``python -m tests.dag_runs RUN...``: each argument is JSON with ``path``, ``arguments`` and ``environment``. After each
run there is a line with its exit status.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile

END = "EXIT STATUS "


def run(path: str, arguments: list[str], environment: dict[str, str]) -> int:
    """Run a DAG file, and return its exit status."""
    os.environ.update(environment)
    tempfile.tempdir = None  # read TMPDIR again
    sys.argv = [path, *arguments]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        status = run(**json.loads(argument))
        sys.stderr.flush()
        sys.stdout.write(f"\n{END}{status}\n")
        sys.stdout.flush()
