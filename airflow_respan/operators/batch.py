"""The operators of a batch's life, under one name."""

from __future__ import annotations

from airflow_respan.operators.cancel import RespanCancelBatchOperator
from airflow_respan.operators.create import RespanCreateBatchOperator

__all__ = ["RespanCancelBatchOperator", "RespanCreateBatchOperator"]
