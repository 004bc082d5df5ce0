"""The manifest: what was written of a batch, and how it was checked. No I/O, no Airflow.

It is written into the folder last, so that a folder with a manifest is complete, and its keys are pushed to XCom.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from airflow_respan.api.batch import Batch
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.results.formats import FORMATS
from airflow_respan.results.plain_url import plain_url
from airflow_respan.results.summary import RowSummary

RESULT_FILES = {
    "output": "output.jsonl",
    "errors": "errors.jsonl",
    "rejected": "rejected.jsonl",
    **{name: result_format.file_name for name, result_format in FORMATS.items()},
}
"""Key in the manifest -> name of the file in the folder."""

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
"""A file that is larger is not read as a manifest."""


class ResultsKey(Protocol):
    """What is written into a folder, and how: two keys that are equal give the same files."""

    def to_dict(self) -> dict[str, Any]:
        """Return the key as plain JSON for the manifest."""

    def sizes_in(self, manifest: Mapping[str, Any]) -> dict[str, int] | None:
        """Return the size of each file by its name (bytes); None if the manifest does not have all."""

    def matches(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest, perhaps of another release, has this key."""

    def has_same_files(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest may be replaced by one with this key, although the key is another."""


@dataclass(frozen=True, kw_only=True)
class LandingKey:
    """What is written, and how it is checked: two landings with the same key give the same files.

    A field that a release adds needs a default, which counts for the manifests of earlier releases.

    :param batch_id: the batch, or None if only its files are known
    :param output_file_id: the file of answers, or None if there is none
    :param error_file_id: the file of errors, or None if there is none
    :param input: the input that the rows are compared with, or None
    :param on_missing: what to do about requests without a row
    :param formats: names of the formats besides JSONL
    :param on_bad_rows: what to do about lines that are no usable rows
    """

    batch_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    input: str | None
    on_missing: str
    formats: tuple[str, ...] = ()
    on_bad_rows: str = "fail"

    def to_dict(self) -> dict[str, Any]:
        """Return the key as plain JSON for the manifest, in which each format has its own key."""
        key = asdict(self)
        chosen = key.pop("formats")
        return {**key, **{name: name in chosen for name in FORMATS}}

    def sizes_in(self, manifest: Mapping[str, Any]) -> dict[str, int] | None:
        """Return the size of each file of this landing by its name (bytes); None if the manifest does not have all."""
        sizes = manifest.get("bytes")
        if not isinstance(sizes, Mapping) or sizes.keys() != self._written_names(manifest):
            return None
        return {RESULT_FILES[name]: size for name, size in sizes.items()}

    def _written_names(self, manifest: Mapping[str, Any]) -> set[str]:
        """Return the keys, in :data:`RESULT_FILES`, of the files that were written according to a manifest."""
        ids = {"output": self.output_file_id, "errors": self.error_file_id}
        absent, rejected = manifest.get("absent_files"), manifest.get("rejected")
        written = {name for name, file_id in ids.items() if file_id} | set(self.formats)
        if isinstance(absent, list):
            written -= {name for name in absent if isinstance(name, str)}
        return written | {"rejected"} if isinstance(rejected, Mapping) and rejected.get("count") else written

    def matches(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest, perhaps of another release, is of the same landing."""
        found = manifest.get("landing")
        if not isinstance(found, Mapping):
            return False
        defaults = {f.name: f.default for f in fields(self)} | dict.fromkeys(FORMATS, False)
        return all(found.get(name, defaults[name]) == value for name, value in self.to_dict().items())

    def has_same_files(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest is of the same files at the service, perhaps with other options."""
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
    absent_files: Collection[str],
    warnings: list[str],
) -> dict[str, Any]:
    """Return the manifest of a landing as plain JSON.

    :param landing: what was written, and how it was checked
    :param batch: the batch, or None if only its files are known
    :param summary: the counts of all rows
    :param path: the folder's URI
    :param sizes: bytes of each file that was written, by its key in :data:`RESULT_FILES`
    :param absent_files: the keys of the files that the batch names, but the service does not have
    :param warnings: what :func:`~airflow_respan.results.completeness.check_complete` returned
    """
    counts = batch.request_counts if batch else None
    manifest: dict[str, Any] = {
        "batch_id": landing.batch_id,
        "status": batch.status if batch else None,
        **result_paths(path, sizes),
        "counts": {
            "rows": summary.rows,
            "succeeded": summary.succeeded,
            "failed": summary.failed,
            "missing": summary.missing(batch),
        },
        "request_counts": counts.to_dict() if counts else None,
        "usage": summary.usage(),
        "errors": summary.errors(),
        "rejected": summary.bad_rows.to_dict(),
        "absent_files": list(absent_files),
        "bytes": dict(sizes),
        "warnings": warnings,
        "landing": landing.to_dict(),
    }
    return dict(sanitize_json(manifest))


def read_manifest(content: bytes) -> dict[str, Any] | None:
    """Parse a manifest; None if the content is anything else."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("landing"), dict) else None


def printable_batch_id(data: Mapping[str, Any]) -> str | None:
    """Return the id of the batch in a manifest or in a landing, for a message; None if there is none to be shown."""
    batch_id = data.get("batch_id")
    return batch_id if isinstance(batch_id, str) and batch_id.isprintable() else None


def with_paths(manifest: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a manifest with the paths of the folder in which it was found.

    It may have been written for another spelling of this path, or the folder may have been copied or renamed.

    :param manifest: the manifest, perhaps of another release
    :param path: the folder's URI
    """
    return {**manifest, **result_paths(path, manifest["bytes"])}


def result_paths(path: str, written: Collection[str]) -> dict[str, str | None]:
    """Return the paths of the manifest and of all files, None for a file that was not written.

    :param path: the folder's URI
    :param written: the keys, in :data:`RESULT_FILES`, of the files that were written
    """
    folder = path.rstrip("/")
    paths = {name: f"{folder}/{file}" if name in written else None for name, file in RESULT_FILES.items()}
    return {
        "path": path,
        "manifest_path": f"{folder}/{MANIFEST_NAME}",
        **{f"{name}_path": file_path for name, file_path in paths.items()},
        **{f"{name}_url": file_path and plain_url(file_path) for name, file_path in paths.items()},
    }
