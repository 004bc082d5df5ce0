"""The rows of a landing, read back from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import Line, split_lines
from airflow_respan.results.folder import Folder
from airflow_respan.results.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, read_manifest, with_paths
from airflow_respan.results.row import Row, RowError, read_row
from airflow_respan.storage import open_for_reading

INVALID_ROW = "invalid_row"
"""The error code of a line that is not a row."""

_FILE_ENDING = ".jsonl"
_FILES = ("output_path", "errors_path")


def find_files(manifest_or_path: object) -> list[str]:
    """Return the URIs of the files with the rows of a landing: the answers, and then the errors.

    :param manifest_or_path: a manifest, of this or an earlier release; or the path or URI of a folder with a manifest,
        of this manifest, or of one file that ends in ``.jsonl``
    :raises RespanResultsError: if the folder has no manifest, or cannot be read
    :raises RespanStorageError: if Airflow cannot open the store
    :raises ValueError: if it is neither a manifest nor a path
    """
    if isinstance(manifest_or_path, Mapping):
        return _files_of(manifest_or_path)
    path = "" if manifest_or_path is None else str(manifest_or_path).strip()
    if path in ("", "None"):
        raise ValueError(
            f"There are no results to read in {manifest_or_path!r}. Check that the upstream task ran and pushed its "
            "manifest."
        )
    if path.endswith(_FILE_ENDING):
        return [path]
    head, slash, name = path.rpartition("/")
    folder = Folder((head or slash or ".") if name == MANIFEST_NAME else path)
    content = folder.read(MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)
    manifest = None if content is None else read_manifest(content)
    if manifest is None or not isinstance(manifest.get("bytes"), Mapping):
        raise RespanResultsError(
            f"{folder.uri_of(MANIFEST_NAME)} {'does not exist' if content is None else 'is not a manifest'}, so the "
            "results in this folder are not complete, or there are none. Read them after the task that writes them has "
            "succeeded, or name one .jsonl file."
        )
    return _files_of(with_paths(manifest, folder.uri))


def read_rows(files: list[str]) -> Iterator[Row]:
    """Yield all rows of some files, in constant memory.

    A line that is not a row is a row with the error :data:`INVALID_ROW` and without a ``custom_id``, so the others can
    still be read.

    :param files: what :func:`find_files` returned
    :raises RespanStorageError: if a file cannot be read
    """
    for uri in files:
        with open_for_reading(uri) as file:
            for line in split_lines(file.read):
                yield _read_line(uri, line)


def _files_of(manifest: Mapping[str, Any]) -> list[str]:
    if not any(name in manifest for name in _FILES):
        raise ValueError(
            f"This is not a manifest of results: it has neither {' nor '.join(_FILES)}. Give what the task that writes "
            "the results returned, or the path of its folder."
        )
    return [path for name in _FILES if isinstance(path := manifest.get(name), str) and path]


def _read_line(uri: str, line: Line) -> Row:
    try:
        return read_row(line.content).row
    except ValueError as reason:
        error = RowError(code=INVALID_ROW, message=f"line {line.number} of {uri}: {reason}")
        return Row(custom_id="", error=error, status_code=None, request_id=None, body=None, usage=None, response=None)
