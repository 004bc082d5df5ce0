"""Merges the rounds of a task: the answer or the last error of each request, and a manifest of all rounds."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_respan.api import failures
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.json_safe import sanitize_json
from airflow_respan.jsonl import decode_object, get_custom_id, read_lines
from airflow_respan.results.destination import Destination
from airflow_respan.results.error_counts import ErrorCounts
from airflow_respan.results.formats import FORMATS
from airflow_respan.results.lenient_json import decode_leniently
from airflow_respan.results.manifest import RESULT_FILES, result_paths
from airflow_respan.results.requested_ids import IdKey, make_id_key
from airflow_respan.results.row import Row, RowError, Usage
from airflow_respan.results.staging import disk_errors
from airflow_respan.rounds.folder import RoundsFolder
from airflow_respan.rounds.outcomes import Outcome, OutcomeRules, RowOutcome
from airflow_respan.rounds.plan import Part, Round
from airflow_respan.storage import open_for_reading

log = logging.getLogger(__name__)

NO_ROW = RowError(code="no_row", message="The service has returned no row for this request.")
MAX_WARNINGS = 20
"""The manifest has at most so many warnings of the rounds."""

USAGE_NAMES = ("rows", *Usage.__slots__)


@dataclass(frozen=True, kw_only=True)
class MergeKey:
    """What is merged, and how: two merges with the same key give the same files.

    :param task: the identity of the task
    :param plans: the ids of the plans of all rounds
    :param formats: names of the formats besides JSONL
    """

    task: str
    plans: tuple[str, ...]
    formats: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the key as plain JSON for the manifest."""
        return {"task": self.task, "plans": list(self.plans), "formats": list(self.formats)}

    def sizes_in(self, manifest: Mapping[str, Any]) -> dict[str, int] | None:
        """Return the size of each file of this merge by its name (bytes); None if the manifest does not have all."""
        sizes = manifest.get("bytes")
        if not isinstance(sizes, Mapping) or sizes.keys() != {"output", "errors", *self.formats}:
            return None
        return {RESULT_FILES[name]: size for name, size in sizes.items()}

    def matches(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest is of the same merge."""
        return manifest.get("landing") == self.to_dict()

    def has_same_files(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether a manifest is of the same task, perhaps of fewer rounds."""
        found = manifest.get("landing")
        return isinstance(found, Mapping) and found.get("task") == self.task


class Merge:
    """The merge of all rounds of a task.

    :param folder: the folder of the task
    :param rounds: all rounds; each part of them is landed
    :param manifests: the manifest of each part, by the folder of the part
    :param rules: how the outcome of a request is decided
    :param key: what is merged, and how
    :param connection: its secrets are removed from the errors
    """

    def __init__(
        self,
        folder: RoundsFolder,
        rounds: list[Round],
        manifests: Mapping[str, dict[str, Any]],
        *,
        rules: OutcomeRules,
        key: MergeKey,
        connection: RespanConnection,
    ) -> None:
        self._folder = folder
        self._rounds = rounds
        self._manifests = manifests
        self._rules = rules
        self._key = key
        self._connection = connection
        self._outcomes: Counter[Outcome] = Counter()
        self._missing = 0
        self._errors = ErrorCounts(partial(failures.redact_for_display, connection))
        self._answered_in: Counter[int] = Counter()

    def write(self, destination: Destination) -> dict[str, Any]:
        """Write the merged files, and last the manifest, which is returned.

        :raises RespanResultsError: if the folder cannot be written, or the worker's disk has no room
        :raises RespanStorageError: if the results of a round cannot be read
        """
        with disk_errors(), ExitStack() as stack:
            files = {
                name: stack.enter_context(tempfile.TemporaryFile()) for name in ("output", "errors", *self._key.formats)
            }
            writers = [
                FORMATS[name].open_writer(files[name], redact=self._connection.redact) for name in self._key.formats
            ]
            for line, row, outcome in self._merged():
                files["output" if outcome is Outcome.ANSWERED else "errors"].write(line + b"\n")
                self._count(row, outcome)
                for writer in writers:
                    writer.add(row)
            for writer in writers:
                writer.close()
            manifest, _is_written = destination.write(files, self._make_manifest)
        return manifest

    def _merged(self) -> Iterator[tuple[bytes, Row, Outcome]]:
        """Yield each request once, its answer or its last error, in the order of the rounds.

        An unsettled request is in the input of the next round. So an earlier round has the last word only about
        requests that were settled there, and about those for which no later round has a row.
        """
        without_row = self._ids_without_row(self._rounds[-1])
        last_rounds = self._last_rounds_with_a_row(without_row)
        for plan in self._rounds:
            for part in plan.parts:
                for found in self._rows(part):
                    is_unsettled = found.outcome is Outcome.UNSETTLED and plan is not self._rounds[-1]
                    if not is_unsettled or last_rounds.get(found.key) == plan.number:
                        self._answered_in[plan.number] += found.outcome is Outcome.ANSWERED
                        yield _line(found), found.row, found.outcome
        for key, custom_id in without_row.items():
            if key not in last_rounds:
                self._missing += 1
                yield _missing_line(custom_id), _missing_row(custom_id), Outcome.UNSETTLED

    def _ids_without_row(self, plan: Round) -> dict[IdKey, str]:
        """Return the requests of a round for which no row came."""
        without_row: dict[IdKey, str] = {}
        for part in plan.parts:
            requested = self._requested(part)
            for found in self._rows(part):
                requested.pop(found.key, None)
            without_row.update(requested)
        return without_row

    def _last_rounds_with_a_row(self, keys: Collection[IdKey]) -> dict[IdKey, int]:
        """Return the last round that has a row for each of these requests, as far as there is one."""
        last_rounds: dict[IdKey, int] = {}
        for plan in self._rounds[:-1] if keys else ():
            rows = (found for part in plan.parts for found in self._rows(part))
            last_rounds.update((found.key, plan.number) for found in rows if found.key in keys)
        return last_rounds

    def _rows(self, part: Part) -> Iterator[RowOutcome]:
        return self._rules.read(self._manifests[part.folder], self._folder.folder_of(part))

    def _requested(self, part: Part) -> dict[IdKey, str]:
        with open_for_reading(self._folder.input_uri(part)) as file:
            ids = (get_custom_id(decode_object(line)) for _number, line in read_lines(file.read))
            return {make_id_key(custom_id): custom_id for custom_id in ids}

    def _count(self, row: Row, outcome: Outcome) -> None:
        self._outcomes[outcome] += 1
        if row.error:
            self._errors.add(row.error)

    def _make_manifest(self, *, sizes: Mapping[str, int]) -> Mapping[str, Any]:
        outcomes, missing = self._outcomes, self._missing
        batches = [self._manifests[part.folder] for plan in self._rounds for part in plan.parts]
        warnings = [f"{manifest['path']}: {text}" for manifest in batches for text in manifest["warnings"]]
        return dict(
            sanitize_json(
                {
                    **result_paths(self._folder.root.uri, sizes),
                    "counts": {
                        "requests": self._rounds[0].requests,
                        "rows": outcomes.total() - missing,
                        "succeeded": outcomes[Outcome.ANSWERED],
                        "failed": outcomes[Outcome.FAILED] + outcomes[Outcome.UNSETTLED] - missing,
                        "missing": missing,
                        "unsettled": outcomes[Outcome.UNSETTLED],
                    },
                    "usage": total_usage(batches),
                    "errors": self._errors.most_frequent(),
                    "rounds": [self._describe(plan) for plan in self._rounds],
                    "bytes": dict(sizes),
                    "warnings": warnings[:MAX_WARNINGS],
                    "landing": self._key.to_dict(),
                }
            )
        )

    def _describe(self, plan: Round) -> dict[str, Any]:
        """Return a round for the manifest."""
        batches = [self._manifests[part.folder] for part in plan.parts]
        return {
            "round": plan.number,
            "requests": plan.requests,
            "succeeded": self._answered_in[plan.number],
            "usage": total_usage(batches),
            "batches": [
                {
                    "batch_id": manifest["batch_id"],
                    "status": manifest["status"],
                    "requests": part.requests,
                    "counts": manifest["counts"],
                    "usage": manifest["usage"],
                    "path": manifest["path"],
                }
                for part, manifest in zip(plan.parts, batches, strict=True)
            ],
        }


def total_usage(manifests: list[dict[str, Any]]) -> dict[str, int]:
    """Return the sums of the tokens of several batches."""
    return {name: sum(manifest["usage"].get(name, 0) for manifest in manifests) for name in USAGE_NAMES}


def _line(found: RowOutcome) -> bytes:
    """Return the row as it came; if the answer is of another type, with this error added."""
    if not found.is_misfit or found.row.error is None:
        return found.line
    data, _unusual = decode_leniently(found.line)
    return json.dumps({**data, "error": {"code": found.row.error.code, "message": found.row.error.message}}).encode()


def _missing_line(custom_id: str) -> bytes:
    error = {"code": NO_ROW.code, "message": NO_ROW.message}
    return json.dumps({"custom_id": custom_id, "response": None, "error": error}).encode()


def _missing_row(custom_id: str) -> Row:
    return Row(
        custom_id=custom_id, error=NO_ROW, status_code=None, request_id=None, body=None, usage=None, response=None
    )
