"""``python -m tests.releases``: record what this release writes, before it is published, for later releases."""

from __future__ import annotations

import json
import os

from airflow_respan.sandbox import RespanSandbox
from tests.releases import write

with RespanSandbox(pace=None) as sandbox:
    connection = {"conn_type": "respan", "host": sandbox.url, "password": sandbox.api_key}
    os.environ["AIRFLOW_CONN_RESPAN_DEFAULT"] = json.dumps(connection)
    print(f"Written: {write(sandbox)}")  # noqa: T201 (this is a program)
