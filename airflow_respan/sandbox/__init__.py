"""A local Respan on real sockets: run and test DAGs without a key, without cost and without the network.

As a program: ``python -m airflow_respan.sandbox``. In a test::

    from airflow_respan.sandbox import Fault, RespanSandbox

    with RespanSandbox(pace=0.1) as sandbox:
        batch_id = sandbox.add_batch(status="in_progress")
        sandbox.inject(Fault.rate_limit(retry_after=1))
        ...  # point an Airflow connection at sandbox.url, with sandbox.api_key as its password
"""

from __future__ import annotations

from airflow_respan.sandbox.downloads import Download
from airflow_respan.sandbox.faults import Fault
from airflow_respan.sandbox.outcomes import Outcome
from airflow_respan.sandbox.server import RespanSandbox

__all__ = ["Download", "Fault", "Outcome", "RespanSandbox"]
