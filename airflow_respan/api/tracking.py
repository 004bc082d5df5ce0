"""The one list of Respan's tracking parameters of a batch."""

from __future__ import annotations

from typing import TypedDict


class TrackingParameters(TypedDict, total=False):
    """Arguments of ``RespanHook.create_batch`` and ``RespanCreateBatchOperator``, sent in the body of the request."""

    customer_identifier: str | None
    custom_identifier: str | None
    thread_identifier: str | None
    environment: str | None


TRACKING_PARAMETERS = tuple(TrackingParameters.__annotations__)
