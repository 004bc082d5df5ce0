"""The XComs of a batch that has ended, the same in every mode and for every terminal status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_respan.api.batch import Batch


def batch_xcoms(batch: Batch) -> dict[str, Any]:
    """Return the keys and values to push.

    A value that is None is left out, because Airflow 3.0 refuses to push it, and ``xcom_pull`` returns None anyway.
    """
    values = {
        "batch_id": batch.id,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "request_counts": batch.request_counts.to_dict() if batch.request_counts else None,
    }
    return {key: value for key, value in values.items() if value is not None}
