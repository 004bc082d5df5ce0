"""The notes about the batch of a part. They are in the folder of the task, so each Airflow version keeps them.

A note is never changed or removed: each is a file of its own, with the next number. So a process that is killed never
leaves the folder without its last note. And if two attempts read the same notes, only one of them can write the next
note, and only this one sends a create.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.folder import Folder
from airflow_respan.submission.note import Note, parse_note

log = logging.getLogger(__name__)

MAX_NOTE_BYTES = 2**16


def note_name(number: int) -> str:
    """Return the name of a note.

    :param number: from 1
    """
    return f"batch-{number}.json"


class PartNotes:
    """The notes about one batch, see :class:`~airflow_respan.submission.note.NoteStore`; the last one counts.

    :param folder: the folder of the part
    :param task: the identity of the task
    :param plan_id: the plan that the batch is created for
    """

    def __init__(self, folder: Folder, *, task: str, plan_id: str) -> None:
        self._folder = folder
        self._task = task
        self._plan_id = plan_id
        self._count = 0
        self._note: Note | None = None
        self._note_plan_id: str | None = None
        self.is_empty = True
        """Whether this task has left no note, not even one that cannot be read; known after a load."""
        self.is_superseded = False
        """Whether a save found that another attempt has taken over the batch of the part."""

    def load(self) -> Note | None:
        """Return the last note of this task, perhaps about a batch of an earlier plan, which then had another input.

        :return: None if there is no note, or if the last one cannot be read. Then the batch has to be searched for
        :raises RespanResultsError: if the store refuses
        """
        while (content := self._folder.read(note_name(self._count + 1), max_bytes=MAX_NOTE_BYTES)) is not None:
            self._count += 1
            self._add(content)
        return self._note

    def load_of_plan(self) -> Note | None:
        """Return the last note, if it is about the batch of this plan.

        :raises RespanResultsError: if the store refuses
        """
        note = self.load()
        return note if self._note_plan_id == self._plan_id else None

    def save(self, note: Note) -> None:
        """Save the note, unless another attempt has saved one since the last load or save of this one.

        :raises RespanResultsError: if the store refuses, or another attempt is creating the batch or has another one
        """
        saved = {"task": self._task, "plan_id": self._plan_id, "note": asdict(note), "id": uuid.uuid4().hex}
        content = json.dumps(saved).encode()
        if self._folder.create(note_name(self._count + 1), content):
            self._count += 1
            self._keep(note, self._plan_id)
            return
        newest = self.load()
        if note.batch_id is None or newest is None or newest.batch_id != note.batch_id:
            self.is_superseded = newest is not None
            raise RespanResultsError(self._refusal())

    def check_last(self) -> None:
        """Check that no other attempt has saved a note since the last load or save of this one.

        :raises RespanResultsError: if one has, or the store refuses
        """
        if self._folder.size(note_name(self._count + 1)) is not None:
            raise RespanResultsError(self._refusal())

    def _refusal(self) -> str:
        return (
            f"Another attempt of this task is creating the batch of {self._folder.uri}, so this attempt does not "
            "create it. The next attempt, a retry or after a clear, continues with that batch."
        )

    def _add(self, content: bytes) -> None:
        try:
            data: Mapping[str, Any] = json.loads(content)
            if data["task"] == self._task:
                self._keep(parse_note(data["note"]), data["plan_id"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning(
                "%s is not readable as the note about a batch (%s), so the batch is searched for at Respan.",
                self._folder.uri_of(note_name(self._count)),
                type(error).__name__,
            )
            self._keep(None, None)

    def _keep(self, note: Note | None, plan_id: str | None) -> None:
        self._note, self._note_plan_id, self.is_empty = note, plan_id, False
