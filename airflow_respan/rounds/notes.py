"""The note about the batch of a part, in the folder of the task, so that it survives retries on every Airflow."""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import asdict

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.folder import Folder
from airflow_respan.submission.note import Note, parse_note

NOTE_NAME = "batch.json"
MAX_NOTE_BYTES = 2**16


class PartNotes:
    """The note about one batch, see :class:`~airflow_respan.submission.note.NoteStore`.

    :param folder: the folder of the part
    :param task: the identity of the task
    :param plan_id: the plan that the batch is created for
    """

    def __init__(self, folder: Folder, *, task: str, plan_id: str) -> None:
        self._folder = folder
        self._task = task
        self._plan_id = plan_id
        self._loaded: bytes | None = None

    def load(self) -> Note | None:
        """Return the note of this task, perhaps about a batch of an earlier plan, which then had another input."""
        return self._read()[0]

    def load_of_plan(self) -> Note | None:
        """Return the note about the batch of this plan."""
        note, plan_id = self._read()
        return note if plan_id == self._plan_id else None

    def save(self, note: Note) -> None:
        """Save the note; before the create is sent, only if no other attempt has saved one since it was loaded.

        :raises RespanResultsError: if the store refuses, or another attempt is creating the batch
        """
        saved = {"task": self._task, "plan_id": self._plan_id, "note": asdict(note), "id": uuid.uuid4().hex}
        content = json.dumps(saved).encode()
        if note.batch_id is not None:
            self._folder.write(NOTE_NAME, io.BytesIO(content), check=lambda: None)
            return
        if self._loaded is not None:
            self._folder.remove_if(NOTE_NAME, self._loaded)
        if not self._folder.create(NOTE_NAME, content):
            raise RespanResultsError(
                f"Another attempt of this task is creating the batch of {self._folder.uri}, so this attempt creates "
                "none. The next attempt, a retry or after a clear, continues with that batch."
            )
        self._loaded = content

    def _read(self) -> tuple[Note | None, str | None]:
        content = self._loaded = self._folder.read(NOTE_NAME, max_bytes=MAX_NOTE_BYTES)
        if content is None:
            return None, None
        try:
            data = json.loads(content)
            return (parse_note(data["note"]), data["plan_id"]) if data["task"] == self._task else (None, None)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            # Without the note it is not known whether a batch was created, so none is created.
            raise RespanResultsError(
                f"{self._folder.uri_of(NOTE_NAME)} is not readable as the note about a batch ({type(error).__name__}), "
                "so nothing was created. If this task has no batch at Respan that is still needed, remove this file "
                "and clear the task."
            ) from error
