"""The mark that a batch carries in its metadata: which task made it, and of what. No I/O, no Airflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

TASK_KEY = "airflow_task"
FINGERPRINT_KEY = "airflow_input"

MAX_PAIRS = 16
MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 512


def task_key(*, dag_id: str, task_id: str, run_id: str, map_index: int) -> str:
    """Name a task instance, the same for each of its attempts: the number of the try is no part of it.

    :return: legible where that fits into metadata, else a hash
    """
    # As JSON: joined by any one character, two tasks could come to share a name.
    key = json.dumps([dag_id, task_id, run_id, map_index], separators=(",", ":"))
    return key if len(key) <= MAX_VALUE_LENGTH else f"sha256:{_sha256(key)}"


def compute_fingerprint(*, content: str, endpoint: str, provider_id: str | None) -> str:
    """Identify what a batch is made of: what decides about its answers, and nothing that merely labels it.

    Hence not ``metadata``, tracking parameters and ``completion_window``: changing those does not change the input.

    :param content: the digest of the requests, or the id of their file
    """
    return _sha256(json.dumps([content, endpoint, provider_id]))


def with_identity(metadata: Mapping[str, str] | None, *, key: str, fingerprint: str) -> dict[str, str]:
    """Add the mark to what the user keeps with the batch.

    :raises ValueError: if the service has no room for it; says what is too much
    """
    own = dict(metadata or {})
    for name, value in own.items():
        if name in (TASK_KEY, FINGERPRINT_KEY):
            raise ValueError(f"metadata has {name!r}, by which retries find the batch: choose another name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise ValueError(f"metadata has the name {name!r}: names are texts of 1 to {MAX_NAME_LENGTH} characters")
        if not isinstance(value, str) or len(value) > MAX_VALUE_LENGTH:
            raise ValueError(f"metadata[{name!r}] has to be a text of at most {MAX_VALUE_LENGTH} characters")
    if len(own) > MAX_PAIRS - 2:
        raise ValueError(
            f"metadata has {len(own)} pairs: the service keeps {MAX_PAIRS}, of which 2 are for finding the batch again"
        )
    return {**own, TASK_KEY: key, FINGERPRINT_KEY: fingerprint}


def is_created_by(metadata: Mapping[str, Any] | None, key: str) -> bool:
    """Say whether a batch with this metadata was made by this task."""
    return metadata is not None and metadata.get(TASK_KEY) == key


def input_file_name(*, key: str, fingerprint: str) -> str:
    """Name the input file so that another attempt recognises it."""
    return f"airflow-{_sha256(key + fingerprint)[:32]}.jsonl"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
