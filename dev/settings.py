"""What several programs of this folder share: the path of the checkout, and how to reach a local Respan."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_respan.sandbox import RespanSandbox

CHECKOUT = Path(__file__).resolve().parent.parent

_NO_PROXY = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))
NO_PROXY_FOR_LOOPBACK = {"NO_PROXY": _NO_PROXY, "no_proxy": _NO_PROXY}
"""Environment variables that exempt loopback from proxies; some programs read one name, some the other."""


def connection_to(sandbox: RespanSandbox) -> dict[str, object]:
    """Return an Airflow connection to a local Respan.

    Its port is a field of its own, because the *Test* button of Airflow 3.3.1 and 3.3.2 refuses connections without.
    """
    return {
        "conn_type": "respan",
        "host": f"http://{sandbox.host}",
        "port": sandbox.port,
        "password": sandbox.api_key,
    }
