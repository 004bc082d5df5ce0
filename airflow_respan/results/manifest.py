"""The manifest: what was landed of a batch, in a file that is written last and in XCom. No I/O, no Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow_respan.api.batch import Batch
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.results.formats import FORMATS
from airflow_respan.results.summary import RowSummary

RESULT_FILES = {
    "output": "output.jsonl",
    "errors": "errors.jsonl",
    **{name: result_format.file_name for name, result_format in FORMATS.items()},
}
"""Names in the folder, by the names that the manifest has for them."""

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class LandingKey:
    """What is landed, and how it is checked: two landings with the same key give the same files.

    A field that a release adds needs a default, which stands for the manifests of earlier releases.

    :param batch_id: the batch, or None if only its files are known
    :param output_file_id: the file of answers, or None if there is none
    :param error_file_id: the file of errors, or None if there is none
    :param input: the input that the rows are compared with, or None
    :param on_missing: what to do about requests without a row
    :param formats: names of the formats besides JSONL
    """

    batch_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    input: str | None
    on_missing: str
    formats: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON for the manifest: each format is a key of its own."""
        key = asdict(self)
        chosen = key.pop("formats")
        return {**key, **{name: name in chosen for name in FORMATS}}

    def matches(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest, perhaps of another release, is of this very landing."""
        found = manifest.get("landing")
        if not isinstance(found, Mapping):
            return False
        defaults = {f.name: f.default for f in fields(self)} | dict.fromkeys(FORMATS, False)
        return all(found.get(name, defaults[name]) == value for name, value in self.to_dict().items())

    def has_same_files(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest is of the same files at the service, however they were checked and landed."""
        found = manifest.get("landing")
        return isinstance(found, Mapping) and all(
            found.get(name) == getattr(self, name) for name in ("output_file_id", "error_file_id")
        )


def make_manifest(
    landing: LandingKey,
    *,
    batch: Batch | None,
    summary: RowSummary,
    path: str,
    sizes: Mapping[str, int],
    warnings: list[str],
) -> dict[str, Any]:
    """Describe a landing in plain JSON.

    :param path: the folder's URI
    :param sizes: bytes of each file that was written, by its name in :data:`RESULT_FILES`
    """
    counts = batch.request_counts if batch else None
    manifest: dict[str, Any] = {
        "batch_id": landing.batch_id,
        "status": batch.status if batch else None,
        "path": path,
        "manifest_path": f"{path}/{MANIFEST_NAME}",
        **{f"{name}_path": f"{path}/{file}" if name in sizes else None for name, file in RESULT_FILES.items()},
        "counts": {
            "rows": summary.rows,
            "succeeded": summary.succeeded,
            "failed": summary.failed,
            "missing": summary.missing(batch),
        },
        "request_counts": counts.to_dict() if counts else None,
        "usage": summary.usage(),
        "errors": summary.errors(),
        "bytes": dict(sizes),
        "warnings": warnings,
        "landing": landing.to_dict(),
    }
    return dict(sanitize_json(manifest))


def read_manifest(content: bytes) -> dict[str, Any] | None:
    """Read a manifest; None if it is none of ours."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(manifest, dict) and isinstance(manifest.get("landing"), dict)
    return manifest if is_ours and isinstance(manifest.get("bytes"), dict) else None
