"""The identity of a task and the fingerprint of its input, which are in the metadata of its batch.

A later attempt recognises the batch by them. No I/O, no Airflow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

TASK_KEY = "airflow_task"
FINGERPRINT_KEY = "airflow_input"

# Limits of metadata; ``docs/respan-api.md`` has the source.
MAX_PAIRS = 16
MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 512


def task_key(*, dag_id: str, task_id: str, run_id: str, map_index: int) -> str:
    """Return the identity of a task instance, which is the same for each of its attempts.

    :return: readable JSON if it fits into metadata, else a hash
    """
    # As JSON, because with a separator between plain texts two tasks could have the same key.
    key = json.dumps([dag_id, task_id, run_id, map_index], separators=(",", ":"))
    return key if len(key) <= MAX_VALUE_LENGTH else f"sha256:{_sha256(key)}"


def compute_fingerprint(*, content: str, endpoint: str, provider_id: str | None) -> str:
    """Return the fingerprint of an input: a hash of everything that changes the answers.

    ``metadata``, tracking parameters and ``completion_window`` do not change the answers, so they do not count.

    :param content: the digest of the requests, or the id of their file
    :param endpoint: the endpoint of the requests
    :param provider_id: the provider that the operator names, or None
    """
    return _sha256(json.dumps([content, endpoint, provider_id]))


def with_identity(metadata: Mapping[str, str] | None, *, key: str, fingerprint: str) -> dict[str, str]:
    """Return the metadata of a batch: that of the user, with identity and fingerprint.

    :param metadata: the metadata of the user
    :param key: see :func:`task_key`
    :param fingerprint: see :func:`compute_fingerprint`
    :raises ValueError: if the user's metadata has one of these two names, or exceeds a limit of the service
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
    """Return whether a task created the batch with this metadata.

    :param metadata: the metadata of the batch
    :param key: see :func:`task_key`
    """
    return metadata is not None and metadata.get(TASK_KEY) == key


def input_file_name(*, key: str, fingerprint: str) -> str:
    """Return the name of an input file, by which another attempt recognises it and the batch made of it.

    The name contains hashes of the task and of the input, so it identifies a batch whose metadata is lost.
    """
    return f"airflow-{_sha256(key)[:24]}-{fingerprint[:24]}.jsonl"


def input_file_names(*, key: str, fingerprint: str) -> tuple[str, str]:
    """Return the names under which this release and 0.1.0 upload the same input."""
    return input_file_name(key=key, fingerprint=fingerprint), f"airflow-{_sha256(key + fingerprint)[:32]}.jsonl"


def is_uploaded_by(file_name: str | None, key: str) -> bool:
    """Return whether a task uploaded the input file of this name."""
    return file_name is not None and file_name.startswith(f"airflow-{_sha256(key)[:24]}-")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
