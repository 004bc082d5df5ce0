"""The folder of a task with rounds: the task that owns it, the plans, and the inputs and notes of the batches.

::

    task.json                     the task that the folder belongs to
    round-1/plan.json             the parts of the round
    round-1/input.jsonl           the requests; input-2.jsonl if the second attempt has planned the round
    round-1/batch-1.json          the first note about the batch, from before it is created; batch-2.json has its id
    round-1/output.jsonl          the results, with errors.jsonl, rejected.jsonl and manifest.json, as for one batch
    round-1/part-1/               all of this but plan.json, if the round has several parts
    output.jsonl, errors.jsonl, manifest.json      all answers and the last errors, after the last round
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from typing import IO, Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.jsonl import decode_object
from airflow_respan.results.claim import OWN_FOLDER
from airflow_respan.results.folder import Folder
from airflow_respan.results.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, RESULT_FILES, read_manifest
from airflow_respan.rounds.notes import PartNotes
from airflow_respan.rounds.plan import Part, Round, round_folder

TASK_NAME = "task.json"
PLAN_NAME = "plan.json"
MAX_PLAN_BYTES = 2**24


class RoundsFolder:
    """The folder of one task.

    :param uri: its URI for ``ObjectStoragePath``
    :param task: the identity of the task
    :raises RespanStorageError: if Airflow cannot open the store
    """

    def __init__(self, uri: str, *, task: str) -> None:
        self.root = Folder(uri)
        self._task = task

    def claim(self, *, overwrite: bool) -> None:
        """Record in the folder that it belongs to this task, before anything is paid for.

        :param overwrite: whether to take the folder over from another task
        :raises RespanResultsError: if it belongs to another task
        """
        content = json.dumps({"task": self._task, "id": uuid.uuid4().hex}).encode()
        if self.root.create(TASK_NAME, content):
            return
        owner = _owner_in(self.root.read(TASK_NAME, max_bytes=MAX_PLAN_BYTES))
        if owner is None:  # what is left of a file after a power failure
            first = self._load_plan(1)
            owner = first.task if first else self._task
        elif owner == self._task:
            return
        if owner != self._task and not overwrite:
            raise RespanResultsError(
                f"{self.root.uri} belongs to another task ({owner}), so nothing was uploaded or created. "
                f"{OWN_FOLDER}, or set overwrite=True."
            )
        self.root.write(TASK_NAME, io.BytesIO(content), check=_no_check)

    def load_rounds(self) -> list[Round]:
        """Return the rounds that were planned, in order."""
        rounds: list[Round] = []
        while plan := self._load_plan(len(rounds) + 1):
            if plan.task != self._task or plan.previous != (rounds[-1].plan_id if rounds else None):
                break  # left by another task, or of an input that was replaced
            rounds.append(plan)
        return rounds

    def save_plan(self, plan: Round, *, replaced: str | None = None) -> Round:
        """Save the plan of a round, and return it; if another attempt has saved one meanwhile, return that one.

        :param plan: the plan; its inputs are written
        :param replaced: the id of an earlier plan of the round, which this one replaces
        """
        folder = self.folder_of(plan)
        if folder.create(PLAN_NAME, plan.to_json()):
            return plan
        found = self._load_plan(plan.number)
        if found and (found.task, found.previous) == (plan.task, plan.previous) and found.plan_id != replaced:
            return found
        folder.write(PLAN_NAME, io.BytesIO(plan.to_json()), check=_no_check)
        return plan

    def check_plan(self, plan: Round) -> None:
        """Check that no other attempt has replaced the plan of a round.

        :raises RespanResultsError: if one has
        """
        found = self._load_plan(plan.number)
        if found and found.plan_id != plan.plan_id:
            raise RespanResultsError(
                f"Another attempt or task has replaced the plan in {self.folder_of(plan).uri}, so this attempt creates "
                "no batch. The next attempt of this task, a retry or after a clear, continues with the new plan."
            )

    def write_input(self, folder: str, name: str, content: IO[bytes]) -> None:
        """Write the requests of a part.

        :param folder: the folder of the part, relative to that of the task
        :param name: the name of the file
        :param content: the requests, one per line
        """
        self._subfolder(folder).write(name, content, check=_no_check)

    def input_uri(self, part: Part) -> str:
        """Return the URI of the requests of a part."""
        return self._subfolder(part.folder).uri_of(part.input)

    def folder_of(self, item: Round | Part) -> Folder:
        """Return the folder of a round or of a part."""
        return self._subfolder(item.folder)

    def notes_of(self, plan: Round, part: Part) -> PartNotes:
        """Return the notes about the batch of a part."""
        return PartNotes(self.folder_of(part), task=self._task, plan_id=plan.plan_id)

    def landed_manifest(self, plan: Round, part: Part) -> dict[str, Any] | None:
        """Return the manifest of a part whose results were landed; None if they were not, or a file is missing."""
        note = self.notes_of(plan, part).load_of_plan()
        if note is None or note.batch_id is None:
            return None
        folder = self.folder_of(part)
        content = folder.read(MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)
        manifest = read_manifest(content) if content else None
        if manifest is None or manifest.get("batch_id") != note.batch_id:
            return None
        sizes = {RESULT_FILES[name]: size for name, size in manifest["bytes"].items() if name in RESULT_FILES}
        return manifest if all(folder.size(name) == size for name, size in sizes.items()) else None

    def _load_plan(self, number: int) -> Round | None:
        return Round.from_json(self._subfolder(round_folder(number)).read(PLAN_NAME, max_bytes=MAX_PLAN_BYTES))

    def _subfolder(self, name: str) -> Folder:
        return Folder(self.root.uri_of(name))


def landed_files(manifest: dict[str, Any], folder: Folder) -> Iterator[str]:
    """Yield the URIs of the rows of a landed part."""
    for name in ("output", "errors"):
        if name in manifest["bytes"]:
            yield folder.uri_of(RESULT_FILES[name])


def _owner_in(content: bytes | None) -> Any:
    """Return the task that a folder belongs to; None if the file does not say it."""
    try:
        return decode_object(content or b"").get("task")
    except ValueError:
        return None


def _no_check() -> None:
    """Accept each change: since :meth:`RoundsFolder.claim` the folder belongs to this task."""
