"""All operators of the provider, in the module that users import them from."""

from __future__ import annotations

from airflow_respan.operators.cancel import RespanCancelBatchOperator
from airflow_respan.operators.create import RespanCreateBatchOperator
from airflow_respan.operators.results import RespanBatchResultsOperator
from airflow_respan.operators.rounds import RespanBatchOperator

__all__ = [
    "RespanBatchOperator",
    "RespanBatchResultsOperator",
    "RespanCancelBatchOperator",
    "RespanCreateBatchOperator",
]
